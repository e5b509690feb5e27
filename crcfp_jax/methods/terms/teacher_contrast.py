"""Context contrast of a strong view with the mean teacher's view of the same place in another context."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from crcfp_jax.losses.contrastive import align
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.cells import project_cells, push_negatives
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.systems.definition import Term
from crcfp_jax.methods.terms.contrast_with_teacher import contrast_with_teacher


def teacher_contrast(context: Context, term: Term) -> Outcome:
    """A place looks alike to the student, altered strongly, and to the teacher in another context (after CRCFP).

    Streams are the teacher's two overlapping crops and a strong view of the first. An anchor is a cell of the strong
    view; its positive is the teacher's vector of the same place in the second crop, where it names the same class in
    both and is sure of it in the second; its negatives are the teacher's vectors of other classes that it was sure of,
    of both crops, from the bank, into which this step's are pushed first. Temperature and chunk are those of
    `config.contrastive`.

    Returns:
        The loss, shares of accepted anchors and filled slots, and the bank with this step's negatives.
    """
    *by_teacher, strong = term.streams
    heads, accept = context.heads, context.setting(term, "accept")
    vectors, classes, logits = zip(*(_seen_by_teacher(context, stream) for stream in by_teacher), strict=True)
    sure = [jnp.max(jax.nn.softmax(own, axis=-1), axis=-1) > accept for own in logits]
    kept = [jnp.where(own, of, banks.EMPTY) for own, of in zip(sure, classes, strict=True)]
    negatives = context.setting(term, "negatives")
    bank = push_negatives(heads, list(zip(vectors, kept, strict=True)), context.bank, context.key, negatives)
    overlap = context.overlap(vectors[1].shape[1])
    positives, shown = align(vectors[1], *overlap)
    same, _ = align(kept[1], *overlap)
    counts = shown & (same == classes[0])
    positives, labels, counts = (context.mixed_as(strong, values) for values in (positives, classes[0], counts))
    anchors, _, _ = project_cells(heads, context.features[strong])
    return contrast_with_teacher(context, anchors, positives, labels, counts, bank, logits[0].shape[-1])


def _seen_by_teacher(context: Context, stream: str) -> tuple[Array, Array, Array]:
    """`project_cells` of a stream that the teacher looks at, without gradient."""
    return jax.lax.stop_gradient(project_cells(context.heads_of(stream), context.features[stream]))
