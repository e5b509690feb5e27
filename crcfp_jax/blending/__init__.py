"""Windows of a canvas put together again on the devices: batches, weighted means, the output's pixels and classes.

Evaluation and slides see pictures through this package alone: a run's figures hold for what its model is used for.
"""
