"""What a method learns from the unlabelled images of a step: its terms, one after the other."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from crcfp_jax.methods.bank import Bank
from crcfp_jax.methods.contrast import contrastive_term
from crcfp_jax.methods.definition import OF_ONE_VIEW, OF_THE_TEACHER, Method
from crcfp_jax.methods.mean_teacher import cross_patch_term, run_teacher, teacher_consistency_term
from crcfp_jax.methods.pixel_terms import consistency_term, entropy_term
from crcfp_jax.methods.pseudo_label_metrics import agreement, contrast_metrics, prediction_metrics
from crcfp_jax.methods.reduction import Heads, Metrics
from crcfp_jax.models.encoders.pixels import normalise


def unlabelled_terms(
    heads: Heads,
    method: Method,
    config: ConfigDict,
    streams: Mapping[str, Float[Array, "u h w c"]],
    batch: Mapping[str, Array],
    key: Key[Array, ""],
    *,
    bank: Bank | None,
    teacher: Any,
) -> tuple[dict[str, Float[Array, ""]], Metrics, Bank | None]:
    """The losses of this method's terms on the unlabelled images, what they tell, and the bank after them.

    Args:
        heads: with the parameters that learn.
        streams: features of the streams that the method looks at; none for supervised training.
        batch: of the step, as the loaders make it.
        key: of the step.
        bank: before the step; None where the method has no contrast.
        teacher: parameters of the mean teacher; None where the method has none.
    """
    losses, metrics = {}, {}
    threshold = config.contrastive.threshold
    if method.has(*OF_ONE_VIEW):
        features = streams[method.main_view]
        logits = heads.apply("classify", features)
        metrics |= prediction_metrics(heads, logits, threshold)
    if method.has("contrastive"):
        views = jnp.stack([streams["view_a"], streams["view_b"]])
        losses["contrastive"], bank, seen = contrastive_term(
            heads, views, batch["offset"], batch["flip"], bank, key, config.contrastive
        )
        metrics |= contrast_metrics(heads, seen, bank)
        if not method.has(*OF_ONE_VIEW):
            metrics |= prediction_metrics(heads, seen.logits, threshold)
    if method.has("cross_consistency"):
        losses["cross_consistency"], auxiliary = consistency_term(heads, features, logits, key, method.target_threshold)
        metrics["share/agreement"] = agreement(heads, logits, auxiliary)
    if method.has(*OF_THE_TEACHER):
        images = normalise(batch[method.main_view])
        teacher_output = run_teacher(heads, teacher, images, vectors=method.has("cross_patch"))
    if method.has("teacher_consistency"):
        losses["teacher_consistency"] = teacher_consistency_term(heads, logits, teacher_output)
    if method.has("cross_patch"):
        losses["cross_patch"], bank, shares = cross_patch_term(heads, features, teacher_output, bank, key, config)
        metrics |= shares
    if method.has("entropy"):
        losses["entropy"] = entropy_term(heads, logits)
    return losses, metrics, bank
