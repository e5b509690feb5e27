"""The shared reducer: values, the empty mask, and replicas that hold unequal shares."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from crcfp_jax.losses.reduce import masked_mean

VALUES = jnp.array([[1.0, 2.0], [4.0, 100.0]])
MASK = jnp.array([[True, True], [True, False]])


def test_mean_over_counted_places():
    assert float(masked_mean(VALUES, MASK)) == pytest.approx(7 / 3)
    assert float(masked_mean(VALUES, jnp.ones((2, 2), bool))) == pytest.approx(107 / 4)


def test_empty_mask_gives_zero_and_zero_gradient():
    value, gradient = jax.value_and_grad(masked_mean)(VALUES, jnp.zeros((2, 2), bool))
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))


def test_values_outside_the_mask_are_never_seen():
    value, gradient = jax.value_and_grad(masked_mean)(jnp.where(MASK, VALUES, jnp.nan), MASK)
    assert float(value) == pytest.approx(7 / 3)
    np.testing.assert_allclose(gradient, [[1 / 3, 1 / 3], [1 / 3, 0]], rtol=1e-6)


def test_half_precision_is_summed_in_float32():
    many = jnp.ones((70_000,), jnp.bfloat16)
    assert float(masked_mean(many, jnp.ones((70_000,), bool))) == 1


# Rows of the mask count 3, 0, 1 and 2 places: a mean of the replicas' means would be wrong.
ROWS = jnp.arange(12.0).reshape(4, 3)
ROWS_MASK = jnp.array([[1, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 1]], bool)


def loss_and_gradient(scale, values, mask, axis_name):
    loss, gradient = jax.value_and_grad(lambda s: masked_mean(s * values, mask, axis_name))(scale)
    return loss, gradient if axis_name is None else jax.lax.pmean(gradient, axis_name)


@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
@pytest.mark.parametrize("mask", [ROWS_MASK, jnp.zeros_like(ROWS_MASK)])
def test_four_replicas_agree_with_one(parallel, mask):
    scale = jnp.float32(2)
    expected = loss_and_gradient(scale, ROWS, mask, None)
    step = partial(loss_and_gradient, axis_name="data")
    if parallel == "shard_map":
        mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
        step = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P()))
        found = step(scale, ROWS, mask)
    else:
        found = jax.pmap(step, axis_name="data", in_axes=(None, 0, 0), out_axes=None)(scale, ROWS, mask)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    if mask.any():
        np.testing.assert_allclose(expected[0], 2 * (0 + 1 + 2 + 7 + 9 + 11) / 6, rtol=1e-6)
