"""An encoder: four convolutions of stride 2.

As crcfp_jax/models/encoders/stack.py it needs two lines in crcfp_jax/models/encoders/registry.py: its import, and
`stack.FAMILY` among FAMILIES. Then: --config.model.backbone=stack --config.model.pretrained=stack.safetensors
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.models.encoders.family import EncoderOptions, Family, torch_leaf
from crcfp_jax.models.encoders.pixels import Pixels
from crcfp_jax.models.layers.convolution import Convolution
from crcfp_jax.models.layers.normalisation import Normalisation

CHANNELS = (16, 32, 64, 128)


class Stack(nn.Module):
    """Feature maps at strides 2, 4, 8 and 16."""

    normalisation: Normalisation  # over the streams and replicas that the settings say
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "*streams b h w 3"], *, train: bool
    ) -> dict[int, Float[Array, "*streams b _ _ _"]]:
        x, maps = images, {}
        for number, channels in enumerate(CHANNELS):
            x = Convolution(channels, size=3, stride=2, dtype=self.dtype, name=f"conv{number}")(x)
            x = nn.relu(self.normalisation(x, train=train, name=f"norm{number}"))
            maps[2 ** (number + 1)] = x
        return maps


def tensor_name(collection: str, path: tuple[str, ...]) -> str:
    """Names in the file of weights: ('params', ('norm0', 'scale')) to 'stages.0.norm.weight'."""
    layer, leaf = path
    return f"stages.{layer[4:]}.{layer[:4]}.{torch_leaf(collection, leaf)}"


def build(options: EncoderOptions, name: str) -> Stack:
    return Stack(options.normalisation, options.dtype, name=name)


FAMILY = Family(
    backbones=("stack",),
    build=build,
    output_strides=(16,),
    pixels=Pixels((0.7, 0.6, 0.7), (0.2, 0.2, 0.2)),  # of the images that its weights were trained on
    name_tables=(tensor_name,),
    no_place=(r"classifier\..*", r".*\.num_batches_tracked"),
)
