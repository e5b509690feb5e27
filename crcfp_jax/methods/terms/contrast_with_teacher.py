"""What the contrasts of a student with its teacher have in common."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from crcfp_jax.losses.contrastive import directional_contrast
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.pseudo_label_metrics import class_shares


def contrast_with_teacher(
    context: Context,
    anchors: Float[Array, "u h w d"],
    positives: Float[Array, "u h w d"],
    labels: Int[Array, "u h w"],
    counts: Bool[Array, "u h w"],
    bank: banks.Bank,
    num_classes: int,
) -> Outcome:
    """`directional_contrast` of the anchors that count; temperature and chunk are those of `config.contrastive`.

    Args:
        anchors: the student's unit vectors.
        positives: the teacher's of the same places.
        labels: classes of the anchors.
        counts: which anchors do.
        bank: with this step's negatives.

    Returns:
        The loss, shares of accepted anchors and filled slots, and the bank.
    """
    heads, settings, dimension = context.heads, context.config.contrastive, anchors.shape[-1]
    values = directional_contrast(
        anchors.reshape(-1, dimension),
        positives.reshape(-1, dimension),
        labels.reshape(-1),
        bank.features,
        bank.labels,
        settings.temperature,
        settings.chunk,
    )
    shares = class_shares(heads, labels, counts, num_classes)
    metrics = {"positives": shares, "share/positive_pairs": jnp.sum(shares)}
    loss = heads.mean(values.reshape(counts.shape), counts)
    return Outcome(loss, metrics | banks.mix(bank, num_classes), bank)
