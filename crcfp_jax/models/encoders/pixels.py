"""The pixel statistics that encoders expect, and images brought to them."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


@dataclass(frozen=True)
class Pixels:
    """Mean and deviation of red, green and blue, of values from 0 to 1, that weights were trained with."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of the images themselves


def normalise(images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"], pixels: Pixels) -> Float[Array, "b h w 3"]:
    """Brings uint8 [0, 255] or float [0, 1] images to the statistics that an encoder's weights expect."""
    if images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / 255.0
    mean, deviation = (jnp.asarray(values).reshape(1, 1, 1, 3) for values in (pixels.mean, pixels.deviation))
    return (images - mean) / deviation
