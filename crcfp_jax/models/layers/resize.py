"""Interpolation."""

import functools

import jax
from jaxtyping import Array, Float

from crcfp_jax.models.layers.padding import Length


@functools.partial(jax.jit, static_argnums=(1, 2))
def resize_bilinear(
    inputs: Float[Array, "*streams b h w c"], height: Length, width: Length
) -> Float[Array, "*streams b height width c"]:
    """Bilinear interpolation with half-pixel centres, as PyTorch's `interpolate(align_corners=False)`.

    Symbols may stand for lengths. A function of its own also in a trace, where the conversion to ONNX knows it by its
    name.
    """
    shape = (*inputs.shape[:-3], height, width, inputs.shape[-1])
    return jax.image.resize(inputs, shape, method="bilinear", antialias=False)
