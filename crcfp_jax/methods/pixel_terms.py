"""The loss terms that look at one pixel at a time: supervised, cross-consistency, entropy."""

import jax
from jaxtyping import Array, Float, Key, UInt8

from crcfp_jax.losses.consistency import squared_error
from crcfp_jax.losses.entropy import pixel_entropy
from crcfp_jax.losses.supervised import cross_entropy
from crcfp_jax.methods.randomness import Purpose, example_keys
from crcfp_jax.methods.reduction import Heads
from crcfp_jax.models.network import resize_logits


def supervised_term(heads: Heads, features: Float[Array, "b h w c"], labels: UInt8[Array, "b s s"]) -> Float[Array, ""]:
    """Cross-entropy of the labelled crops at their own resolution (paper, Eq. 1); 255 is ignored."""
    logits = resize_logits(heads.apply("classify", features), labels.shape[1], labels.shape[2])
    return heads.mean(*cross_entropy(logits, labels))


def consistency_term(
    heads: Heads,
    features: Float[Array, "u h w c"],
    logits: Float[Array, "u h w k"],
    key: Key[Array, ""],
    threshold: float,
) -> tuple[Float[Array, ""], Float[Array, "n u h w k"]]:
    """Squared error between the classifier and every auxiliary classifier on perturbed features (paper, Eq. 9).

    Args:
        features: of the whole view of the unlabelled images.
        logits: of the classifier on these features.
        threshold: the classifier's confidence from which on a pixel counts.

    Returns:
        The loss, and the logits of the auxiliary classifiers.
    """
    keys = example_keys(key, Purpose.PERTURBATION, features.shape[0], heads.axis_name)
    auxiliary = heads.apply("auxiliary", features, keys, logits)
    return heads.mean(*squared_error(jax.nn.softmax(logits, axis=-1), auxiliary, threshold)), auxiliary


def entropy_term(heads: Heads, logits: Float[Array, "u h w k"]) -> Float[Array, ""]:
    """Mean entropy of the predictions on the whole view, in nats (paper, Eq. 17)."""
    return heads.mean(*pixel_entropy(logits))
