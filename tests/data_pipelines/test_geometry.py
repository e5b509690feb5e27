import numpy as np
import pytest

from data_pipelines import geometry


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_resize_averages_areas_when_it_shrinks():
    image = np.array([[0, 10, 100, 100], [20, 30, 100, 200]], np.uint8)
    shrunk, label = geometry.resize(image, None, 1, 2)
    assert shrunk.tolist() == [[15, 125]]
    assert label is None


def test_resize_interpolates_at_half_pixel_centres_when_it_grows():
    grown, _ = geometry.resize(np.array([[0, 100]], np.uint8), None, 1, 4)
    assert grown.tolist() == [[0, 25, 75, 100]]


def test_resize_takes_the_label_nearest_to_the_pixel_centre():
    label = np.array([[0, 1, 2, 3, 4, 5]], np.uint8)
    image = np.zeros((1, 6, 3), np.uint8)
    assert geometry.resize(image, label, 1, 2)[1].tolist() == [[1, 4]]  # centres 1.5 and 4.5 of 6 pixels
    assert geometry.resize(image[:, :2], label[:, :2], 1, 4)[1].tolist() == [[0, 0, 1, 1]]
    assert geometry.resize(image[:, :3], label[:, :3], 1, 4)[1].tolist() == [[0, 1, 1, 2]]


def test_resize_keeps_image_and_label_in_register():
    row, column = np.mgrid[:101, :101]
    label = ((row - 30) ** 2 + (column - 60) ** 2 < 400).astype(np.uint8)
    for side in (37, 250):
        image, small = geometry.resize(np.repeat(label[..., None] * 200, 3, -1), label, side, side)
        centre = [np.average(axis, weights=image[..., 0]) for axis in np.mgrid[:side, :side]]
        label_centre = [axis[small == 1].mean() for axis in np.mgrid[:side, :side]]
        np.testing.assert_allclose(centre, label_centre, atol=0.15)
        np.testing.assert_allclose(centre, (np.array([30.5, 60.5]) * side / 101 - 0.5), atol=0.15)


def test_crop_reflects_the_image_and_ignores_the_label_beyond_the_borders():
    image = np.array([[1, 2, 3]], np.uint8)
    label = np.array([[4, 5, 6]], np.uint8)
    window, labels = geometry.crop(image, label, 0, -2, 1, 6)
    assert window.tolist() == [[3, 2, 1, 2, 3, 2]]
    assert labels.tolist() == [[255, 255, 4, 5, 6, 255]]
    assert geometry.crop(image, label, 0, 1, 1, 2)[0].tolist() == [[2, 3]]


def test_crop_reflects_again_where_the_image_is_much_smaller():
    window, labels = geometry.crop(np.array([[1, 2]], np.uint8), np.array([[0, 1]], np.uint8), -1, 0, 3, 5)
    assert window.tolist() == [[1, 2, 1, 2, 1]] * 3
    assert labels.tolist() == [[255] * 5, [0, 1, 255, 255, 255], [255] * 5]


def test_crop_outside_the_image_is_an_error():
    with pytest.raises(ValueError, match="outside"):
        geometry.crop(random_image(4, 4), None, 4, 0, 2, 2)


def test_pad_to_pads_bottom_and_right_only_where_needed():
    image, label = geometry.pad_to(random_image(3, 9), np.zeros((3, 9), np.uint8), 5, 5)
    assert image.shape == (5, 9, 3)
    assert (label[:3] == 0).all()
    assert (label[3:] == 255).all()


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3)])
def test_flip(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(geometry.flip(array, horizontal=True), array[:, ::-1])
    np.testing.assert_array_equal(geometry.flip(array, horizontal=False, vertical=True), array[::-1])
    np.testing.assert_array_equal(geometry.flip(array, horizontal=True, vertical=True), array[::-1, ::-1])
    np.testing.assert_array_equal(geometry.flip(array, horizontal=False), array)
