"""Context-aware consistency: a place looks alike in two crops, and unlike places of other classes."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from crcfp_jax.common.errors import UserError

RULES = ("paper", "release")


def align(
    other: Shaped[Array, "u h w *rest"], offset: Int[Array, "u 2"], flip: Bool[Array, "u 2"]
) -> tuple[Shaped[Array, "u h w *rest"], Bool[Array, "u h w"]]:
    """Brings the map of another view onto the grid of this one, as this one is stored (flipped, if it was).

    `offset` is (dy, dx), the other view's origin minus this one's, in cells, before any flip; `flip` says whether
    (this, the other) view was flipped horizontally. So `align(b, offset, flip)` puts view b on view a's grid and
    `align(a, -offset, flip[:, ::-1])` puts view a on view b's: an anchor never moves, only its positive does.

    Returns the aligned map and the mask of places that the other view shows; elsewhere the values mean nothing.
    Differentiable in `other`.
    """
    height, width = other.shape[1:3]
    rows = jnp.arange(height)[None] - offset[:, :1]
    columns = jnp.broadcast_to(jnp.arange(width)[None], (other.shape[0], width))
    columns = jnp.where(flip[:, :1], width - 1 - columns, columns) - offset[:, 1:]
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    columns = jnp.where(flip[:, 1:], width - 1 - columns, columns)
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    aligned = jax.vmap(lambda image, row, column: image[row[:, None], column[None, :]])(other, rows, columns)
    return aligned, inside_rows[:, :, None] & inside_columns[:, None, :]


def positive_mask(
    anchor_confidence: Float[Array, "*shape"],
    positive_confidence: Float[Array, "*shape"],
    valid: Bool[Array, "*shape"],
    threshold: float,
    rule: str,
) -> Bool[Array, "*shape"]:
    """Returns which anchors are pulled to their positive: those less sure than it, where one of the two is sure.

    Rule 'paper' (Eq. 6-7) asks that the anchor's confidence be above `threshold`, rule 'release' (as in CAC) that the
    positive's be. Raises UserError for another rule.
    """
    if rule not in RULES:
        raise UserError(f"contrastive.filter={rule!r} is unknown: choose one of {', '.join(RULES)}")
    sure = anchor_confidence if rule == "paper" else positive_confidence
    return valid & (sure > threshold) & (anchor_confidence < positive_confidence)


def directional_contrast(
    anchor: Float[Array, "n d"],
    positive: Float[Array, "n d"],
    anchor_label: Int[Array, " n"],
    negatives: Float[Array, "m d"],
    negative_labels: Int[Array, " m"],
    temperature: float,
    chunk: int,
) -> Float[Array, " n"]:
    """Returns -log(exp(a.p/t) / (exp(a.p/t) + sum over j of exp(a.n_j/t))) of each anchor, InfoNCE (paper, Eq. 3-5).

    The sum takes the negatives whose label differs from the anchor's and is not -1 (an empty slot). Only the anchor
    carries a gradient. Negatives are read `chunk` at a time, so memory is n x chunk whatever m is; `chunk` changes no
    value.
    """
    chunk = min(chunk, negatives.shape[0])
    padding = -negatives.shape[0] % chunk
    negatives = jnp.pad(negatives, ((0, padding), (0, 0)))
    negative_labels = jnp.pad(negative_labels, (0, padding), constant_values=-1)
    return _contrast(
        anchor,
        jax.lax.stop_gradient(positive),
        anchor_label,
        jax.lax.stop_gradient(negatives).reshape(-1, chunk, negatives.shape[1]),
        negative_labels.reshape(-1, chunk),
        temperature,
    )


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _contrast(anchor, positive, anchor_label, negatives, negative_labels, temperature):
    values, _ = _stream(anchor, positive, anchor_label, negatives, negative_labels, temperature, expectation=False)
    return values


def _contrast_forward(anchor, positive, anchor_label, negatives, negative_labels, temperature):
    values, expected = _stream(anchor, positive, anchor_label, negatives, negative_labels, temperature)
    return values, (expected - positive) / temperature


def _contrast_backward(temperature, slope, cotangent):
    del temperature
    return cotangent[:, None] * slope, None, None, None, None


_contrast.defvjp(_contrast_forward, _contrast_backward)


def _stream(anchor, positive, anchor_label, negatives, negative_labels, temperature, expectation=True):
    """Goes over the chunks once, with the running maximum and sum of a log-sum-exp.

    The gradient with respect to an anchor is (E - positive) / temperature, where E is the mean of the positive and the
    negatives under the softmax of their scores. E is gathered on the way, as attention gathers its output: nothing of
    the size of a chunk has to be kept, or computed again, for the backward pass.
    """
    own_score = jnp.sum(anchor * positive, axis=-1) / temperature
    # Starting from the positive, not from constants, gives the carry the replica-varying type that it ends with.
    start = (own_score, jnp.exp(own_score - own_score), positive if expectation else None)

    def step(carry, negative):
        maximum, total, weighted = carry
        features, labels = negative
        scores = jnp.dot(anchor, features.T) / temperature
        counts = (labels[None, :] != anchor_label[:, None]) & (labels[None, :] >= 0)
        scores = jnp.where(counts, scores, -jnp.inf)
        new_maximum = jnp.maximum(maximum, jnp.max(scores, axis=1))
        scale = jnp.exp(maximum - new_maximum)
        exponentials = jnp.exp(scores - new_maximum[:, None])
        total = total * scale + jnp.sum(exponentials, axis=1)
        if expectation:
            weighted = weighted * scale[:, None] + jnp.dot(exponentials, features)
        return (new_maximum, total, weighted), None

    (maximum, total, weighted), _ = jax.lax.scan(step, start, (negatives, negative_labels))
    values = maximum + jnp.log(total) - own_score
    return values, weighted / total[:, None] if expectation else None


def context_contrast(
    features: Float[Array, "2 u h w d"],
    confidences: Float[Array, "2 u h w"],
    labels: Int[Array, "2 u h w"],
    offset: Int[Array, "u 2"],
    flip: Bool[Array, "u 2"],
    negatives: Float[Array, "m d"],
    negative_labels: Int[Array, " m"],
    *,
    threshold: float,
    rule: str,
    temperature: float,
    chunk: int,
) -> tuple[Float[Array, "2 u h w"], Bool[Array, "2 u h w"]]:
    """Returns the contrast of both views in both directions, each on its anchor's grid, and the pairs that count.

    Paper, Eq. 3-8, before its sums. The leading axis is (view a, view b); `features` are unit vectors, `labels` and
    `confidences` the class and the probability that the classifier gives the cell. `offset` and `flip` are those of
    `align`, from view a to view b. Raises UserError for an unknown rule.
    """
    features_of_other = jax.lax.stop_gradient(features[::-1])
    offsets, flips = jnp.stack([offset, -offset]), jnp.stack([flip, flip[:, ::-1]])
    positives, valid = jax.vmap(align)(features_of_other, offsets, flips)
    positive_confidences, _ = jax.vmap(align)(confidences[::-1], offsets, flips)
    mask = positive_mask(confidences, positive_confidences, valid, threshold, rule)
    dimension = features.shape[-1]
    values = directional_contrast(
        features.reshape(-1, dimension),
        positives.reshape(-1, dimension),
        labels.reshape(-1),
        negatives,
        negative_labels,
        temperature,
        chunk,
    )
    return values.reshape(mask.shape), mask
