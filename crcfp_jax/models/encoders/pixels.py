"""The pixel statistics that encoders expect, and images brought to them."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

# ImageNet statistics, which every pretrained ResNet of timm and torchvision expects.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def normalise(images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    """Brings uint8 [0, 255] or float [0, 1] images to the statistics that the backbone expects."""
    if images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / 255.0
    return (images - jnp.asarray(MEAN).reshape(1, 1, 1, 3)) / jnp.asarray(DEVIATION).reshape(1, 1, 1, 3)
