"""The feature perturbation that moves a prediction most: virtual adversarial training (VAT, Miyato et al. 2019)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

RADIUS = 2.0  # Euclidean length over the whole example (CCT's release: eps)
SMALLEST_SQUARE = 1e-24  # of a length; a vector of zeros stays one

Classify = Callable[[Float[Array, "h w c"]], Float[Array, "h w k"]]


def vat(features: Float[Array, "h w c"], key: Key[Array, ""], classify: Classify) -> Float[Array, "h w c"]:
    """Adds the vector of length 2 that changes this classifier's own prediction most, by one power iteration.

    The gradient reaches the features; the added vector carries none. Returns float32: bfloat16 would round most of so
    thin a vector away.
    """
    features = features.astype(jnp.float32)
    direction = adversarial_direction(jax.lax.stop_gradient(features), key, classify)
    return features + RADIUS * jax.lax.stop_gradient(direction)


def adversarial_direction(
    features: Float[Array, "h w c"], key: Key[Array, ""], classify: Classify
) -> Float[Array, "h w c"]:
    """A unit vector along which the divergence KL(p(z) || p(z + r)) rises fast.

    One power iteration from a random direction d, with the divergence's Hessian H at r = 0: d <- H d / |H d|. Miyato
    et al. and CCT get H d as a difference of gradients a step of 1e-6 apart, which float32 rounding drowns; here it is
    exact, the derivative of the gradient along d.
    """
    features = features.astype(jnp.float32)
    log_target = jax.nn.log_softmax(classify(features), axis=-1)

    def divergence(added):
        log_moved = jax.nn.log_softmax(classify(features + added), axis=-1)
        return jnp.sum(jnp.exp(log_target) * (log_target - log_moved))

    direction = _unit(jax.random.normal(key, features.shape))
    _, curvature = jax.jvp(jax.grad(divergence), (jnp.zeros_like(features),), (direction,))
    return _unit(curvature)


def _unit(vector: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    return vector * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(vector)), SMALLEST_SQUARE))
