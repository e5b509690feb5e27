"""Photometric augmentation on the device, inside the jitted step: colour jitter, grey, blur, normalisation.

Geometry (scale, crop, flip) is done by the loaders; images travel as uint8.
"""

import functools

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8
from ml_collections import ConfigDict

from crcfp_jax.models.encoders.pixels import Pixels, normalise

BLUR_RADIUS = 2  # pixels: the release's 5 x 5 window
BLUR_SIGMA = (0.1, 2.0)  # pixels (torchvision's default, as in the release)
# Optical density of red, green and blue a unit of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001).
STAINS_TO_DENSITY = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]], np.float32)
DENSITY_TO_STAINS = np.linalg.inv(STAINS_TO_DENSITY)
WEAK = 0.25  # of the jitter's strengths; ours, not measured


def _blur(image: Float[Array, "h w 3"], sigma: Float[Array, ""]) -> Float[Array, "h w 3"]:
    """Separable Gaussian of 5 taps as shifted sums.

    dm-pix blurs by a convolution whose kernel differs per example; under vmap that becomes a grouped convolution, by
    far the slowest operation of the whole augmentation. Ten fused multiply-adds a pixel cost next to nothing.
    """
    distance = jnp.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=jnp.float32)
    weights = jax.nn.softmax(-0.5 * jnp.square(distance / sigma))
    for axis in (0, 1):
        size = image.shape[axis]
        widths = [(BLUR_RADIUS, BLUR_RADIUS) if a == axis else (0, 0) for a in range(3)]
        padded = jnp.pad(image, widths, mode="reflect")
        shifts = range(2 * BLUR_RADIUS + 1)
        image = sum(weights[s] * jax.lax.slice_in_dim(padded, s, s + size, axis=axis) for s in shifts)
    return image


def _jitter(key: Key[Array, ""], image: Float[Array, "h w 3"], settings: ConfigDict) -> Float[Array, "h w 3"]:
    """Brightness, contrast, saturation and hue in torchvision's ranges, in this order."""
    keys = jax.random.split(key, 4)

    def factor(key, strength):
        return jax.random.uniform(key, minval=max(0.0, 1 - strength), maxval=1 + strength)

    image = jnp.clip(image * factor(keys[0], settings.brightness), 0, 1)
    image = jnp.clip(dm_pix.adjust_contrast(image, factor(keys[1], settings.contrast)), 0, 1)
    image = jnp.clip(dm_pix.adjust_saturation(image, factor(keys[2], settings.saturation)), 0, 1)
    hue = jax.random.uniform(keys[3], minval=-settings.hue, maxval=settings.hue)
    return jnp.clip(dm_pix.adjust_hue(image, hue), 0, 1)


def _restain(key: Key[Array, ""], image: Float[Array, "h w 3"], strength: float) -> Float[Array, "h w 3"]:
    """Other amounts of the stains: each of them is multiplied by a factor and shifted (Tellez et al. 2018).

    Amounts are those of Beer and Lambert's law with the absorption of Ruifrok and Johnston (2001); the factor is drawn
    from 1 - strength to 1 + strength, the shift from -strength to strength.
    """
    density = -jnp.log(jnp.maximum(image, 1 / 255))
    amounts = jnp.einsum("hwc,cs->hws", density, DENSITY_TO_STAINS)
    factor, shift = jax.random.uniform(key, (2, 1, 1, 3), minval=-strength, maxval=strength)
    amounts = amounts * (1 + factor) + shift
    return jnp.clip(jnp.exp(-jnp.einsum("hws,sc->hwc", amounts, STAINS_TO_DENSITY)), 0, 1)


def _augment_one(key: Key[Array, ""], image: Float[Array, "h w 3"], *, settings: ConfigDict) -> Float[Array, "h w 3"]:
    jitter, blur, choice = jax.random.split(key, 3)
    apply_jitter, apply_grey, apply_blur = jax.random.uniform(choice, (3,)) < jnp.array(
        [settings.jitter_probability, settings.grey_probability, settings.blur_probability]
    )
    image = jnp.where(apply_jitter, _jitter(jitter, image, settings), image)
    image = jnp.where(apply_grey, dm_pix.rgb_to_grayscale(image, keep_dims=True), image)
    if settings.stain:
        image = _restain(jax.random.fold_in(key, 1), image, settings.stain)
    sigma = jax.random.uniform(blur, minval=BLUR_SIGMA[0], maxval=BLUR_SIGMA[1])
    return jnp.where(apply_blur, _blur(image, sigma), image)


def augment(
    keys: Key[Array, " b"], images: UInt8[Array, "b h w 3"], settings: ConfigDict, pixels: Pixels
) -> Float[Array, "b h w 3"]:
    """Draws one photometric variant of every image and normalises it.

    Args:
        keys: one key per image: an image's variant does not depend on its neighbours in the batch.
        images: uint8 RGB.
        settings: `config.augment`: strengths and probabilities, fixed when the step is traced.
        pixels: statistics that the encoder expects.
    """
    floats = images.astype(jnp.float32) / 255.0
    return normalise(jax.vmap(functools.partial(_augment_one, settings=settings))(keys, floats), pixels)


def weakened(settings: ConfigDict) -> ConfigDict:
    """Settings of weak augmentation: a quarter of the jitter's strengths, no grey, no blur."""
    weak = settings.copy_and_resolve_references()
    for name in ("brightness", "contrast", "saturation", "hue"):
        weak[name] = WEAK * settings[name]
    weak.stain = WEAK * settings.stain
    weak.grey_probability = weak.blur_probability = 0.0
    return weak
