"""Decided predictions."""

from crcfp_jax.losses.entropy import pixel_entropy
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.systems.definition import Term


def entropy(context: Context, term: Term) -> Outcome:
    """Mean entropy of the predictions on a stream, in nats (paper, Eq. 17)."""
    return Outcome(context.heads.mean(*pixel_entropy(context.logits(*term.streams))))
