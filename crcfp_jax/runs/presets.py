"""Settings from a command line: a config file, what a preset makes of it, and what the user says last."""

from collections.abc import Mapping
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from crcfp_jax.config import check_values
from crcfp_jax.models.encoders.registry import crop_step, find_family, find_preset, usual_stride

LEARNING_RATE = 0.001  # of AdamW; measured with EfficientNet-Lite0 on GlaS (docs/results/benchmark.md)
LORA_RANK = 8  # Hu et al. 2022


def chosen_config(values: flags.FlagValues) -> ConfigDict:
    """The settings that `config_flag.parse_flags` has read, with its `config.model.preset` put into effect.

    Raises:
        UserError: there is no such preset, or a value that can't be used.
    """
    flag = values["config"]
    check_values(flag.value)
    return apply_preset(flag.value, flag.override_values)


def apply_preset(config: ConfigDict, given: Mapping[str, Any]) -> ConfigDict:
    """What `config.model.preset` means: encoder, weights, decoder, optimiser, crop and pixel size.

    They take the place of what the config file says, and not of what the user has given: dotted key -> value. A pixel
    size beyond those that the weights have seen becomes the nearest of these; the crop becomes a multiple of the patch
    and of the context stride.

    Returns:
        A changed copy; the same settings without a preset.

    Raises:
        UserError: there is no such preset.
    """
    if not config.model.preset:
        return config
    source, published = find_preset(config.model.preset)
    family = find_family(published.backbone)
    changes = {
        "model.backbone": published.backbone,
        "model.pretrained": source,
        "model.decoder": "v3plus",
        "model.output_stride": usual_stride(published.backbone),
        "optimizer.name": "adamw",
        "optimizer.learning_rate": LEARNING_RATE,
        "optimizer.groups": ((".*", 1.0),),
        "optimizer.encoder": "frozen" if family.attends else "groups",
        "data.microns_per_pixel": published.nearest_pixel_size(config.data.microns_per_pixel),
    }
    if family.width is not None:
        changes["model.width"] = family.width
    if family.attends and given.get("optimizer.encoder") == "lora":
        changes["model.lora_rank"] = LORA_RANK
    step = crop_step(published.backbone)
    changes["data.side"] = -(-config.data.side // step) * step
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict({key: value for key, value in changes.items() if key not in given})
    return config
