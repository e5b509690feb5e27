"""The paper's figures from finished runs: `python -m crcfp_jax.figures W --output F`; docs/figures.md explains them."""
