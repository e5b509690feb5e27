"""The list of encoders: costs by hand, and what it says."""

import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.encoders import cost, crop_side, main
from crcfp_jax.models.encoders.registry import PRESETS


def test_the_cost_of_a_resnet():
    """Parameters as published without the classifier; operations: 4.1 billion multiply-adds at 224 pixels (He et al.

    2016), of which the last stage, dilated to an output stride of 16, does its 0.8 billion four times.
    """
    found = cost("resnet50", 224)
    assert found.parameters == 23_508_032
    assert found.operations == pytest.approx(2 * (4.1e9 + 3 * 0.8e9), rel=0.1)


def test_the_cost_of_a_transformer():
    """12 n d^2 + 2 n^2 d multiply-adds a block for n tokens of d numbers; beside it the branch at strides 2 to 8."""
    tokens, width = 197, 384
    blocks = 2 * 12 * (12 * tokens * width**2 + 2 * tokens**2 * width)
    found = cost("vit_small_patch16_224", 224)
    assert blocks < found.operations < 1.35 * blocks
    assert 21.7e6 < found.parameters < 23.5e6  # 21.67 million are the transformer's
    twice = cost("vit_small_patch16_224", 448)
    assert 3 < twice.kept / found.kept < 4  # four times the tokens, whose attention is no longer kept


def test_crops_are_whole_patches():
    assert crop_side("vit_small_patch14_reg4_dinov2", 225) == 280  # a multiple of 14 and of 8
    assert crop_side("resnet50", 225) == 232


def test_some_encoders_are_listed(capsys):
    assert main(["uni", "lunit_swav", "--side", "64"]) == 0
    out = capsys.readouterr().out
    assert "MahmoodLab/UNI" in out and "CC BY-NC-ND 4.0*" in out and "305.4 M" in out
    assert "0.25 to 0.5" in out and "dinov2" not in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_what_is_not_there_is_told():
    with pytest.raises(UserError, match=r"config\.model\.preset='none' is unknown; known: resnet18_imagenet, "):
        main(["none"])
    with pytest.raises(UserError, match="--side 0: give a number of pixels above 0"):
        main(["--side", "0"])


@pytest.mark.slow
def test_every_encoder_is_listed(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in PRESETS)
