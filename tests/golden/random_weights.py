"""Weights and images drawn from a seed with NumPy alone, so that two frameworks can make the same ones."""

import zlib

import numpy as np


def random_tensor(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A float32 tensor that depends on its name, its PyTorch shape and the seed.

    Scales keep activations near 1 through fifty layers; variances and biases are far from their starting values, so
    that a statistic in the wrong place shows.
    """
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.endswith("running_var"):
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) == 1 and name.endswith("weight"):
        return generator.uniform(0.4, 1.0, shape).astype(np.float32)
    if len(shape) == 1:
        return generator.normal(0, 0.1, shape).astype(np.float32)
    deviation = np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return generator.standard_normal(shape, dtype=np.float32) * deviation


def random_images(seed: int, count: int, side: int) -> np.ndarray:
    """Normalised images [count, side, side, 3]."""
    return np.random.default_rng(seed).standard_normal((count, side, side, 3), dtype=np.float32)
