"""Which row of config.optimizer.groups a parameter belongs to."""

import ast
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from tiny import tiny_config, tiny_state

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import TABLE
from crcfp_jax.training.parameter_groups import Group, check_groups, group_of, name_of, read_groups

DOCS = (Path(__file__).parents[3] / "docs" / "optimiser.md").read_text()
PARAMS = {
    "backbone": {"conv1": {"kernel": jnp.ones(1)}, "layer1_0": {"conv1": {"kernel": jnp.ones(1)}}},
    "decoder": {"kernel": jnp.ones(1)},
}


def rows(*values):
    return read_groups(tiny_config(optimizer__groups=values))


def test_the_first_row_that_matches_the_whole_path_counts():
    groups = rows(("backbone/conv1", 1.0), ("backbone/conv1/.*", 0.1), ["backbone/.*", 0.5, 0.0], (".*", 2.0))
    found = jax.tree.leaves(jax.tree.map_with_path(lambda path, _: group_of(groups, path).multiple, PARAMS))
    assert found == [0.1, 0.5, 2.0]
    assert groups[2] == Group("backbone/.*", 0.5, 0.0)
    assert groups[3].decay is None


def test_every_parameter_needs_a_row():
    with pytest.raises(UserError) as caught:
        check_groups(rows(("backbone/.*", 1.0)), PARAMS)
    assert str(caught.value) == (
        "config.optimizer.groups: no row matches the parameter decoder/kernel; let the last row be ('.*', 1.0)"
    )


def test_every_row_needs_a_parameter():
    check_groups(rows(("backbone/.*", 1.0), ("decoder/.*", 1.0), (".*", 1.0)), PARAMS)
    with pytest.raises(UserError) as caught:
        check_groups(rows(("encoder/.*", 1.0), (".*", 1.0)), PARAMS)
    assert str(caught.value) == (
        "config.optimizer.groups: the row 'encoder/.*' matches no parameter: it has to match a whole path such as "
        "backbone/conv1/kernel, of which the first parts are backbone, decoder"
    )
    with pytest.raises(UserError, match=r"the row 'decoder/\.\*' is never reached: rows before it match all"):
        check_groups(rows((".*", 1.0), ("decoder/.*", 0.1)), PARAMS)


def test_something_has_to_learn():
    with pytest.raises(UserError, match="lets no parameter learn"):
        check_groups(rows(("backbone/.*", 0), ("decoder/.*", 0.0), (".*", 1.0)), PARAMS)
    check_groups(rows(("backbone/.*", 0), (".*", 1e-6)), PARAMS)


def test_a_run_checks_them_before_it_compiles():
    config = tiny_config(method="supervised", optimizer__groups=(("projector/.*", 1.0), (".*", 1.0)))
    with pytest.raises(UserError, match=r"the row 'projector/\.\*' matches no parameter"):  # the method has none
        tiny_state(config)


@pytest.mark.parametrize("text", re.findall(r'--config\.optimizer\.groups="(.*)"', DOCS))
def test_the_documented_tables_fit_the_network(text):
    groups = ast.literal_eval(text)
    assert TABLE["optimizer.groups"].complaint(groups) is None
    params = jax.eval_shape(lambda: tiny_state(tiny_config())).params
    check_groups(rows(*groups), params)


def multiples(encoder, **changes):
    """Path -> multiple of the learning rate, of an abstract network."""
    config = tiny_config(method="supervised", optimizer__encoder=encoder, **changes)
    groups = read_groups(config)
    params = jax.eval_shape(lambda: tiny_state(config)).params  # which checks the rows
    return {name_of(path): group_of(groups, path).multiple for path, _ in jax.tree.leaves_with_path(params)}


def test_a_frozen_encoder():
    found = multiples("frozen")
    assert {name.partition("/")[0] for name, multiple in found.items() if not multiple} == {"backbone"}
    assert {multiple for name, multiple in found.items() if not name.startswith("backbone/")} == {1.0}


def test_rows_of_the_encoder_take_the_place_of_those_of_groups():
    found = multiples("frozen", optimizer__groups=(("backbone/.*", 1.0), (".*", 10.0)))  # as the release has them
    assert found["backbone/conv1/kernel"] == 0
    assert {multiple for name, multiple in found.items() if not name.startswith("backbone/")} == {10.0}


def test_the_last_layers_learn_at_a_tenth():
    found = multiples("last:2", optimizer__groups=((".*", 2.0),))
    assert found["backbone/conv1/kernel"] == found["backbone/layer2_0/conv1/kernel"] == 0
    assert found["backbone/layer3_0/conv1/kernel"] == found["backbone/layer4_1/bn2/scale"] == 0.1
    assert {multiple for name, multiple in found.items() if not name.startswith("backbone/")} == {2.0}


def test_layers_learn_more_slowly_towards_the_pixels():
    found = multiples("layerwise:0.5")
    assert found["backbone/bn1/scale"] == 0.5**5 and found["backbone/layer1_0/conv1/kernel"] == 0.5**4
    assert found["backbone/layer4_1/conv2/kernel"] == 0.5


VIT = {"model__backbone": "vit_small_patch16_224", "model__output_stride": 8, "data__side": 32}


def test_a_transformers_own_parameters_and_not_its_branch():
    frozen = multiples("frozen", **VIT)
    assert {name.split("/")[1] for name, multiple in frozen.items() if not multiple} == {"vit"}
    lora = multiples("lora", model__lora_rank=2, **VIT)
    learns = {name for name, multiple in lora.items() if multiple and name.startswith("backbone/vit/")}
    assert learns and all(name.rpartition("/")[2].startswith("lora_") for name in learns)
    last = multiples("last:1", **VIT)
    learns = {name.split("/")[2] for name, multiple in last.items() if multiple and name.startswith("backbone/vit/")}
    assert learns == {"block11", "norm"}
    decayed = multiples("layerwise:0.9", **VIT)
    assert decayed["backbone/vit/cls_token"] == decayed["backbone/vit/pos_embed"] == 0.9**13
    assert decayed["backbone/vit/block0/qkv/kernel"] == 0.9**12 and decayed["backbone/vit/norm/bias"] == 0.9


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"optimizer__encoder": "lora"},
            "config.optimizer.encoder='lora' and config.model.lora_rank=0 don't fit together",
        ),
        ({"optimizer__encoder": "frozen", "model__lora_rank": 4}, "'frozen' and config.model.lora_rank=4 don't fit"),
        (
            {"optimizer__encoder": "lora", "model__backbone": "resnet18", "model__output_stride": 16},
            "config.optimizer.encoder='lora' is for encoders that attend, and config.model.backbone=resnet18 is",
        ),
        ({"optimizer__encoder": "last:13"}, "has 13 groups of layers: give last:12 at most"),
    ],
)
def test_a_tuning_that_does_not_fit_is_told(changes, told):
    with pytest.raises(UserError, match=re.escape(told)):
        read_groups(tiny_config(method="supervised", **VIT | changes))
