"""CDCL: clear patches, the cross-patch contrast and the moving average, against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.losses.cross_patch import clear_cells
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.mean_teacher import TeacherOutput, cross_patch_term, ema_update
from crcfp_jax.methods.reduction import Heads
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.training.step import make_train_step

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


class TwoCells:
    """Stands for a network: features are the vectors themselves, the classifier takes the first number for class 1."""

    def apply(self, variables, features, method):
        match method:
            case "context":
                return features
            case "project":
                return features / jnp.linalg.norm(features, axis=-1, keepdims=True)
            case "classify":
                return jnp.stack([jnp.zeros_like(features[..., 0]), features[..., 0]], axis=-1)


def test_cross_patch_contrast_by_hand(monkeypatch):
    config = tiny_config(method="cdcl", cdcl__patch=1, cdcl__negatives=2, contrastive__temperature=0.5)
    student = np.array([[[[3.0, 4.0], [-1.0, 0.0]]]], np.float32)  # one image, one row, two cells
    teacher = np.array([[[[1.0, 0.0], [-0.6, 0.8]]]], np.float32)
    teacher_output = TeacherOutput(jnp.zeros((1, 1, 2, 2)), jnp.asarray(teacher), jnp.asarray([[[1, 0]]], jnp.int32))
    monkeypatch.setattr(Heads, "apply", lambda self, method, x: TwoCells().apply(None, x, method))
    heads = Heads(tiny_parts(config)[0], {}, None)
    loss, bank, metrics = cross_patch_term(heads, jnp.asarray(student), teacher_output, banks.empty(4, 2), KEY, config)
    # Anchor 1 (0.6, 0.8): positive (1, 0), score 1.2; its negative is the other class's (-0.6, 0.8): 0.28 / 0.5.
    # Anchor 2 (-1, 0): positive (-0.6, 0.8), score 1.2; negative (1, 0): -2.
    by_hand = [np.log(1 + np.exp(0.56 - 1.2)), np.log(1 + np.exp(-2 - 1.2))]
    np.testing.assert_allclose(loss, np.mean(by_hand), rtol=1e-5)
    assert sorted(np.asarray(bank.labels).tolist()) == [-1, -1, 0, 1]
    np.testing.assert_allclose(metrics["positives"], [0.5, 0.5])
    np.testing.assert_allclose(metrics["bank"], [0.25, 0.25])


def test_unclear_patches_give_neither_anchors_nor_negatives(monkeypatch):
    config = tiny_config(method="cdcl", cdcl__patch=2, cdcl__negatives=8, contrastive__temperature=1.0)
    monkeypatch.setattr(Heads, "apply", lambda self, method, x: TwoCells().apply(None, x, method))
    heads = Heads(tiny_parts(config)[0], {}, None)
    # Three patches of 2 x 2: nuclei but for one cell, half and half, background.
    labels = jnp.asarray([[[1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]]], jnp.int32)
    teacher = jnp.where(labels[..., None] == 1, jnp.asarray([1.0, 0.0]), jnp.asarray([0.0, 1.0]))
    student = teacher.at[:, :, 2:4].set(-1.0)  # far off, and of no account
    teacher_output = TeacherOutput(jnp.zeros((1, 2, 6, 2)), teacher, labels)
    loss, bank, metrics = cross_patch_term(heads, student, teacher_output, banks.empty(8, 2), KEY, config)
    # Three cells of nuclei against four of background, and the other way round.
    nuclei, background = np.log(1 + 4 * np.exp(-1)), np.log(1 + 3 * np.exp(-1))
    np.testing.assert_allclose(loss, (3 * nuclei + 4 * background) / 7, rtol=1e-5)
    assert sorted(np.asarray(bank.labels).tolist()) == [-1, 0, 0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(metrics["positives"], [4 / 12, 3 / 12], rtol=1e-6)


def test_the_teacher_is_the_average_of_the_first_steps_then_a_moving_one():
    steps = [jnp.asarray(value) for value in (2.0, 4.0, 9.0)]
    teacher = jnp.asarray(100.0)  # the initial one, which must not linger
    for step, params in enumerate(steps):
        teacher = ema_update(teacher, params, 0.99, jnp.asarray(step))
    np.testing.assert_allclose(teacher, 5.0, rtol=1e-6)
    np.testing.assert_allclose(ema_update(teacher, jnp.asarray(105.0), 0.99, jnp.asarray(500)), 6.0, rtol=1e-5)


@pytest.fixture(scope="module")
def steps():
    """The states before and after three steps of CDCL, the last metrics, the step and its settings."""
    config = tiny_config(method="cdcl", cdcl__teacher_decay=0.6)
    network, method, optimizer = tiny_parts(config)
    step = jax.jit(make_train_step(network, method, config, optimizer))
    states = [tiny_state(config)]
    for _ in range(3):
        state, metrics = step(states[-1], tiny_batch(config), KEY)
        states.append(state)
    return states, metrics, step, config


def test_a_step_moves_the_teacher_by_exactly_its_average(steps):
    states = steps[0]
    for number, decay in enumerate((0.0, 0.5, 0.6)):
        before, after = states[number], states[number + 1]
        jax.tree.map(
            lambda old, new, student, decay=decay: np.testing.assert_allclose(
                new, decay * old + (1 - decay) * student, rtol=1e-6, atol=1e-7
            ),
            before.teacher,
            after.teacher,
            after.params,
        )


def test_a_restored_teacher_goes_on_to_the_bit(steps, tmp_path):
    states, _, step, config = steps
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(states[1], states[1].batch_stats, {}, {})
    restored, _ = checkpoints.restore(1, tiny_state(config))
    jax.tree.map(np.testing.assert_array_equal, restored, states[1])
    jax.tree.map(np.testing.assert_array_equal, step(restored, tiny_batch(config), KEY)[0], states[2])


def test_the_step_tells_of_the_teachers_patches(steps):
    _, metrics, _, _ = steps
    assert metrics["positives"].shape == metrics["bank"].shape == metrics["confident"].shape == (2,)
    assert float(metrics["loss/teacher_consistency"]) > 0
