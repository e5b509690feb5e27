"""What a preset makes of a config file's settings, and that the user has the last word."""

import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import check_values, default
from crcfp_jax.models.encoders.pixels import IMAGENET
from crcfp_jax.models.encoders.registry import (
    PRESETS,
    check_encoder,
    check_side,
    choose_pixels,
    find_family,
    find_published,
)
from crcfp_jax.queue.check import load_config
from crcfp_jax.runs.parts import build_learner
from crcfp_jax.runs.presets import apply_preset

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections


def chosen(**changes):
    """`configs/glas.py`, 320 pixels of 1 µm, with changes as on the command line: '__' is a dot."""
    return load_config("configs/glas.py", {key.replace("__", "."): str(value) for key, value in changes.items()})


def test_without_a_preset_nothing_changes():
    config = default()
    assert apply_preset(config, {}) is config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_settings_that_can_be_used(name):
    config = chosen(model__preset=name)
    check_values(config)
    check_encoder(config.model)
    check_side(config.model, config.data.side)
    source, published = PRESETS[name]
    assert (config.model.backbone, config.model.pretrained) == (published.backbone, source)
    assert config.data.side % 8 == 0 and 320 <= config.data.side <= 336
    assert published.licence and published.remark and published.backbone in find_family(published.backbone).backbones
    pixels = choose_pixels(config.model)
    assert all(0 <= value < 1 for value in pixels.mean) and all(0 < value <= 1 for value in pixels.deviation)
    build_learner(config, 2).network()


def test_a_transformer_of_pathology():
    config = chosen(model__preset="uni")
    assert config.model.backbone == "vit_large_patch16_224.uni" and config.model.output_stride == 8
    assert config.model.decoder == "v3plus" and config.optimizer.name == "adamw"
    assert config.optimizer.encoder == "frozen" and config.data.microns_per_pixel == 0.5
    assert choose_pixels(config.model) == IMAGENET
    assert chosen(model__preset="h_optimus_0").data.side == 336  # a multiple of 14 and of 8
    assert chosen(model__preset="dinov2_s14").data.microns_per_pixel == 1.0  # natural images have no pixel size
    assert chosen(model__preset="virchow2").data.microns_per_pixel == 1.0  # has seen 0.25 to 2 µm


def test_a_convolutional_encoder():
    config = chosen(model__preset="lunit_swav")
    assert config.model.backbone == "resnet50" and config.model.width == 64 and config.model.output_stride == 16
    assert config.optimizer.encoder == "groups" and config.data.microns_per_pixel == 0.5
    assert choose_pixels(config.model).mean == (0.70322989, 0.53606487, 0.66096631)


def test_what_the_user_gives_stays():
    config = chosen(
        model__preset="uni", model__pretrained="mine.safetensors", data__microns_per_pixel=2.0, data__side=160,
        optimizer__learning_rate=0.01, optimizer__encoder="last:2",
    )  # fmt: skip
    assert config.model.pretrained == "mine.safetensors" and config.data.microns_per_pixel == 2.0
    assert config.data.side == 160 and config.optimizer.learning_rate == 0.01 and config.model.lora_rank == 0
    assert choose_pixels(config.model) == IMAGENET  # still those of UNI
    lora = chosen(model__preset="uni", optimizer__encoder="lora")
    assert lora.model.lora_rank == 8
    assert chosen(model__preset="uni", optimizer__encoder="lora", model__lora_rank=4).model.lora_rank == 4


def test_weights_of_another_repository_are_not_the_presets():
    own = chosen(model__preset="uni", model__pretrained="mine.safetensors").model
    assert find_published(own).licence == "CC BY-NC-ND 4.0"
    assert find_published(chosen(model__preset="uni", model__pretrained="someone/uni").model) is None
    assert find_published(chosen(model__preset="uni", model__pretrained="").model) is None


def test_updates_of_low_rank_are_for_transformers():
    config = chosen(model__preset="lunit_swav", optimizer__encoder="lora")
    assert config.model.lora_rank == 0
    with pytest.raises(UserError, match="'lora' is for encoders that attend"):
        build_learner(config, 2)


def test_the_file_stays_as_it_is():
    config = default()
    config.model.preset = "uni"
    apply_preset(config, {})
    assert config.model.backbone == "resnet50"


def test_an_unknown_preset_and_one_of_another_encoder():
    with pytest.raises(UserError, match=r"config\.model\.preset='unknown' is unknown; known: resnet18_.*uni,"):
        chosen(model__preset="unknown")
    config = chosen(model__preset="uni", model__backbone="resnet50", model__output_stride=16)
    with pytest.raises(UserError, match=r"preset='uni' is for config\.model\.backbone=vit_large_patch16_224\.uni, not"):
        check_encoder(config.model)
