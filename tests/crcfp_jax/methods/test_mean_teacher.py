"""The mean teacher: its moving average, its own statistics, and what a checkpoint keeps of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.methods.mean_teacher import ema_update
from crcfp_jax.models.encoders.pixels import IMAGENET, normalise
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.training.step import make_train_step

KEY = jax.random.key(5)


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
            before.teacher["params"],
            after.teacher["params"],
            after.params,
        )


def test_a_teachers_statistics_are_those_of_the_unaltered_images_that_it_has_seen(steps):
    states, _, _, config = steps
    network, _, _ = tiny_parts(config)
    before, after = states[1].teacher, states[2].teacher
    images = normalise(jnp.asarray(tiny_batch(config)["view_a"]), IMAGENET)
    _, updated = network.apply(before, images, train=True, mutable=["batch_stats"], method="encode")
    jax.tree.map(
        lambda own, expected: np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6),
        after["batch_stats"],
        updated["batch_stats"],
    )
    # The stem's inputs are the images themselves: nine tenths of what it had, a tenth of what the batch has.
    stem = [state.teacher["batch_stats"]["backbone"]["bn1"]["mean"] for state in states]
    assert not np.allclose(stem[2], 0.9 * stem[1]) and not np.allclose(
        stem[2], states[2].batch_stats["backbone"]["bn1"]["mean"]
    )


@pytest.mark.parametrize("model", ["student", "teacher"])
def test_a_restored_teacher_goes_on_to_the_bit(steps, tmp_path, model):
    states, _, step, config = steps
    checkpoints = Checkpoints(tmp_path, model=model)
    inference_stats = jax.tree.map(lambda x: x + 1, states[1].inference(model)["batch_stats"])  # as if recalibrated
    checkpoints.save(states[1], inference_stats, {}, {})
    restored, _ = checkpoints.restore(1, tiny_state(config))
    found = Checkpoints(tmp_path, read_only=True).restore_model(1, jax.eval_shape(lambda: tiny_state(config).variables))
    expected = {"student": states[1].params, "teacher": states[1].teacher["params"]}[model]
    jax.tree.map(np.testing.assert_array_equal, found, {"params": expected, "batch_stats": inference_stats})
    jax.tree.map(np.testing.assert_array_equal, restored, states[1])
    jax.tree.map(np.testing.assert_array_equal, step(restored, tiny_batch(config), KEY)[0], states[2])


def test_the_step_tells_of_the_teachers_patches(steps):
    _, metrics, _, _ = steps
    assert metrics["positives"].shape == metrics["bank"].shape == metrics["confident"].shape == (2,)
    assert float(metrics["loss/teacher_consistency"]) > 0
