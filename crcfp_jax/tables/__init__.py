"""The paper's tables as grids of runs: `python -m crcfp_jax.tables N --workdir W`."""
