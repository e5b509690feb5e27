"""Perturbations of the shared features, for the auxiliary classifiers of cross-consistency.

Each draws with the key of one example, so that a draw depends neither on the batch around it nor on the device.
"""
