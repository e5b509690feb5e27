"""Cross-consistency: the auxiliary classifiers, fed perturbed features, agree with the main classifier."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def squared_error(
    target_probabilities: Float[Array, "b h w c"],
    auxiliary_logits: Float[Array, "n b h w c"],
    threshold: float = 0.0,
) -> tuple[Float[Array, "n b h w"], Bool[Array, "n b h w"]]:
    """Returns the squared error of the auxiliary probabilities, averaged over classes, and the pixels that count.

    Paper, Eq. 9; the average over classes is that of torch's `mse_loss`, which CCT and the authors' release use: of two
    classes, a certain and wrong prediction gives 1. The target carries no gradient. A pixel counts where its greatest
    target probability is above `threshold`: 0 lets every pixel count (paper), 0.75 is the release.
    """
    target = jax.lax.stop_gradient(target_probabilities)[None]
    values = jnp.mean(jnp.square(jax.nn.softmax(auxiliary_logits, axis=-1) - target), axis=-1)
    confident = jnp.max(target, axis=-1) > threshold
    return values, jnp.broadcast_to(confident, values.shape)
