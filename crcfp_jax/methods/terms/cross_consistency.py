"""Cross-consistency: auxiliary classifiers on perturbed features repeat the main one (CCT; CRCFP)."""

import jax

from crcfp_jax.losses.consistency import squared_error
from crcfp_jax.methods.context import Context, Outcome
from crcfp_jax.methods.pseudo_label_metrics import agreement
from crcfp_jax.methods.randomness import Purpose, example_keys
from crcfp_jax.methods.systems.definition import Term


def cross_consistency(context: Context, term: Term) -> Outcome:
    """Squared error between the classifier and every auxiliary classifier on perturbed features (paper, Eq. 9).

    A pixel counts where the classifier's confidence is above the setting of the role 'threshold'; everywhere without.
    """
    (stream,), heads = term.streams, context.heads
    features, logits = context.features[stream], context.logits(stream)
    keys = example_keys(context.key, Purpose.PERTURBATION, features.shape[0], heads.axis_name)
    auxiliary = heads.apply("auxiliary", features, keys, logits)
    threshold = context.setting(term, "threshold", 0.0)
    loss = heads.mean(*squared_error(jax.nn.softmax(logits, axis=-1), auxiliary, threshold))
    return Outcome(loss, {"share/agreement": agreement(heads, logits, auxiliary)})
