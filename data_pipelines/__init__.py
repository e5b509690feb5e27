"""Data preparation and loading; never imports jax; of crcfp_jax only how images are read."""
