"""Context-aware directional contrast of two overlapping crops (CAC, Lai et al. 2021; CRCFP)."""

import jax
import jax.numpy as jnp

from crcfp_jax.losses.contrastive import context_contrast
from crcfp_jax.methods.cells import ContrastedCells, project_cells, push_negatives
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.pseudo_label_metrics import contrast_metrics, prediction_metrics
from crcfp_jax.methods.systems.definition import Term


def contrastive(context: Context, term: Term) -> Outcome:
    """A place looks alike in two crops, and unlike places of other classes (paper, Eq. 3-8).

    The step's own negatives are pushed first, so that the bank is never empty when it is used. The two directions are
    means of their own and are added. Settings are those of `config.contrastive`.

    Returns:
        The loss, shares of accepted positives and of the bank's classes, and the bank with this step's negatives.
    """
    heads, settings = context.heads, context.config.contrastive
    features = jnp.stack([context.features[stream] for stream in term.streams])
    projected, labels, logits = jax.vmap(lambda x: project_cells(heads, x))(features)
    confidences = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
    maps = list(zip(projected, labels, strict=True))
    bank = push_negatives(heads, maps, context.bank, context.key, context.setting(term, "negatives"))
    values, mask = context_contrast(
        projected,
        confidences,
        labels,
        context.batch["offset"],
        context.batch["flip"],
        bank.features,
        bank.labels,
        threshold=context.setting(term, "accept"),
        rule=settings.filter,
        temperature=settings.temperature,
        chunk=settings.chunk,
    )
    metrics = contrast_metrics(heads, ContrastedCells(logits, labels, mask), bank)
    if not context.method.predictions:
        metrics |= prediction_metrics(heads, logits, context.confidence)
    loss = heads.mean(values[0], mask[0]) + heads.mean(values[1], mask[1])
    return Outcome(loss, metrics, bank)
