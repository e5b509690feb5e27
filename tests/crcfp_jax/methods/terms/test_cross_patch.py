"""CDCL: clear patches and the cross-patch contrast, against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config, tiny_parts
from vector_heads import use_vectors

from crcfp_jax.losses.cross_patch import clear_cells
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.context import Context
from crcfp_jax.methods.reduction import Heads
from crcfp_jax.methods.systems.cdcl import CDCL
from crcfp_jax.methods.terms.cross_patch import cross_patch

KEY = jax.random.key(5)


def test_clear_cells_are_those_of_their_patches_class():
    labels = [
        [1, 1, 0, 0, 1],
        [1, 0, 0, 0, 0],
        [0, 1, 1, 1, 1],
    ]
    # Patches of 2 x 2: three ones of four (clear at 0.75), no ones, half; in the last row two cells each: half, all.
    expected = [
        [True, True, True, True, False],
        [True, False, True, True, False],
        [False, False, True, True, True],
    ]
    np.testing.assert_array_equal(clear_cells(jnp.asarray([labels], jnp.int32), 2, 0.75)[0], expected)


@pytest.mark.parametrize(("clear", "expected"), [(0.75, 3 + 2), (0.76, 2)])
def test_a_share_at_the_bound_is_clear(clear, expected):
    labels = jnp.asarray([[[1, 1, 0], [1, 0, 0]]], jnp.int32)  # three ones of four, then a patch cut to two zeros
    assert int(clear_cells(labels, 2, clear).sum()) == expected


def contrast(config, monkeypatch, student, teacher, bank):
    """The term on given features; those of class 1 have a positive first number."""
    use_vectors(monkeypatch)
    heads = Heads(tiny_parts(config)[0], {}, None)
    features = {"altered": jnp.asarray(student), "unaltered": jnp.asarray(teacher)}
    context = Context(CDCL, config, heads, heads, features, {}, KEY, bank)
    return cross_patch(context, CDCL.term("cross_patch"))


def test_cross_patch_contrast_by_hand(monkeypatch):
    config = tiny_config(method="cdcl", cdcl__patch=1, cdcl__negatives=2, contrastive__temperature=0.5)
    student = np.array([[[[3.0, 4.0], [-1.0, 0.0]]]], np.float32)  # one image, one row, two cells
    teacher = np.array([[[[1.0, 0.0], [-0.6, 0.8]]]], np.float32)
    outcome = contrast(config, monkeypatch, student, teacher, banks.empty(4, 2))
    # Anchor 1 (0.6, 0.8): positive (1, 0), score 1.2; its negative is the other class's (-0.6, 0.8): 0.28 / 0.5.
    # Anchor 2 (-1, 0): positive (-0.6, 0.8), score 1.2; negative (1, 0): -2.
    by_hand = [np.log(1 + np.exp(0.56 - 1.2)), np.log(1 + np.exp(-2 - 1.2))]
    np.testing.assert_allclose(outcome.loss, np.mean(by_hand), rtol=1e-5)
    assert sorted(np.asarray(outcome.bank.labels).tolist()) == [-1, -1, 0, 1]
    np.testing.assert_allclose(outcome.metrics["positives"], [0.5, 0.5])
    np.testing.assert_allclose(outcome.metrics["bank"], [0.25, 0.25])


def test_unclear_patches_give_neither_anchors_nor_negatives(monkeypatch):
    config = tiny_config(method="cdcl", cdcl__patch=2, cdcl__negatives=8, contrastive__temperature=1.0)
    # Three patches of 2 x 2: nuclei but for one cell, half and half, background.
    labels = jnp.asarray([[[1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]]], jnp.int32)
    teacher = jnp.where(labels[..., None] == 1, jnp.asarray([1.0, 0.0]), jnp.asarray([0.0, 1.0]))
    student = teacher.at[:, :, 2:4].set(-1.0)  # far off, and of no account
    outcome = contrast(config, monkeypatch, student, teacher, banks.empty(8, 2))
    # Three cells of nuclei against four of background, and the other way round.
    nuclei, background = np.log(1 + 4 * np.exp(-1)), np.log(1 + 3 * np.exp(-1))
    np.testing.assert_allclose(outcome.loss, (3 * nuclei + 4 * background) / 7, rtol=1e-5)
    assert sorted(np.asarray(outcome.bank.labels).tolist()) == [-1, 0, 0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(outcome.metrics["positives"], [4 / 12, 3 / 12], rtol=1e-6)
