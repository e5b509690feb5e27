"""Weak-to-strong consistency against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config, tiny_parts

from crcfp_jax.methods.context import Context
from crcfp_jax.methods.reduction import Heads
from crcfp_jax.methods.systems.weak_to_strong import FIXMATCH, UNIMATCH
from crcfp_jax.methods.terms.weak_to_strong import weak_to_strong

KEY = jax.random.key(5)


def outcome(method, monkeypatch, features, boxes=None, threshold=0.9):
    """The term on features that are the logits themselves."""
    monkeypatch.setattr(Heads, "apply", lambda self, name, x: x)
    config = tiny_config(method=method.name, weak_to_strong__threshold=threshold)
    network = tiny_parts(config)[0]
    heads, teacher = Heads(network, {}, None), Heads(network, {}, None)
    own = {name: jnp.asarray(values, jnp.float32) for name, values in features.items()}
    context = Context(method, config, heads, teacher, own, {}, KEY, boxes=boxes or {})
    return weak_to_strong(context, method.terms[0]).loss


def test_places_of_which_the_teacher_is_sure_over_all_places(monkeypatch):
    weak = [[[[3.0, 0.0], [0.0, 3.0]], [[1.0, 0.0], [0.0, 0.0]]]]  # two are above 0.9: sigmoid(3) = 0.953
    strong = [[[[0.0, 0.0], [2.0, 0.0]], [[5.0, 0.0], [0.0, 5.0]]]]
    expected = (np.log(2) + np.log(1 + np.exp(2))) / 4  # the classes 0 and 1 of the upper row
    features = {"weak": weak, "strong": strong}
    np.testing.assert_allclose(outcome(FIXMATCH, monkeypatch, features), expected, rtol=1e-6)
    assert outcome(FIXMATCH, monkeypatch, features, threshold=0.96) == 0


def test_targets_are_mixed_as_the_images_are(monkeypatch):
    """Two images of two by one cells; in a strong view the first has the upper cell of the second."""
    weak = [[[[9.0, 0.0]], [[9.0, 0.0]]], [[[0.0, 9.0]], [[0.5, 0.0]]]]
    strong = [[[[1.0, 0.0]], [[2.0, 0.0]]], [[[3.0, 0.0]], [[4.0, 0.0]]]]
    boxes = {name: jnp.zeros((2, 2, 1), bool) for name in ("strong_1", "strong_2")}
    boxes["strong_1"] = boxes["strong_1"].at[0, 0, 0].set(True)

    def of(logit, target):
        return np.log(1 + np.exp(logit)) - (0 if target else logit)

    features = {"weak": weak, "strong_1": strong, "strong_2": strong}
    plain = (of(1, 0) + of(2, 0) + of(3, 1)) / 4  # of the second image's lower cell the teacher is not sure
    mixed = (of(1, 1) + of(2, 0) + of(3, 1)) / 4
    np.testing.assert_allclose(outcome(UNIMATCH, monkeypatch, features, boxes), (mixed + plain) / 2, rtol=1e-6)


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_what_learns(monkeypatch, name):
    features = {"weak": [[[[3.0, 0.0]]]], "strong": [[[[1.0, 0.0]]]]}

    def loss(values):
        return outcome(FIXMATCH, monkeypatch, features | {name: values})

    gradient = jax.grad(loss)(jnp.asarray(features[name]))
    assert bool(jnp.any(gradient)) == (name == "strong")
