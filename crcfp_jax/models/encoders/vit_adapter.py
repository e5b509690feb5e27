"""From a vision transformer to maps of pixels: its tokens, and what a small convolutional branch sees of the image.

A transformer's maps have one place a patch of 8 to 16 pixels. Outlines come from the branch, at strides of 2 to 8; the
tokens of several depths are added up and join it at stride 8 (after ViT-Adapter, Chen et al. 2023, and ViTMatte, Yao et
al. 2024).
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.models.encoders.family import EncoderOptions, Family
from crcfp_jax.models.encoders.pixels import IMAGENET
from crcfp_jax.models.encoders.published import TRANSFORMERS
from crcfp_jax.models.encoders.vit import ARCHITECTURES, Architecture, VisionTransformer
from crcfp_jax.models.encoders.vit_names import NO_PLACE, as_timm, timm_name
from crcfp_jax.models.layers.normalisation import Normalisation
from crcfp_jax.models.layers.resize import resize_bilinear
from crcfp_jax.models.layers.unit import ConvolutionUnit

BRANCH = (32, 64, 128)  # channels of the branch at strides 2, 4 and 8
WIDTH = 256  # channels of the map at stride 8


class TransformerEncoder(nn.Module):
    """The transformer ('vit') and the branch."""

    architecture: Architecture
    normalisation: Normalisation
    lora_rank: int = 0
    rematerialise: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "*streams b h w 3"], *, train: bool
    ) -> dict[int, Float[Array, "*streams b _ _ _"]]:
        """Returns the branch's map at stride 4, and at stride 8 what the tokens and the branch give together."""

        def unit(x, features, name, size=1, stride=1):
            return ConvolutionUnit(features, self.normalisation, size, stride, dtype=self.dtype, name=name)(
                x, train=train
            )

        half = unit(images, BRANCH[0], "stride2", size=3, stride=2)
        quarter = unit(half, BRANCH[1], "stride4", size=3, stride=2)
        eighth = unit(quarter, BRANCH[2], "stride8", size=3, stride=2)
        transformer = VisionTransformer(
            self.architecture,
            lora_rank=self.lora_rank,
            rematerialise=self.rematerialise,
            dtype=self.dtype,
            name="vit",
        )
        tokens = [
            x.reshape(*images.shape[:-3], *x.shape[1:]) for x in transformer(images.reshape(-1, *images.shape[-3:]))
        ]
        seen = sum(unit(x, WIDTH, f"depth{number}") for number, x in enumerate(tokens))
        seen = resize_bilinear(seen, eighth.shape[-3], eighth.shape[-2])
        return {4: quarter, 8: unit(jnp.concatenate([seen, eighth], axis=-1), WIDTH, "join", size=3)}


def build(options: EncoderOptions, name: str) -> TransformerEncoder:
    """The encoder that `options` ask for."""
    return TransformerEncoder(
        ARCHITECTURES[options.backbone],
        options.normalisation,
        lora_rank=options.lora_rank,
        rematerialise=options.rematerialise,
        dtype=options.dtype,
        name=name,
    )


def _layers(backbone: str) -> tuple[str, ...]:
    """The patches and what is added to them, then the blocks; the last normalisation learns with the last block."""
    last = ARCHITECTURES[backbone].depth - 1
    first = r"(patch_embed/.*|cls_token|reg_token|pos_embed)"
    return (first, *(f"block{number}/.*" for number in range(last)), f"(block{last}|norm)/.*")


FAMILY = Family(
    backbones=tuple(ARCHITECTURES),
    build=build,
    output_strides=(8,),
    pixels=IMAGENET,
    name_tables=(timm_name,),
    no_place=NO_PLACE,
    convert=lambda tensors, backbone: as_timm(tensors, ARCHITECTURES[backbone]),
    patches={name: architecture.patch for name, architecture in ARCHITECTURES.items()},
    published=TRANSFORMERS,
    attends=True,
    trained="vit/",
    layers=_layers,
)
