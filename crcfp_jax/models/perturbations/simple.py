"""Feature perturbations that need the features alone (paper, Eq. 10-16, after CCT: Ouali et al. 2020).

Each takes the features of one example with that example's own key, so that a draw depends neither on the batch around
the example nor on the number of devices. Those that look at the prediction are in `guided` and `adversarial`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

NOISE_RANGE = 0.3  # paper
KEPT_ACTIVITY = (0.75, 0.9)  # paper: range of gamma
DROPOUT_RATE = 0.5  # paper; the draw below is one bit, so that another rate needs another draw


def feature_noise(features: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """z + z * n with n ~ U(-0.3, 0.3) drawn for each element (paper, Eq. 10-11).

    n takes 256 evenly spaced values, symmetric about 0 with the variance of the uniform distribution to 1.5e-5.
    """
    levels = random_bytes(key, features.shape).astype(jnp.float32)
    noise = (levels - 127.5) * (2 * NOISE_RANGE / 256)
    return (features * (1 + noise)).astype(features.dtype)


def feature_dropout(features: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Zeroes the most active positions of the example, by the paper's rule (Eq. 12-14).

    The sum over channels is min-max normalised over positions; positions below gamma ~ U(0.75, 0.9), one draw an
    example, are kept. No rescaling. The mask carries no gradient. Where all positions are equally active, the
    normalisation is undefined and all are kept.
    """
    activity, gamma = _activity(features), _draw_gamma(key)
    least, greatest = jnp.min(activity), jnp.max(activity)
    kept = (activity - least < gamma * (greatest - least)) | (greatest == least)
    return features * kept.astype(features.dtype)


def feature_dropout_max(features: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Zeroes the most active positions of the example, by the rule of CCT and of the authors' release.

    As `feature_dropout`, but that the mean over channels is divided by its maximum, and its minimum stays.
    """
    activity = _activity(features)
    # Multiplied out rather than divided: features that are zero everywhere stay zero instead of turning into NaN.
    kept = activity < _draw_gamma(key) * jnp.max(activity)
    return features * kept.astype(features.dtype)


def _activity(features: Float[Array, "h w c"]) -> Float[Array, "h w 1"]:
    """Mean over channels, in float32, without gradient: as good as their sum where it is normalised."""
    return jnp.mean(jax.lax.stop_gradient(features), axis=-1, keepdims=True, dtype=jnp.float32)


def _draw_gamma(key: Key[Array, ""]) -> Float[Array, ""]:
    return jax.random.uniform(key, (), minval=KEPT_ACTIVITY[0], maxval=KEPT_ACTIVITY[1])


def dropout(features: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Zeroes each element with probability 0.5 and doubles the others (paper, Eq. 15-16; rescaled as every dropout)."""
    height, width, channels = features.shape
    packed = random_bytes(key, (height, width, -(-channels // 8)))
    kept = jnp.unpackbits(packed, axis=-1, count=channels)
    return features * (kept / (1 - DROPOUT_RATE)).astype(features.dtype)


def spatial_dropout(features: Float[Array, "h w c"], key: Key[Array, ""]) -> Float[Array, "h w c"]:
    """Zeroes whole channels with probability 0.5 and doubles the others (CCT's DropOut: 2-d dropout)."""
    kept = jax.random.bernoulli(key, 1 - DROPOUT_RATE, (1, 1, features.shape[-1]))
    return features * (kept / (1 - DROPOUT_RATE)).astype(features.dtype)


PERTURBATIONS = {
    "feature_noise": feature_noise,
    "feature_dropout": feature_dropout,
    "feature_dropout_max": feature_dropout_max,
    "dropout": dropout,
    "spatial_dropout": spatial_dropout,
}


def random_bytes(key: Key[Array, ""], shape: tuple[int, int, int]) -> UInt8[Array, "h w c"]:
    """Uniform random bytes.

    JAX hashes once for every element it draws, whatever its size: four bytes from one 32-bit word cost a quarter.
    On a CPU this draw is 15 times faster than float32 uniforms for features of [2, 80, 80, 256].
    """
    height, width, channels = shape
    words = jax.random.bits(key, (height, width, -(-channels // 4)), jnp.uint32)
    return jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(height, width, -1)[:, :, :channels]
