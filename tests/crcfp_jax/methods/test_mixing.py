"""CutMix: boxes, what is pasted, and the same result on every number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from crcfp_jax.methods import mixing

MANY = jax.random.split(jax.random.key(0), 4000)


def test_by_hand():
    images = jnp.arange(3.0).reshape(3, 1, 1, 1) * jnp.ones((3, 4, 4, 2))
    boxes = jnp.zeros((3, 2, 2), bool).at[0, 0, 1].set(True).at[2].set(True)
    mixed = np.asarray(mixing.mix(boxes, images, None))
    assert (mixed[0, :2, 2:] == 1).all() and mixed[0].sum() == 4 * 2  # the next image's corner of a cell
    assert (mixed[1] == 1).all() and (mixed[2] == 0).all()  # no box; the whole, and after the last comes the first
    labels = jnp.arange(3).reshape(3, 1, 1) * jnp.ones((3, 2, 2), int)
    np.testing.assert_array_equal(mixing.mix(boxes, labels, None)[0], [[0, 1], [0, 0]])


def test_boxes_are_whole_and_of_the_published_sizes():
    boxes = np.asarray(jax.jit(functools.partial(mixing.draw_boxes, cells=32, probability=1.0))(MANY))
    share = boxes.mean((1, 2))
    rows, columns = boxes.any(2), boxes.any(1)
    np.testing.assert_array_equal(boxes, rows[:, :, None] & columns[:, None, :])  # a product of two runs
    for runs in (rows, columns):
        assert ((np.diff(runs.astype(int), axis=1) == 1).sum(1) + runs[:, 0] == 1).all()
    assert share.min() > 0.01 and share.max() < 0.44  # 0.02 to 0.4, rounded to cells
    # A side longer than the image is cut: 0.21 without that.
    assert 0.19 < share.mean() < 0.21
    assert 0.97 < rows.sum(1).mean() / columns.sum(1).mean() < 1.03
    covered = boxes.mean(0)
    assert np.abs(covered - covered[::-1, ::-1]).max() < 0.03  # no side is preferred


def test_how_many_images_get_a_box():
    boxes = mixing.draw_boxes(MANY, 8, 0.3)
    assert abs(np.asarray(boxes).any((1, 2)).mean() - 0.3) < 0.025
    assert not np.asarray(mixing.draw_boxes(MANY, 8, 0.0)).any()


def test_one_device_as_four():
    values = jnp.arange(8.0).reshape(8, 1, 1)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    four = jax.shard_map(lambda own: mixing.following(own, "data"), mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_array_equal(np.ravel(four(values)), [1, 2, 3, 4, 5, 6, 7, 0])
    np.testing.assert_array_equal(four(values), mixing.following(values, None))
