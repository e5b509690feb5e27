"""A transformer's parameters as a file of timm's has them."""

import functools

import jax
import jax.numpy as jnp
from flax import traverse_util

from crcfp_jax.models.encoders.vit import VisionTransformer
from crcfp_jax.models.encoders.vit_names import timm_name


@functools.cache
def shapes_of(architecture):
    """timm's name of each parameter -> (its path, its shape here)."""
    side = 2 * architecture.patch
    shapes = jax.eval_shape(
        VisionTransformer(architecture).init, jax.random.key(0), jnp.zeros((1, side, side, 3), jnp.float32)
    )
    flat = traverse_util.flatten_dict(shapes["params"])
    return {timm_name("params", ("vit", *path)): (path, leaf.shape) for path, leaf in flat.items()}


def torch_shape(path, shape):
    """The shape of a parameter in a file."""
    if path[-1] != "kernel":
        return shape
    return tuple(shape[axis] for axis in ((3, 2, 0, 1) if len(shape) == 4 else (1, 0)))


def file_shapes(architecture):
    """timm's name of each tensor -> its shape there; timm leaves out biases that are 0 in DINOv3's weights."""
    named = {name: torch_shape(*place) for name, place in shapes_of(architecture).items()}
    return {name: shape for name, shape in named.items() if architecture.grid or not name.endswith("qkv.bias")}
