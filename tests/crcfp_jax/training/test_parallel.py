"""One device, four devices and pmap give the same step, in float32 and in bfloat16."""

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.common.errors import UserError
from crcfp_jax.training import parallel
from crcfp_jax.training.step import make_train_step

STEPS = 3


def make_stepper(config, devices, mode="shard_map"):
    """A function of a host state and a step's number that trains one step on the given number of devices.

    In float32 a smooth function stands in for ReLU, so that two steps differ by their sums alone. Of the 1e5 values of
    so small a network one often lies within a rounding error of ReLU's kink: the loss then agrees to 1e-6, and the
    gradient, which passes that unit or does not, to 1e-2 only, by chance and by machine. In bfloat16 the smooth
    function would itself be rounded in one way or another; ReLU never is.
    """
    activation = nn.silu if config.model.dtype == "float32" else nn.relu
    mesh = jax.make_mesh((devices,), (parallel.AXIS,), devices=jax.devices()[:devices],
                         axis_types=(jax.sharding.AxisType.Auto,))  # fmt: skip
    network, method, optimizer = tiny_parts(config, parallel.AXIS)
    step = parallel.parallelise(make_train_step(network, method, config, optimizer, parallel.AXIS), mesh, mode)

    def run(state, number):
        # Copies: the step donates its state, and an array put on a CPU device may share memory with its source.
        state = jax.tree.map(lambda x: jax.device_put(x.copy(), parallel.replicated(mesh)), state)
        batch = parallel.global_batch(tiny_batch(config, number), mesh)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn, "relu", activation)
            return jax.device_get(step(state, batch, jax.random.key(3)))

    return run


# Of an array's largest entry. In bfloat16 a sum that is rounded otherwise flips roundings of 2^-8 in what follows.
TOLERANCE = {"float32": 2e-4, "bfloat16": 5e-2}


@pytest.fixture(scope="module", params=TOLERANCE)
def four_devices(request):
    """Type of the activations, the states before each of some steps on four devices, and what each step returned."""
    config = tiny_config(model__dtype=request.param)
    run = make_stepper(config, 4)
    states, results = [jax.device_get(tiny_state(config))], []
    for number in range(STEPS):
        results.append(run(states[-1], number))
        states.append(results[-1][0])
    return request.param, states, results


def assert_same_steps(run, states, results, dtype="float32"):
    """Every step agrees from the same state.

    Trajectories would not do: a rounding error in one step flips a maximum in the next and grows tenfold.
    Sums over replicas are rounded in another order, which shows most in values that nearly cancel, so each array is
    compared on the scale of its largest entry.
    """

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * np.max(np.abs(b)) + 1e-6)

    for number, (state, result) in enumerate(zip(states, results, strict=False)):
        jax.tree.map(close, run(state, number), result)


def test_one_device_agrees_with_four(four_devices):
    dtype, states, results = four_devices
    assert_same_steps(make_stepper(tiny_config(model__dtype=dtype), 1), states, results, dtype)


@pytest.mark.parametrize("method", [pytest.param("cct", marks=pytest.mark.slow), "cdcl", "unimatch", "context_match"])
def test_one_device_agrees_with_four_for_the_other_methods(method):
    config = tiny_config(
        method=method,
        cct__classifiers=(1,) * 7,
        cct__ramp_up=0.0,
        cdcl__ramp_up=0.0,
        cdcl__teacher_decay=0.6,
        weak_to_strong__threshold=0.35,
        weak_to_strong__teacher_decay=0.6,
        # At 0.1 the few anchors of so small a batch turn a rounding of 1e-7 into 1e-3 of a gradient.
        contrastive__temperature=1.0,
    )
    run, states, results = make_stepper(config, 4), [jax.device_get(tiny_state(config))], []
    for number in range(STEPS):
        results.append(run(states[-1], number))
        states.append(results[-1][0])
    assert_same_steps(make_stepper(config, 1), states, results)


def test_pmap_agrees_with_shard_map(four_devices):
    dtype, states, results = four_devices
    assert_same_steps(make_stepper(tiny_config(model__dtype=dtype), 4, "pmap"), states, results, dtype)


def test_frozen_parameters_on_four_devices_and_by_pmap():
    frozen = (("backbone/.*", 0), (".*", 1.0))
    config = tiny_config(method="supervised", optimizer__groups=frozen, optimizer__clip=1.0)
    state = jax.device_get(tiny_state(config))
    result = make_stepper(config, 4)(state, 0)
    jax.tree.map(np.testing.assert_array_equal, result[0].params["backbone"], state.params["backbone"])
    assert_same_steps(make_stepper(config, 1), [state], [result])
    assert_same_steps(make_stepper(config, 4, "pmap"), [state], [result])


def sums_over_replicas(jaxpr):
    """Types of everything that a program adds up over the replicas."""
    for equation in jaxpr.eqns:
        if equation.primitive.name.startswith("psum"):
            yield from (variable.aval.dtype for variable in equation.invars)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from sums_over_replicas(inner)


@pytest.mark.parametrize("method", ["crcfp", "cct", "cdcl"])
def test_no_sum_over_the_replicas_is_of_bfloat16(method):
    config = tiny_config(method=method, model__dtype="bfloat16")
    network, method, optimizer = tiny_parts(config, parallel.AXIS)
    step = make_train_step(network, method, config, optimizer, parallel.AXIS)
    stepper = parallel.parallelise(step, parallel.make_mesh(), "shard_map")
    state, batch = jax.eval_shape(lambda: tiny_state(config)), tiny_batch(config)
    types = list(sums_over_replicas(stepper.trace(state, batch, jax.random.key(0)).jaxpr.jaxpr))
    assert len(types) > len(jax.tree.leaves(state.params))  # a gradient each, losses and statistics
    assert jnp.bfloat16 not in types


def test_devices_must_divide_the_batches():
    with pytest.raises(UserError, match=r"config\.train\.batch_size=4 .* 3 devices"):
        parallel.check_batch_sizes(tiny_config(), 3, with_unlabelled=True)
    parallel.check_batch_sizes(tiny_config(train__unlabelled_batch_size=3), 4, with_unlabelled=False)


def test_a_process_variable_that_is_no_number_is_named(monkeypatch):
    for name, value in (("CRCFP_COORDINATOR", "localhost:1"), ("CRCFP_PROCESSES", "two"), ("CRCFP_PROCESS", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="CRCFP_PROCESSES='two' is not a number"):
        parallel.start_processes()


def test_part_of_the_process_variables_is_an_error(monkeypatch):
    monkeypatch.setenv("CRCFP_COORDINATOR", "localhost:1")
    with pytest.raises(UserError, match="CRCFP_PROCESSES, CRCFP_PROCESS not set"):
        parallel.start_processes()
