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
from crcfp_jax.training.parameter_groups import Group, check_groups, group_of, read_groups

DOCS = (Path(__file__).parents[3] / "docs" / "optimiser.md").read_text()
PARAMS = {
    "backbone": {"conv1": {"kernel": jnp.ones(1)}, "layer1_0": {"conv1": {"kernel": jnp.ones(1)}}},
    "decoder": {"kernel": jnp.ones(1)},
}


def rows(*values):
    return read_groups(tiny_config(optimizer__groups=values).optimizer)


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
