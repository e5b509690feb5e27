"""Data preparation and loading; never imports jax or crcfp_jax."""
