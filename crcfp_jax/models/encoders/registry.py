"""All encoders. A new one is a file of this folder and a line here."""

import math
from pathlib import Path

from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders import efficientnet, resnet, vit_adapter
from crcfp_jax.models.encoders.family import Family, Published
from crcfp_jax.models.encoders.pixels import Pixels
from crcfp_jax.models.encoders.weight_files import SUFFIXES

FAMILIES = (
    resnet.FAMILY,
    efficientnet.FAMILY,
    vit_adapter.FAMILY,
)
BACKBONES = {backbone: family for family in FAMILIES for backbone in family.backbones}


def find_family(backbone: str) -> Family:
    """The family that has a backbone.

    Raises:
        UserError: none has.
    """
    if backbone not in BACKBONES:
        raise UserError(f"config.model.backbone={backbone!r} is unknown; known: {', '.join(BACKBONES)}")
    return BACKBONES[backbone]


def check_encoder(model: ConfigDict) -> None:
    """Raises UserError where `config.model` asks for an encoder that there is not."""
    family = find_family(model.backbone)
    if model.output_stride not in family.output_strides:
        known = ", ".join(map(str, family.output_strides))
        raise UserError(
            f"config.model.output_stride is {model.output_stride}; config.model.backbone={model.backbone} has {known}."
        )
    if model.preset and (wanted := find_preset(model.preset)[1].backbone) != model.backbone:
        raise UserError(
            f"config.model.preset={model.preset!r} is for config.model.backbone={wanted}, not {model.backbone}: leave "
            "one of the two out"
        )
    if model.lora_rank and not family.attends:
        raise UserError(
            f"config.model.lora_rank={model.lora_rank} is for encoders that attend, and config.model.backbone="
            f"{model.backbone} is convolutional: set it to 0"
        )


PRESETS = {
    published.preset: (source, published)
    for family in FAMILIES
    for source, published in family.published.items()
    if published.preset
}


def find_preset(name: str) -> tuple[str, Published]:
    """The value of config.model.pretrained that a preset stands for, and what is known of these weights.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(
            f"config.model.preset={name!r} is unknown; known: {', '.join(PRESETS)} (python -m crcfp_jax.encoders)"
        )
    return PRESETS[name]


def find_published(model: ConfigDict) -> Published | None:
    """What is known of the weights that `config.model` names, by its preset or its `pretrained`; None: nothing.

    The weights of a preset may lie in a file of the user's own; those of another repository are others.

    Raises:
        UserError: an unknown backbone or preset.
    """
    known = find_family(model.backbone).published.get(model.pretrained)
    if known is None and model.preset and names_a_file(model.pretrained):
        return find_preset(model.preset)[1]
    return known


def names_a_file(source: str) -> bool:
    """Whether a value of config.model.pretrained is the path of a file or folder, and not a name of the hub."""
    return Path(source).suffix in SUFFIXES or source.startswith((".", "/", "~"))


def crop_step(backbone: str) -> int:
    """Pixels that the side of a training crop has to be a multiple of: of the patch, and of the context stride of 8."""
    return math.lcm(find_patch(backbone), 8)


def usual_stride(backbone: str) -> int:
    """The output stride of a preset: 16 (the release's), or the only one that the encoder has."""
    known = find_family(backbone).output_strides
    return 16 if 16 in known else known[0]


def find_patch(backbone: str) -> int:
    """Pixels that an image's sides have to be multiples of."""
    return find_family(backbone).patches.get(backbone, 1)


def check_side(model: ConfigDict, side: int) -> None:
    """Raises UserError where the encoder can't take crops of `side` pixels."""
    patch = find_patch(model.backbone)
    if side % patch:
        raise UserError(
            f"config.data.side={side} is no multiple of the {patch} pixels of a patch of config.model.backbone="
            f"{model.backbone}: take {side // patch * patch or patch} or {(side // patch + 1) * patch}"
        )


def choose_pixels(model: ConfigDict) -> Pixels:
    """The pixel statistics of the weights that `config.model` names, or those that it gives itself.

    Raises:
        UserError: an unknown backbone.
    """
    published = find_published(model)
    pixels = published.pixels if published else find_family(model.backbone).pixels
    return Pixels(tuple(model.pixel_mean) or pixels.mean, tuple(model.pixel_deviation) or pixels.deviation)
