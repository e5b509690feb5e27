"""Patient-wise cross-validation: `python -m crcfp_jax.crossvalidate --config C --workdir V`."""
