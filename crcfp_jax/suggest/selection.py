"""Which candidates to annotate: unsure ones, far in feature space from what is known and from one another.

A candidate is worth its uncertainty times its distance to the nearest place that is annotated or already chosen; the
one worth most is chosen, and so on. Uncertainty alone chooses the same place ten times, distance alone (core-set
selection, Sener and Savarese 2018, arXiv 1708.00489) what the model has long understood; gradients of the last layer,
which hold both, lead to much the same product (BADGE, Ash et al. 2020, arXiv 1906.03671).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64


@dataclass(frozen=True)
class Choice:
    """A chosen candidate: its place among all, and how far it was from what was known when it was chosen, 0 to 2."""

    candidate: int
    novelty: float


def normalised_entropy(probabilities: Float[np.ndarray, "*places c"]) -> Float64[np.ndarray, "*places"]:
    """Entropy of c class probabilities over its greatest value, log c: 0 where one is sure, 1 where all are alike."""
    shares = np.clip(np.asarray(probabilities, np.float64), 1e-12, 1)
    return -(shares * np.log(shares)).sum(-1) / np.log(shares.shape[-1])


def unit_length(vectors: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    """Vectors of length 1; zeros stay."""
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def choose(
    uncertainty: Float[np.ndarray, "n"],
    embedding: Float[np.ndarray, "n d"],
    known: Float[np.ndarray, "m d"],
    count: int,
) -> list[Choice]:
    """The candidates worth most, best first; of equal ones the first.

    Args:
        uncertainty: of each candidate, 0 or more.
        embedding: of each, of unit length.
        known: embeddings of what is annotated, of unit length; may be none.
        count: wanted; fewer come where there are fewer candidates.

    Returns:
        At most `count` choices. Distances are those of unit vectors, 0 (the same direction) to 2.
    """
    distance = np.full(len(uncertainty), 2.0)
    for place in known:
        distance = np.minimum(distance, _distances(embedding, place))
    left = np.ones(len(uncertainty), bool)
    chosen: list[Choice] = []
    while len(chosen) < count and left.any():
        best = int(np.argmax(np.where(left, uncertainty * distance, -1)))
        chosen.append(Choice(best, float(distance[best])))
        left[best] = False
        distance = np.minimum(distance, _distances(embedding, embedding[best]))
    return chosen


def _distances(vectors: Float[np.ndarray, "n d"], place: Float[np.ndarray, "d"]) -> Float64[np.ndarray, "n"]:
    return np.sqrt(np.maximum(0.0, 2 - 2 * (vectors @ place)))
