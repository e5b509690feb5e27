"""The methods as data: one file each, or one for a family, and the registry. Nothing in here imports JAX."""
