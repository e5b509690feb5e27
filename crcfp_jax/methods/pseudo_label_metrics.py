"""What a step tells of its unlabelled images, over all replicas; the run doctor reads it. None of it is trained on."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from crcfp_jax.losses.entropy import pixel_entropy
from crcfp_jax.methods.bank import Bank, mix
from crcfp_jax.methods.cells import ContrastedCells
from crcfp_jax.methods.reduction import Heads, Metrics


def prediction_metrics(heads: Heads, logits: Float[Array, "*b h w k"], threshold: float) -> Metrics:
    """Pseudo-labels of the main classifier.

    Returns:
        `pseudo_labels` [k], share of the pixels predicted as each class; `confident` [k], share predicted so with a
        probability above `threshold`, and `share/confident`, their sum; `entropy`, mean in nats.
    """
    classes = jnp.argmax(logits, axis=-1)
    sure = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1) > threshold
    confident = class_shares(heads, classes, sure, logits.shape[-1])
    return {
        "pseudo_labels": class_shares(heads, classes, jnp.ones_like(sure), logits.shape[-1]),
        "confident": confident,
        "share/confident": jnp.sum(confident),
        "entropy": heads.mean(*pixel_entropy(logits)),
    }


def agreement(heads: Heads, logits: Float[Array, "b h w k"], auxiliary: Float[Array, "n b h w k"]) -> Float[Array, ""]:
    """Share of pixels in which an auxiliary classifier names the class that the main one names."""
    return heads.share(jnp.argmax(auxiliary, axis=-1) == jnp.argmax(logits, axis=-1)[None])


def contrast_metrics(heads: Heads, seen: ContrastedCells, bank: Bank) -> Metrics:
    """Anchors with an accepted positive, as shares of all cells of both views, and what the bank holds.

    Returns:
        `positives` [k] and their sum `share/positive_pairs`; `bank` [k] and `share/bank_filled`, shares of all slots.
    """
    num_classes = seen.logits.shape[-1]
    positives = class_shares(heads, seen.labels, seen.positive, num_classes)
    return {"positives": positives, "share/positive_pairs": jnp.sum(positives)} | mix(bank, num_classes)


def class_shares(
    heads: Heads, classes: Int[Array, "*shape"], mask: Bool[Array, "*shape"], num_classes: int
) -> Float[Array, " {num_classes}"]:
    """Of all places, the share that are in the mask and of each class; one sum over the replicas for all classes."""
    of_class = classes.reshape(-1, 1) == jnp.arange(num_classes).reshape(1, -1)
    shares = jnp.mean(of_class & mask.reshape(-1, 1), axis=0, dtype=jnp.float32)
    return shares if heads.axis_name is None else jax.lax.pmean(shares, heads.axis_name)
