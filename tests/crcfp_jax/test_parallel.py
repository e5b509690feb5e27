"""One device, four devices and pmap give the same step."""

import jax
import numpy as np
import pytest
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax import parallel
from crcfp_jax.step import make_train_step
from data_pipelines.errors import UserError

STEPS = 3


def make_stepper(config, devices, mode="shard_map"):
    """A function of a host state and a step's number that trains one step on the given number of devices."""
    mesh = jax.make_mesh((devices,), (parallel.AXIS,), devices=jax.devices()[:devices],
                         axis_types=(jax.sharding.AxisType.Auto,))  # fmt: skip
    network, method, optimizer = tiny_parts(config, parallel.AXIS)
    step = parallel.parallelise(make_train_step(network, method, config, optimizer, parallel.AXIS), mesh, mode)

    def run(state, number):
        # Copies: the step donates its state, and an array put on a CPU device may share memory with its source.
        state = jax.tree.map(lambda x: jax.device_put(x.copy(), parallel.replicated(mesh)), state)
        batch = parallel.global_batch(tiny_batch(config, number), mesh)
        return jax.device_get(step(state, batch, jax.random.key(3)))

    return run


@pytest.fixture(scope="module")
def four_devices():
    """The states before each of some steps on four devices, and what each step returned."""
    config = tiny_config()
    run = make_stepper(config, 4)
    states, results = [jax.device_get(tiny_state(config))], []
    for number in range(STEPS):
        results.append(run(states[-1], number))
        states.append(results[-1][0])
    return states, results


def assert_same_steps(run, states, results):
    """Every step agrees from the same state.

    Trajectories would not do: a rounding error in one step flips a ReLU or a maximum in the next and grows tenfold.
    Sums over replicas are rounded in another order, which shows most in values that nearly cancel, so each array is
    compared on the scale of its largest entry.
    """

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4 * np.max(np.abs(b)) + 1e-6)

    for number, (state, result) in enumerate(zip(states, results, strict=False)):
        jax.tree.map(close, run(state, number), result)


def test_one_device_agrees_with_four(four_devices):
    assert_same_steps(make_stepper(tiny_config(), 1), *four_devices)


@pytest.mark.parametrize("method", [pytest.param("cct", marks=pytest.mark.slow), "cdcl"])
def test_one_device_agrees_with_four_for_the_other_methods(method):
    config = tiny_config(
        method=method, cct__classifiers=(1,) * 7, cct__ramp_up=0.0, cdcl__ramp_up=0.0, cdcl__teacher_decay=0.6
    )
    run, states, results = make_stepper(config, 4), [jax.device_get(tiny_state(config))], []
    for number in range(STEPS):
        results.append(run(states[-1], number))
        states.append(results[-1][0])
    assert_same_steps(make_stepper(config, 1), states, results)


def test_pmap_agrees_with_shard_map(four_devices):
    assert_same_steps(make_stepper(tiny_config(), 4, "pmap"), *four_devices)


def test_devices_must_divide_the_batches():
    with pytest.raises(UserError, match=r"config\.train\.batch_size=4 .* 3 devices"):
        parallel.check_batch_sizes(tiny_config(), 3, unlabelled=True)
    parallel.check_batch_sizes(tiny_config(train__unlabelled_batch_size=3), 4, unlabelled=False)


def test_unknown_mode_is_named():
    with pytest.raises(UserError, match=r"config\.train\.parallel='pjit'"):
        parallel.parallelise(lambda *_: None, parallel.make_mesh(), "pjit")


def test_a_process_variable_that_is_no_number_is_named(monkeypatch):
    for name, value in (("CRCFP_COORDINATOR", "localhost:1"), ("CRCFP_PROCESSES", "two"), ("CRCFP_PROCESS", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="CRCFP_PROCESSES='two' is not a number"):
        parallel.start_processes()


def test_part_of_the_process_variables_is_an_error(monkeypatch):
    monkeypatch.setenv("CRCFP_COORDINATOR", "localhost:1")
    with pytest.raises(UserError, match="CRCFP_PROCESSES, CRCFP_PROCESS not set"):
        parallel.start_processes()
