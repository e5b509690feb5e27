"""Whether a run is healthy, from the files that it writes: `python -m crcfp_jax.doctor W`.

It reads metrics.jsonl, needs neither the run's data nor its network, and changes nothing.
"""
