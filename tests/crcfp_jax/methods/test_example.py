"""The method of docs/examples, which the package doesn't have: its data, one function of a term, its settings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples import load_example
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.common import settings_table
from crcfp_jax.common.errors import UserError
from crcfp_jax.methods.randomness import draw_purposes
from crcfp_jax.methods.systems.definition import LABELLED
from crcfp_jax.methods.systems.registry import METHODS
from crcfp_jax.methods.terms.registry import FUNCTIONS
from crcfp_jax.models.encoders.pixels import IMAGENET
from crcfp_jax.training.step import make_train_step
from crcfp_jax.training.streams import draw_streams

pseudo_labels = load_example("pseudo_labels")
NAME = pseudo_labels.METHOD.name
KEY = jax.random.key(2)


@pytest.fixture
def config(monkeypatch):
    """Settings of the method, with both registries as if it stood in them."""
    monkeypatch.setitem(METHODS, NAME, pseudo_labels.METHOD)
    monkeypatch.setitem(FUNCTIONS, NAME, pseudo_labels.pseudo_labels)
    return settings(threshold=0.35)


TABLE = settings_table.flatten({NAME: pseudo_labels.SETTINGS})


def settings(**changes):
    config = tiny_config()
    with config.unlocked():
        config[NAME] = settings_table.build(TABLE)[NAME]
    config[NAME].update(changes)
    config.method = NAME
    return config


def test_its_settings_are_checked_by_their_rules():
    settings_table.check(TABLE, settings())
    with pytest.raises(UserError, match=r"config\.pseudo_labels\.threshold=1\.5 must"):
        settings_table.check(TABLE, settings(threshold=1.5))


def test_every_version_of_a_crop_is_a_draw_of_its_own(config):
    batch = tiny_batch(config)
    draw = functools.partial(draw_streams, pseudo_labels.METHOD, config=config, pixels=IMAGENET, axis_name=None)
    images = jax.jit(draw)(batch, KEY)
    assert set(images) == {"labelled", "weak", "strong_1", "strong_2"}
    for one, other in (("weak", "strong_1"), ("weak", "strong_2"), ("strong_1", "strong_2")):
        assert (np.abs(images[one] - images[other]).max((1, 2, 3)) > 0.01).all()
    assert draw_purposes([LABELLED, *pseudo_labels.METHOD.streams]) == {
        "labelled": 0, "weak": 2, "strong_1": 102, "strong_2": 106
    }  # fmt: skip


def test_the_draws_of_the_shipped_methods_are_those_of_their_sources():
    expected = {"labelled": 0, "unlabelled": 1, "view_a": 2, "view_b": 3, "altered": 2, "weak": 2}
    of_teachers = {"mean_teacher": {"weak": 102}, "fixmatch": {"strong": 102},
                   "unimatch": {"strong_1": 102, "strong_2": 106},
                       "context_match": {"weak_other": 3, "strong": 102}}  # fmt: skip
    for method in METHODS.values():
        found = draw_purposes([LABELLED, *method.streams])
        own = expected | of_teachers.get(method.name, {})
        assert found == {name: own[name] for name in found}
    assert "unaltered" not in draw_purposes(METHODS["cdcl"].streams)


def test_it_trains(config):
    network, method, optimizer = tiny_parts(config)
    step = jax.jit(make_train_step(network, method, config, optimizer))
    before, batch = tiny_state(config), tiny_batch(config)
    state, metrics = before, {}
    for _ in range(3):
        state, metrics = step(state, batch, KEY)
    assert metrics["finite"] and metrics["loss/pseudo_labels"] > 0 and metrics["share/confident"] > 0
    for group in before.params:
        for kind in ("params", "batch_stats"):
            old, new = before.teacher[kind].get(group), state.teacher[kind].get(group)
            assert old is None or any(map(differ, jax.tree.leaves(old), jax.tree.leaves(new))), (kind, group)
    assert any(map(differ, jax.tree.leaves(state.params), jax.tree.leaves(state.teacher["params"])))


def test_its_gradient_reaches_encoder_and_classifier_and_not_the_teacher(config):
    network, method, optimizer = tiny_parts(config)
    config.weights.supervised = 0.0
    before, batch = tiny_state(config), jax.tree.map(jnp.asarray, tiny_batch(config))
    # The plain average of one step's parameters is what the student has become: the teacher has no gradient of its own.
    after, metrics = jax.jit(make_train_step(network, method, config, optimizer))(before, batch, KEY)
    assert metrics["gradient_norm"] > 0
    for group in ("backbone", "decoder", "classifier"):
        assert any(map(differ, jax.tree.leaves(before.params[group]), jax.tree.leaves(after.params[group])))
    jax.tree.map(
        lambda own, student: np.testing.assert_allclose(own, student, rtol=1e-6),
        after.teacher["params"],
        after.params,
    )

    def loss(teacher):
        step = make_train_step(network, method, config, optimizer)
        _, metrics = step(before.replace(teacher={**before.teacher, "params": teacher}), batch, KEY)
        return metrics["loss/total"]

    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(before.teacher["params"])))


def test_a_pixel_counts_where_the_teacher_is_sure(config):
    config.pseudo_labels.threshold = 1.0
    network, method, optimizer = tiny_parts(config)
    _, metrics = jax.jit(make_train_step(network, method, config, optimizer))(
        tiny_state(config), tiny_batch(config), KEY
    )
    assert metrics["loss/pseudo_labels"] == metrics["share/confident"] == 0


def differ(one, other):
    return bool(np.any(np.asarray(one) != np.asarray(other)))
