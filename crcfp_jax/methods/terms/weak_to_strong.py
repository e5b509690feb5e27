"""Weak-to-strong consistency (FixMatch: Sohn et al. 2020; UniMatch V2: Yang et al. 2025)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.losses.contrastive import align
from crcfp_jax.losses.supervised import cross_entropy
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.systems.definition import Term


def weak_to_strong(context: Context, term: Term) -> Outcome:
    """Cross-entropy of the strong views with the teacher's class in the weak one, where the teacher is sure.

    The first stream is the weak view; a second one that the teacher looks at is of a crop that overlaps it; the others
    are strong views of the same crop as the first. Places of which the teacher is not sure count as 0 in the mean over
    all places, as in both sources: of a batch in which it is sure of little, little is learned.
    """
    probabilities = teacher_probabilities(context, term)
    strong = [stream for stream in term.streams if not context.by_teacher(stream)]
    classes = jnp.argmax(probabilities, axis=-1)
    sure = jnp.max(probabilities, axis=-1) > context.setting(term, "accept")
    losses = []
    for stream in strong:
        target, counts = (context.mixed_as(stream, values) for values in (classes, sure))
        values, _ = cross_entropy(context.logits(stream), target)
        losses.append(context.heads.mean(values * counts, jnp.ones_like(counts)))
    return Outcome(sum(losses) / len(losses))


def teacher_probabilities(context: Context, term: Term) -> Float[Array, "u h w k"]:
    """The teacher's on the grid of its first stream: the mean of both contexts where its second shows the place."""
    first, *second = (jax.nn.softmax(context.logits(own), axis=-1) for own in term.streams if context.by_teacher(own))
    if not second:
        return first
    aligned, shown = align(second[0], *context.overlap(first.shape[1]))
    return jnp.where(shown[..., None], (first + aligned) / 2, first)
