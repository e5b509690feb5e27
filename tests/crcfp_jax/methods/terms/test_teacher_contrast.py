"""ContextMatch: the teacher's targets of two contexts, and the contrast with them, against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config, tiny_parts
from vector_heads import use_vectors

from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.context import Context
from crcfp_jax.methods.reduction import Heads
from crcfp_jax.methods.systems.context_match import CONTEXT_MATCH
from crcfp_jax.methods.terms.teacher_contrast import teacher_contrast
from crcfp_jax.methods.terms.weak_to_strong import teacher_probabilities, weak_to_strong

KEY = jax.random.key(5)
MATCH, CONTRAST = (CONTEXT_MATCH.term(name) for name in ("weak_to_strong", "teacher_contrast"))


def context(monkeypatch, features, *, offset=(0, 1), flip=(False, False), boxes=None, slots=8):
    """One image of a row of cells; the second crop lies one cell to the right of the first."""
    use_vectors(monkeypatch, scale=10)
    rows = len(features["weak"])
    config = tiny_config(
        method="context_match", weak_to_strong__threshold=0.9, contrastive__temperature=0.5, contrastive__negatives=4
    )
    network = tiny_parts(config)[0]
    config.data.side = rows * network.context_stride
    heads, teacher = Heads(network, {}, None), Heads(network, {}, None)
    own = {name: jnp.asarray(values, jnp.float32)[None] for name, values in features.items()}
    batch = {"offset": jnp.asarray([offset], jnp.int32), "flip": jnp.asarray([flip])}
    bank = banks.empty(slots, 2)
    return Context(CONTEXT_MATCH, config, heads, teacher, own, batch, KEY, bank, boxes=boxes or {})


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("flip", [(False, False), (True, False), (False, True)])
def test_targets_are_the_mean_of_both_contexts_where_both_show_a_place(monkeypatch, flip):
    """The first crop's second cell is the second crop's first."""
    first, second = [[1.0, 0.0], [0.1, 0.0]], [[-0.5, 0.0], [3.0, 0.0]]
    features = {
        "weak": [first[::-1] if flip[0] else first] * 2,
        "weak_other": [second[::-1] if flip[1] else second] * 2,
    }
    expected = [sigmoid(10.0), (sigmoid(1.0) + sigmoid(-5.0)) / 2]
    found = teacher_probabilities(context(monkeypatch, features, flip=flip), MATCH)[0, 0, :, 1]
    np.testing.assert_allclose(found, expected[::-1] if flip[0] else expected, rtol=1e-5)


def test_a_class_counts_where_the_mean_is_sure(monkeypatch):
    features = {
        "weak": [[[1.0, 0.0], [0.1, 0.0]]] * 2,
        "weak_other": [[[-0.5, 0.0], [3.0, 0.0]]] * 2,
        "strong": [[[0.2, 0.0], [0.3, 0.0]]] * 2,
    }
    # Only the left cells have a probability above 0.9, of class 1: half of all places.
    expected = np.log(1 + np.exp(-2.0)) / 2
    np.testing.assert_allclose(weak_to_strong(context(monkeypatch, features), MATCH).loss, expected, rtol=1e-5)


# Of the first crop's upper row the second cell is the second crop's first: class 1 in both. Of the lower row likewise,
# but the classes differ.
FEATURES = {
    "weak": [[[-0.6, 0.8], [0.6, 0.8]], [[-0.6, 0.8], [-0.6, 0.8]]],
    "weak_other": [[[0.8, 0.6], [0.8, -0.6]], [[0.8, 0.6], [0.01, 1.0]]],
    "strong": [[[1.0, 0.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]],
}


def contrast_by_hand(anchor, positive, negatives):
    """InfoNCE at a temperature of 0.5."""
    score = np.dot(anchor, positive) / 0.5
    return np.log(1 + sum(np.exp(np.dot(anchor, negative) / 0.5 - score) for negative in negatives))


def test_contrast_by_hand(monkeypatch):
    """All eight cells are pushed, the unsure one as an empty slot."""
    seen = context(monkeypatch, FEATURES)
    seen.config.contrastive.negatives = 8
    outcome = teacher_contrast(seen, CONTRAST)
    negatives = [(-0.6, 0.8)] * 3  # class 0; the second crop has none
    np.testing.assert_allclose(outcome.loss, contrast_by_hand((0.6, 0.8), (0.8, 0.6), negatives), rtol=1e-5)
    assert sorted(np.asarray(outcome.bank.labels).tolist()) == [-1, 0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(outcome.metrics["positives"], [0, 1 / 4])
    np.testing.assert_allclose(outcome.metrics["share/bank_filled"], 7 / 8)


def test_positives_are_mixed_as_the_strong_view_is(monkeypatch):
    """One image: the next one is itself, and a box changes nothing."""
    plain = teacher_contrast(context(monkeypatch, FEATURES), CONTRAST).loss
    boxes = {"strong": jnp.ones((1, 2, 2), bool)}
    np.testing.assert_array_equal(teacher_contrast(context(monkeypatch, FEATURES, boxes=boxes), CONTRAST).loss, plain)


def test_a_mixed_cell_is_pulled_to_the_other_images_place(monkeypatch):
    """Two images; the strong view of the first has the second's upper right cell."""
    other = {
        "weak": [[[-0.6, 0.8], [-0.8, 0.6]], [[-0.6, 0.8], [-0.6, 0.8]]],
        "weak_other": [[[-1.0, 0.0], [0.8, -0.6]], [[0.8, 0.6], [0.01, 1.0]]],
        "strong": [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]],
    }
    seen = context(monkeypatch, FEATURES, slots=16)
    seen.config.contrastive.negatives = 16
    boxes = jnp.zeros((2, 2, 2), bool).at[0, 0, 1].set(True)
    features = {name: jnp.asarray([FEATURES[name], other[name]], jnp.float32) for name in FEATURES}
    batch = {name: jnp.repeat(values, 2, axis=0) for name, values in seen.batch.items()}
    mixed = Context(
        CONTEXT_MATCH, seen.config, seen.heads, seen.teacher, features, batch, KEY, seen.bank, {"strong": boxes}
    )
    # Class 1: four cells of the first image, two of the second's second crop.
    ones = [(0.6, 0.8), (0.8, 0.6), (0.8, -0.6), (0.8, 0.6), (0.8, -0.6), (0.8, 0.6)]
    expected = [contrast_by_hand(anchor, (-1.0, 0.0), ones) for anchor in ((0.6, 0.8), (0.0, 1.0))]
    np.testing.assert_allclose(teacher_contrast(mixed, CONTRAST).loss, np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("name", ["weak", "weak_other", "strong"])
def test_only_the_strong_view_learns(monkeypatch, name):
    def loss(values):
        seen = context(monkeypatch, FEATURES | {name: values})
        return teacher_contrast(seen, CONTRAST).loss + weak_to_strong(seen, MATCH).loss

    gradient = jax.grad(loss)(jnp.asarray(FEATURES[name]))
    assert bool(jnp.any(gradient)) == (name == "strong")
