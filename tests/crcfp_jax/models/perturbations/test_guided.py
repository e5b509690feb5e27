"""Perturbations guided by the prediction: regions, rectangles and masks on maps small enough to check by eye."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.models.perturbations.guided import (
    GUIDED,
    Objects,
    connected_components,
    context_masking,
    find_objects,
    guided_cutout,
    object_mask,
    object_masking,
)

KEYS = jax.random.split(jax.random.key(4), 200)


def objects_of(classes, num_classes):
    """The objects of logits whose greatest is that of `classes`."""
    return find_objects(jax.nn.one_hot(jnp.asarray(classes), num_classes))


def test_components_are_numbered_by_their_first_cell_and_touch_at_corners():
    classes = np.array(
        [
            [1, 0, 0, 2, 2],
            [0, 1, 0, 0, 2],
            [3, 0, 0, 1, 0],
            [3, 3, 1, 0, 0],
        ],
        np.int32,
    )
    expected = [  # the ones of the upper left and of the lower right meet nowhere, not even at a corner
        [0, 1, 1, 3, 3],
        [1, 0, 1, 1, 3],
        [10, 1, 1, 13, 1],
        [10, 10, 13, 1, 1],
    ]
    np.testing.assert_array_equal(connected_components(jnp.asarray(classes)), expected)


def test_a_winding_region_is_one_component():
    spiral = np.zeros((7, 7), np.int32)
    spiral[0, :] = spiral[:, 6] = spiral[6, :] = spiral[2:, 0] = spiral[2, :5] = spiral[2:5, 4] = spiral[4, 2:5] = 1
    numbers = np.asarray(connected_components(jnp.asarray(spiral)))
    assert set(numbers[spiral == 1]) == {0}


def test_foreground_is_class_one_of_two_and_everything_of_more():
    classes = [[0, 1], [1, 0]]
    np.testing.assert_array_equal(objects_of(classes, 2).foreground, [[False, True], [True, False]])
    assert objects_of(classes, 3).foreground.all()


def test_cutout_takes_a_rectangle_from_inside_every_object_and_nothing_else():
    classes = np.zeros((20, 30), np.int32)
    classes[2:12, 3:8] = 1  # a box of 10 x 5 loses 4 x 2
    classes[5:9, 15:29] = 1  # of 4 x 14: 1 x 5
    classes[15:17, 15:17] = 1  # of 2 x 2: nothing
    objects = objects_of(classes, 2)
    cut = jax.jit(jax.vmap(guided_cutout, (None, 0, None)))(jnp.ones((20, 30, 3)), KEYS, objects)
    erased = np.asarray(cut)[..., 0] == 0
    np.testing.assert_array_equal(np.asarray(cut)[..., 1:], np.asarray(cut)[..., :1].repeat(2, -1))
    for box, (height, width) in (((slice(2, 12), slice(3, 8)), (4, 2)), ((slice(5, 9), slice(15, 29)), (1, 5))):
        inside = erased[:, *box]
        assert (inside.any(2).sum(1) == height).all() and (inside.any(1).sum(1) == width).all()
        assert (inside.sum((1, 2)) == height * width).all()
    assert (erased.sum((1, 2)) == 4 * 2 + 1 * 5).all()
    rows = erased[:, 2:12, 3:8].any(2).argmax(1)
    assert set(rows) == set(range(7))  # every place that keeps the rectangle inside


def test_cutout_without_objects_changes_nothing():
    features = jnp.ones((4, 5, 2))
    np.testing.assert_array_equal(guided_cutout(features, KEYS[0], objects_of(np.zeros((4, 5), int), 2)), features)


def test_masks_of_two_classes_part_nuclei_from_background():
    classes = np.array([[0, 1], [1, 0]])
    features = jnp.arange(1.0, 9.0).reshape(2, 2, 2)
    objects = objects_of(classes, 2)
    kept = context_masking(features, KEYS[0], objects)
    np.testing.assert_array_equal(kept, np.where(classes[..., None] == 1, features, 0))
    np.testing.assert_array_equal(object_masking(features, KEYS[0], objects), features - kept)


def test_masks_of_tissue_take_one_predicted_class_each_as_often():
    classes = np.array([[3, 3, 3, 3], [3, 0, 0, 3], [3, 0, 2, 3], [3, 3, 3, 3]])
    objects = objects_of(classes, 5)
    masks = np.asarray(jax.jit(jax.vmap(object_mask, (0, None)))(KEYS, objects))
    drawn = [set(classes[mask]) for mask in masks]
    assert all(len(found) == 1 and (masks[i] == (classes == next(iter(found)))).all() for i, found in enumerate(drawn))
    counts = [drawn.count({number}) for number in range(5)]
    assert counts[1] == counts[4] == 0
    np.testing.assert_allclose([counts[0], counts[2], counts[3]], 200 / 3, atol=27)  # four standard deviations


@pytest.mark.parametrize("name", GUIDED)
def test_an_example_keeps_its_type_and_does_not_depend_on_its_batch(name):
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.random((3, 8, 9, 4)), jnp.bfloat16)
    logits = jnp.asarray(np.repeat(np.repeat(rng.random((3, 4, 3, 5), np.float32), 2, 1), 3, 2))
    objects = jax.vmap(find_objects)(logits)
    together = jax.vmap(GUIDED[name])(features, KEYS[:3], objects)
    assert together.dtype == jnp.bfloat16
    for index in range(3):
        own = Objects(*(part[index] for part in objects))
        np.testing.assert_array_equal(GUIDED[name](features[index], KEYS[index], own), together[index])
