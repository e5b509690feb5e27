"""Entropy of the prediction: low when the network is sure."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def pixel_entropy(logits: Float[Array, "*b h w c"]) -> tuple[Float[Array, "*b h w"], Bool[Array, "*b h w"]]:
    """Returns the entropy of each pixel's class probabilities in nats (paper, Eq. 17), and a mask that is all true.

    The gradient flows through the logits; the authors' release computes this term from values without gradient.
    """
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    values = -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=-1)
    return values, jnp.ones(values.shape, bool)
