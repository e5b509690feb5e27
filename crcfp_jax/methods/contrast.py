"""The contrastive term between two views, and the negatives that it pushes into the bank."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from ml_collections import ConfigDict

from crcfp_jax.losses.contrastive import context_contrast
from crcfp_jax.methods import bank as banks
from crcfp_jax.methods.randomness import Purpose, example_keys
from crcfp_jax.methods.reduction import Heads


class ContrastedCells(NamedTuple):
    """The cells of both views that were contrasted."""

    logits: Float[Array, "2 u h w k"]
    labels: Int[Array, "2 u h w"]
    positive: Bool[Array, "2 u h w"]  # anchors with an accepted positive


def project_cells(
    heads: Heads, features: Float[Array, "u h w c"]
) -> tuple[Float[Array, "u ch cw d"], Int[Array, "u ch cw"], Float[Array, "u ch cw k"]]:
    """Features at the context stride as unit vectors, and the classifier's classes and logits there.

    The classifier only names the classes; it learns nothing from a term that compares vectors.
    """
    context = heads.apply("context", features)
    logits = jax.lax.stop_gradient(heads.apply("classify", context))
    return heads.apply("project", context), jnp.argmax(logits, axis=-1).astype(jnp.int32), logits


def contrastive_term(
    heads: Heads,
    features: Float[Array, "2 u h w c"],
    offset: Int[Array, "u 2"],
    flip: Bool[Array, "u 2"],
    bank: banks.Bank,
    key: Key[Array, ""],
    settings: ConfigDict,
) -> tuple[Float[Array, ""], banks.Bank, ContrastedCells]:
    """Context-aware directional contrast of two overlapping crops (paper, Eq. 3-8; CAC: Lai et al. 2021).

    The step's own negatives are pushed first, so that the bank is never empty when it is used. The two directions are
    means of their own and are added.

    Args:
        features: of view a and view b.
        offset: view b's origin minus view a's, in cells of the context stride.
        flip: whether (view a, view b) was flipped.
        settings: `config.contrastive`.

    Returns:
        The loss, the bank with this step's negatives, and what was contrasted.
    """
    projected, labels, logits = jax.vmap(lambda x: project_cells(heads, x))(features)
    confidences = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
    maps = {Purpose.BANK_A: (projected[0], labels[0]), Purpose.BANK_B: (projected[1], labels[1])}
    bank = push_negatives(heads, maps, bank, key, settings.negatives)
    values, mask = context_contrast(
        projected,
        confidences,
        labels,
        offset,
        flip,
        bank.features,
        bank.labels,
        threshold=settings.threshold,
        rule=settings.filter,
        temperature=settings.temperature,
        chunk=settings.chunk,
    )
    loss = heads.mean(values[0], mask[0]) + heads.mean(values[1], mask[1])
    return loss, bank, ContrastedCells(logits, labels, mask)


def push_negatives(
    heads: Heads,
    maps: dict[Purpose, tuple[Float[Array, "u h w d"], Int[Array, "u h w"]]],
    bank: banks.Bank,
    key: Key[Array, ""],
    negatives: int,
) -> banks.Bank:
    """Samples `negatives` cells, as many from each of the global batch's maps, and writes them to the bank.

    Args:
        maps: projected features and classes of views of the same images, by the purpose of their random keys.
    """
    replicas = 1 if heads.axis_name is None else jax.lax.axis_size(heads.axis_name)
    picked = []
    for purpose, (projected, labels) in maps.items():
        images = len(labels)
        keys = example_keys(key, purpose, images, heads.axis_name)
        picked.append(banks.sample_cells(keys, projected, labels, negatives // (len(maps) * images * replicas)))
    features, classes = (jnp.concatenate(parts, axis=1) for parts in zip(*picked, strict=True))
    features, classes = banks.gather_over_replicas((features, classes), heads.axis_name)
    return banks.push(bank, features.reshape(-1, features.shape[-1]), classes.reshape(-1))
