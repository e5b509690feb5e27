"""Decoders: from an encoder's outputs to the features that every head shares."""
