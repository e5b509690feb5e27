"""Probabilities of whole images from windows: order, batching and scaling, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.evaluation.windows import Evaluator, predict_probabilities


def evaluator(*, side, batch_size=4, calls=None):
    """A 'network' whose class 0 has the probability red / 255."""

    def predict(windows):
        assert windows.dtype == np.uint8
        if calls is not None:
            calls.append(windows.shape)
        red = windows[..., 0] / 255
        return np.stack([red, 1 - red], axis=-1).astype(np.float32)

    return Evaluator(predict, side=side, microns_per_pixel=0.5, batch_size=batch_size, num_classes=2)


def seen(images, scale=1.0):
    """Each image with a pixel size at which this evaluator sees it at `scale`."""
    return ((image, 0.5 * scale) for image in images)


def red_image(*shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[..., 0] = np.random.default_rng(shape[0]).integers(0, 256, shape)
    return image


def test_unscaled_images_come_back_pixel_by_pixel_in_order():
    images = [red_image(20, 32), red_image(32, 9), red_image(32, 32), red_image(1, 32)]
    found = list(predict_probabilities(evaluator(side=16), seen(images)))
    for image, probabilities in zip(images, found, strict=True):
        np.testing.assert_allclose(probabilities[..., 0], image[..., 0] / 255, atol=1e-6)
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (2, 2), (5, 4)])
def test_windows_of_several_images_share_calls_of_one_shape(count, expected):
    calls = []
    images = [red_image(24, 24)] * count  # 4 windows each at side 16 (0, 8), in batches of 6
    found = list(predict_probabilities(evaluator(side=16, batch_size=6, calls=calls), seen(images)))
    assert len(found) == count
    assert calls == [(6, 16, 16, 3)] * expected


def test_results_come_while_images_are_still_read():
    read = []

    def images():
        for number in range(20):
            read.append(number)
            yield red_image(16, 16)

    next(predict_probabilities(evaluator(side=16, batch_size=2), seen(images())))
    assert len(read) < 10


def test_one_trace():
    traces = []

    @jax.jit
    def predict(windows):
        traces.append(windows.shape)
        red = windows[..., :1].astype(jnp.float32) / 255
        return jnp.concatenate([red, 1 - red], axis=-1)

    images = [red_image(20, 32), red_image(40, 40), red_image(3, 5)]
    found = list(predict_probabilities(Evaluator(predict, 16, 0.5, 4, 2), seen(images, 0.8)))
    assert [probabilities.shape for probabilities in found] == [(20, 32, 2), (40, 40, 2), (3, 5, 2)]
    assert traces == [(4, 16, 16, 3)]


def test_probabilities_are_scaled_back_by_areas_or_bilinearly():
    def ramp(windows):  # class 0 has the probability 0, .1, .2, .3 in the columns of a window
        red = np.broadcast_to(np.arange(4, dtype=np.float32) / 10, windows.shape[:3])
        return np.stack([red, 1 - red], axis=-1)

    (found,) = predict_probabilities(Evaluator(ramp, 4, 0.5, 1, 2), seen([red_image(2, 2)], 2))  # 2 x 2 seen at 4 x 4
    np.testing.assert_allclose(found[..., 0], [[0.05, 0.25]] * 2, atol=1e-6)
    (found,) = predict_probabilities(Evaluator(ramp, 4, 0.5, 1, 2), seen([red_image(8, 8)], 0.5))  # 8 x 8 seen at 4 x 4
    np.testing.assert_allclose(found[0, :, 0], [0, 0.025, 0.075, 0.125, 0.175, 0.225, 0.275, 0.3], atol=1e-6)


def test_overlapping_windows_count_by_the_square_of_the_distance_to_their_border():
    def number(windows):  # class 0 has the probability of the window's first red pixel
        red = np.broadcast_to(windows[:, :1, :1, 0] / np.float32(255), windows.shape[:3])
        return np.stack([red, 1 - red], axis=-1)

    image = np.zeros((4, 6, 3), np.uint8)
    image[0, 2, 0] = 255  # the first pixel of the second window
    (found,) = predict_probabilities(Evaluator(number, 4, 0.5, 3, 2), seen([image]))
    np.testing.assert_allclose(found[..., 0], [[0, 0, 0.1, 0.9, 1, 1]] * 4, atol=1e-6)


def test_an_image_within_2_percent_of_the_pixel_size_is_taken_as_it_is():
    image = red_image(100, 40)
    (found,) = predict_probabilities(evaluator(side=16), seen([image], 0.985))
    np.testing.assert_allclose(found[..., 0], image[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize("classes", [1, 5, 7])
def test_any_number_of_classes(classes):
    def uniform(windows):
        return np.full((*windows.shape[:3], classes), 1 / classes, np.float32)

    (found,) = predict_probabilities(Evaluator(uniform, 8, 0.5, 2, classes), seen([red_image(11, 6)], 0.7))
    assert found.shape == (11, 6, classes)
    np.testing.assert_allclose(found, 1 / classes, atol=1e-6)
