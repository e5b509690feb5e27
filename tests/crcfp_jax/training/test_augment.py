"""Photometric augmentation: values by hand, independence of the neighbours, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.config import default
from crcfp_jax.models.encoders.pixels import IMAGENET, Pixels, normalise
from crcfp_jax.training.augment import BLUR_RADIUS, STAINS_TO_DENSITY, _blur, augment

IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))


def settings(**changes):
    s = default().augment
    s.update(changes)
    return s


@pytest.fixture(scope="module")
def augmented():
    return jax.jit(lambda keys, images: augment(keys, images, settings(), IMAGENET))


def test_normalise_by_hand():
    image = np.full((1, 1, 1, 3), 255, np.uint8)
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(normalise(jnp.asarray(image), IMAGENET)[0, 0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(
        normalise(jnp.asarray(image / 255.0, jnp.float32), IMAGENET)[0, 0, 0], expected, rtol=1e-6
    )


def test_an_image_does_not_depend_on_its_neighbours(augmented):
    keys = jax.random.split(jax.random.key(1), 3)
    alone = jnp.concatenate([augmented(keys[i : i + 1], IMAGES[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(augmented(keys, IMAGES), alone, atol=1e-5)
    assert np.any(np.abs(augmented(keys[::-1], IMAGES) - alone) > 0.05)


def test_nothing_is_changed_with_probability_zero():
    none = settings(jitter_probability=0.0, grey_probability=0.0, blur_probability=0.0)
    keys = jax.random.split(jax.random.key(2), 3)
    np.testing.assert_allclose(augment(keys, IMAGES, none, IMAGENET), normalise(IMAGES, IMAGENET), atol=1e-6)


def test_grey_has_three_equal_channels():
    grey = settings(jitter_probability=0.0, grey_probability=1.0, blur_probability=0.0)
    result = augment(jax.random.split(jax.random.key(2), 3), IMAGES, grey, IMAGENET)
    restored = result * jnp.array([0.229, 0.224, 0.225]).reshape(1, 1, 1, 3)
    restored += jnp.array([0.485, 0.456, 0.406]).reshape(1, 1, 1, 3)
    luma = np.asarray(IMAGES) @ np.array([0.299, 0.587, 0.114]) / 255  # ITU-R BT.601
    np.testing.assert_allclose(restored, np.repeat(luma[..., None], 3, axis=-1), atol=1e-3)


def test_jitter_stays_within_its_ranges(augmented):
    keys = jax.random.split(jax.random.key(4), 200)
    flat = jnp.full((200, 4, 4, 3), 100, jnp.uint8)  # no contrast, saturation or hue to change: brightness alone
    plain = settings(blur_probability=0.0, grey_probability=0.0)
    red = (
        np.asarray(jax.jit(lambda keys, images: augment(keys, images, plain, IMAGENET))(keys, flat))[:, 0, 0, 0] * 0.229
        + 0.485
    )
    factors = red / (100 / 255)
    assert factors.min() >= 0.6 - 1e-3 and factors.max() <= 1.4 + 1e-3
    assert factors.min() < 0.65 and factors.max() > 1.35
    assert 0.1 < np.mean(np.abs(factors - 1) < 1e-3) < 0.32  # a fifth is left as it is


def test_blur_is_the_gaussian_by_a_plain_loop():
    image, sigma = IMAGES[0] / 255.0, 1.3
    taps = np.exp(-0.5 * (np.arange(-BLUR_RADIUS, BLUR_RADIUS + 1) / sigma) ** 2)
    taps /= taps.sum()
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    expected = np.zeros_like(image)
    for dy in range(5):
        for dx in range(5):
            expected += taps[dy] * taps[dx] * padded[dy : dy + 16, dx : dx + 16]
    np.testing.assert_allclose(_blur(jnp.asarray(image, jnp.float32), jnp.float32(sigma)), expected, atol=1e-5)


def test_stains_are_multiplied_and_shifted_each_by_its_own():
    """Amounts of three places, by Beer and Lambert's law: two tell factor and shift of a stain, the third follows."""
    amounts = np.array([[0.2, 0.3, 0.1], [0.6, 0.2, 0.3], [0.9, 0.7, 0.2]])
    image = np.exp(-amounts @ STAINS_TO_DENSITY).astype(np.float32)
    plain = settings(jitter_probability=0.0, grey_probability=0.0, blur_probability=0.0, stain=0.1)
    keys = jax.random.split(jax.random.key(3), 50)
    images = jnp.asarray(np.broadcast_to(np.round(255 * image), (50, 1, 3, 3)), jnp.uint8)
    stained = np.asarray(jax.jit(lambda k, x: augment(k, x, plain, Pixels((0.0,) * 3, (1.0,) * 3)))(keys, images))
    given = -np.log(np.asarray(images, np.float64) / 255) @ np.linalg.inv(STAINS_TO_DENSITY)
    found = -np.log(stained.astype(np.float64)) @ np.linalg.inv(STAINS_TO_DENSITY)
    factors = (found[:, 0, 1] - found[:, 0, 0]) / (given[:, 0, 1] - given[:, 0, 0])
    shifts = found[:, 0, 0] - factors * given[:, 0, 0]
    np.testing.assert_allclose(found[:, 0, 2], factors * given[:, 0, 2] + shifts, atol=1e-3)
    for drawn in (factors - 1, shifts):
        assert np.abs(drawn).max() < 0.101 and drawn.min() < -0.08 and drawn.max() > 0.08
        assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.5  # each stain draws its own
