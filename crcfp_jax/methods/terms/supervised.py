"""What the labels teach."""

from crcfp_jax.losses.supervised import cross_entropy
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.systems.definition import Term
from crcfp_jax.models.network import resize_logits


def supervised(context: Context, term: Term) -> Outcome:
    """Cross-entropy of the labelled crops at their own resolution (paper, Eq. 1); 255 is ignored."""
    labels = context.batch["label"]
    logits = resize_logits(context.logits(*term.streams), labels.shape[1], labels.shape[2])
    return Outcome(context.heads.mean(*cross_entropy(logits, labels)))
