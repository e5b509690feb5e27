"""Weak-to-strong consistency (FixMatch: Sohn et al. 2020; UniMatch V2: Yang et al. 2025)."""

import jax
import jax.numpy as jnp

from crcfp_jax.losses.supervised import cross_entropy
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.systems.definition import Term


def weak_to_strong(context: Context, term: Term) -> Outcome:
    """Cross-entropy of the strong views with the teacher's class in the weak one, where the teacher is sure.

    The first stream is the weak view, the others are strong ones of the same crop. Places of which the teacher is not
    sure count as 0 in the mean over all places, as in both sources: of a batch in which it is sure of little, little
    is learned.
    """
    weak, *strong = term.streams
    probabilities = jax.nn.softmax(context.logits(weak), axis=-1)
    classes = jnp.argmax(probabilities, axis=-1)
    sure = jnp.max(probabilities, axis=-1) > context.setting(term, "accept")
    losses = []
    for stream in strong:
        target, counts = (context.mixed_as(stream, values) for values in (classes, sure))
        values, _ = cross_entropy(context.logits(stream), target)
        losses.append(context.heads.mean(values * counts, jnp.ones_like(counts)))
    return Outcome(sum(losses) / len(losses))
