"""The bank: its ring by hand, the sampling of cells, and the same content on any number of replicas."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from crcfp_jax.methods import bank

sample_cells = jax.jit(bank.sample_cells, static_argnums=3)


def vectors(*numbers):
    return jnp.array([[number, -number] for number in numbers], jnp.float32)


def test_ring_by_hand():
    ring = bank.empty(5, 2)
    np.testing.assert_array_equal(ring.labels, [-1] * 5)
    np.testing.assert_array_equal(ring.features, np.zeros((5, 2)))
    push = jax.jit(bank.push)
    ring = push(ring, vectors(1, 2), jnp.array([0, 1]))
    np.testing.assert_array_equal(ring.labels, [0, 1, -1, -1, -1])
    ring = push(ring, vectors(3, 4), jnp.array([2, 3]))
    assert int(ring.cursor) == 4
    ring = push(ring, vectors(5, 6), jnp.array([4, 5]))  # wraps: slot 4, then slot 0
    np.testing.assert_array_equal(ring.labels, [5, 1, 2, 3, 4])
    np.testing.assert_array_equal(ring.features[:, 0], [6, 2, 3, 4, 5])
    assert int(ring.cursor) == 1
    ring = push(ring, vectors(7, 8, 9, 10, 11), jnp.array([7, 8, 9, 10, 11]))  # all slots at once
    np.testing.assert_array_equal(ring.labels, [11, 7, 8, 9, 10])
    np.testing.assert_array_equal(ring.features, vectors(11, 7, 8, 9, 10))
    assert int(ring.cursor) == 1


def test_push_of_too_many_is_an_error():
    with pytest.raises(ValueError, match="3 features pushed at once into a bank of 2"):
        bank.push(bank.empty(2, 2), vectors(1, 2, 3), jnp.zeros((3,), jnp.int32))


def test_push_carries_no_gradient():
    def loss(features):
        return bank.push(bank.empty(4, 2), features, jnp.zeros((2,), jnp.int32)).features.sum()

    assert not jax.grad(loss)(vectors(1, 2)).any()


def test_bank_is_a_pytree_of_shapes_too():
    shapes = jax.eval_shape(lambda: bank.empty(6, 3))
    assert shapes.features.shape == (6, 3) and shapes.cursor.dtype == jnp.int32


def maps(images=4, height=2, width=3):
    """Feature (number, -number) and label `number`, the cell's own number over all images."""
    number = np.arange(images * height * width).reshape(images, height, width)
    return jnp.array(np.stack([number, -number], -1), jnp.float32), jnp.array(number, jnp.int32)


@partial(jax.jit, static_argnums=(0, 1))
def keys(images=4, seed=0):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(images))


def test_cells_are_different_and_of_their_image():
    features, labels = maps()
    picked, classes = map(np.asarray, sample_cells(keys(), features, labels, 4))
    assert picked.shape == (4, 4, 2)
    np.testing.assert_array_equal(picked[..., 0], classes)  # vector and label of the same cell
    np.testing.assert_array_equal(classes // 6, np.arange(4)[:, None] + np.zeros((1, 4), int))
    assert all(len(set(row.tolist())) == 4 for row in classes)
    _, everything = sample_cells(keys(), features, labels, 6)
    np.testing.assert_array_equal(np.sort(everything, axis=1), labels.reshape(4, 6))
    with pytest.raises(ValueError, match="7 cells asked for from maps of 6"):
        sample_cells(keys(), features, labels, 7)


def test_cells_that_are_not_to_be_kept_come_last():
    features, labels = maps()
    kept = labels % 3 != 0  # four cells of six
    labels = jnp.where(kept, labels, bank.EMPTY)
    _, four = sample_cells(keys(), features, labels, 4)
    assert (np.sort(four, axis=1) == np.asarray(labels)[np.asarray(kept)].reshape(4, 4)).all()
    _, five = sample_cells(keys(), features, labels, 5)
    assert ((np.asarray(five) == bank.EMPTY).sum(1) == 1).all()


def test_choice_depends_on_the_key_alone():
    features, labels = maps()
    everything = sample_cells(keys(), features, labels, 3)[1]
    alone = sample_cells(keys()[2:3], features[2:3], labels[2:3], 3)[1]
    np.testing.assert_array_equal(everything[2:3], alone)
    assert (everything != sample_cells(keys(seed=1), features, labels, 3)[1]).any()


def test_each_cell_is_as_likely_as_another():
    features, labels = maps(images=1)
    features, labels = (jnp.repeat(x, 3000, axis=0) for x in (features, labels))
    _, classes = sample_cells(jax.random.split(jax.random.key(3), 3000), features, labels, 2)
    counts = np.bincount(np.ravel(classes), minlength=6)
    np.testing.assert_allclose(counts, 1000, atol=110)  # four standard deviations of 26


def remember(ring, sample_keys, features, labels, axis_name):
    """Two views of each image, as the step pushes them."""
    pairs = [sample_cells(sample_keys, features + view, labels, 2) for view in (0.0, 100.0)]
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *pairs)
    picked, classes = bank.gather_over_replicas(joined, axis_name)
    return bank.push(ring, picked.reshape(-1, 2), classes.reshape(-1))


@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_four_replicas_hold_the_bank_of_one(parallel):
    ring = bank.push(bank.empty(24, 2), vectors(*range(13)), jnp.zeros((13,), jnp.int32))  # 16 more will wrap
    features, labels = maps()
    expected = jax.jit(remember, static_argnums=4)(ring, keys(), features, labels, None)

    def step(ring, sample_keys, features, labels):
        return remember(ring, sample_keys, features, labels, "data")

    if parallel == "shard_map":
        mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
        specs = (P(), P("data"), P("data"), P("data"))
        found = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P()))(ring, keys(), features, labels)
    else:
        shards = jax.tree.map(lambda x: x.reshape(4, 1, *x.shape[1:]), (keys(), features, labels))
        found = jax.pmap(step, axis_name="data", in_axes=(None, 0, 0, 0))(ring, *shards)
        for leaf in jax.tree.leaves(found):  # each replica has the whole bank
            np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
        found = jax.tree.map(lambda x: x[0], found)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert int(found.cursor) == 5


def test_gather_stops_the_gradient_and_needs_no_axis():
    gradient = jax.grad(lambda x: bank.gather_over_replicas({"x": x}, None)["x"].sum())(jnp.ones((3,)))
    assert not gradient.any()
