"""Cells of the feature map as vectors that are compared, and those that go into the bank."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

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


def push_negatives(
    heads: Heads,
    maps: Sequence[tuple[Float[Array, "u h w d"], Int[Array, "u h w"]]],
    bank: banks.Bank,
    key: Key[Array, ""],
    negatives: int,
) -> banks.Bank:
    """Samples `negatives` cells, as many from each of the global batch's maps, and writes them to the bank.

    Args:
        maps: projected features and classes of views of the same images, each with random keys of its own.
    """
    replicas = 1 if heads.axis_name is None else jax.lax.axis_size(heads.axis_name)
    picked = []
    for number, (projected, labels) in enumerate(maps):
        images = len(labels)
        keys = example_keys(key, Purpose.BANK + number, images, heads.axis_name)
        picked.append(banks.sample_cells(keys, projected, labels, negatives // (len(maps) * images * replicas)))
    features, classes = (jnp.concatenate(parts, axis=1) for parts in zip(*picked, strict=True))
    features, classes = banks.gather_over_replicas((features, classes), heads.axis_name)
    return banks.push(bank, features.reshape(-1, features.shape[-1]), classes.reshape(-1))
