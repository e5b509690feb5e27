"""Cross-entropy against the annotation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from crcfp_jax.common.classes import IGNORED


def cross_entropy(
    logits: Float[Array, "b h w c"], labels: Integer[Array, "b h w"]
) -> tuple[Float[Array, "b h w"], Bool[Array, "b h w"]]:
    """Returns the cross-entropy of each pixel in nats (paper, Eq. 1), and the mask of annotated pixels (label not 255).

    `logits` have the resolution of the labels. A label that is neither a class nor 255 gives NaN, which stops a run,
    rather than the loss of some other class.
    """
    classes = jnp.arange(logits.shape[-1])
    mask = labels != IGNORED
    labels = labels.astype(jnp.int32)[..., None]
    # A comparison instead of a gather: its gradient is elementwise, a gather's is a scatter.
    of_label = jnp.sum(jnp.where(labels == classes.reshape(1, 1, 1, -1), logits, 0), axis=-1)
    values = jax.nn.logsumexp(logits, axis=-1) - of_label
    unknown = mask & ((labels[..., 0] < 0) | (labels[..., 0] >= logits.shape[-1]))
    return jnp.where(unknown, jnp.nan, values), mask
