"""One device, four devices and pmap give the same step."""

import jax
import numpy as np
import pytest
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax import parallel
from crcfp_jax.step import make_train_step
from data_pipelines.errors import UserError


def train(config, devices, mode, steps=2):
    """State and metrics after some steps on the given number of devices, as host arrays."""
    mesh = jax.make_mesh((devices,), (parallel.AXIS,), devices=jax.devices()[:devices],
                         axis_types=(jax.sharding.AxisType.Auto,))  # fmt: skip
    network, method, optimizer = tiny_parts(config, parallel.AXIS)
    step = parallel.parallelise(make_train_step(network, method, config, optimizer, parallel.AXIS), mesh, mode)
    state = tiny_state(config, parallel.replicated(mesh))
    for number in range(steps):
        state, metrics = step(state, parallel.global_batch(tiny_batch(config, number), mesh), jax.random.key(3))
    return jax.device_get((state, metrics))


@pytest.fixture(scope="module")
def four_devices():
    return train(tiny_config(), 4, "shard_map")


def assert_close(first, second):
    # Sums over replicas are rounded in another order, which shows most in values that nearly cancel: each array is
    # compared on the scale of its largest entry.
    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-4 * np.max(np.abs(b)) + 1e-6)

    jax.tree.map(close, first, second)


def test_one_device_agrees_with_four(four_devices):
    assert_close(train(tiny_config(), 1, "shard_map"), four_devices)


def test_pmap_agrees_with_shard_map(four_devices):
    assert_close(train(tiny_config(), 4, "pmap"), four_devices)


def test_devices_must_divide_the_batches():
    with pytest.raises(UserError, match=r"config\.train\.batch_size=4 .* 3 devices"):
        parallel.check_batch_sizes(tiny_config(), 3)


def test_unknown_mode_is_named():
    with pytest.raises(UserError, match=r"config\.train\.parallel='pjit'"):
        parallel.parallelise(lambda *_: None, parallel.make_mesh(), "pjit")


def test_part_of_the_process_variables_is_an_error(monkeypatch):
    monkeypatch.setenv("CRCFP_COORDINATOR", "localhost:1")
    with pytest.raises(UserError, match="CRCFP_PROCESSES, CRCFP_PROCESS not set"):
        parallel.start_processes()
