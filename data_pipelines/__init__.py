"""Data preparation and loading; never imports jax, nor anything of crcfp_jax but crcfp_jax.common.

Builders make a data set once; everything else reads it.
"""
