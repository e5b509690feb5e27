"""Interpolation."""

import functools

import jax
from jaxtyping import Array, Float

from crcfp_jax.models.layers.padding import Length


@functools.partial(jax.jit, static_argnums=1)
def resize_bilinear(inputs: Float[Array, "..."], shape: tuple[Length, ...]) -> Float[Array, "..."]:
    """Linear interpolation with half-pixel centres along all axes that change; symbols may stand for lengths.

    A function of its own also in a trace, where the conversion to ONNX knows it by its name.
    """
    return jax.image.resize(inputs, shape, method="bilinear", antialias=False)
