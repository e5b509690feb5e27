"""The memory bank: projected features of the last steps, with the class each was taken for."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

EMPTY = -1


@flax.struct.dataclass
class Bank:
    """A ring buffer of negatives, the same on every replica."""

    # Any: as in every pytree, shapes, shardings and checkpoint handles take the arrays' place at times.
    features: Any  # float32 [N, D], unit vectors
    labels: Any  # int32 [N], -1 where the slot is empty
    cursor: Any  # int32 [], the slot that is written next


def empty(size: int, dimension: int) -> Bank:
    """Returns a bank of `size` empty slots for vectors of `dimension` numbers."""
    return Bank(
        features=jnp.zeros((size, dimension), jnp.float32),
        labels=jnp.full((size,), EMPTY, jnp.int32),
        cursor=jnp.zeros((), jnp.int32),
    )


def push(bank: Bank, features: Float[Array, "k d"], labels: Int[Array, " k"]) -> Bank:
    """Writes k vectors over the oldest ones, at slots (cursor + 0 .. k - 1) modulo N, without gradient.

    Raises ValueError if k is greater than the bank's size N.
    """
    size, count = bank.labels.shape[0], labels.shape[0]
    if count > size:
        raise ValueError(f"{count} features pushed at once into a bank of {size} slots")
    slots = (bank.cursor + jnp.arange(count, dtype=jnp.int32)) % size
    features = jax.lax.stop_gradient(features).astype(jnp.float32)
    return Bank(
        features=bank.features.at[slots].set(features, unique_indices=True),
        labels=bank.labels.at[slots].set(labels.astype(jnp.int32), unique_indices=True),
        cursor=(bank.cursor + count) % size,
    )


def sample_cells(
    keys: Key[Array, " u"], features: Float[Array, "u h w d"], labels: Int[Array, "u h w"], count: int
) -> tuple[Float[Array, "u {count} d"], Int[Array, "u {count}"]]:
    """Picks `count` different cells of each image at random: vectors [u, count, d] and labels [u, count].

    Cells labelled -1 (not to be kept) are picked only where an image has too few others; they leave a slot empty.

    One key an image, so that the choice for an image does not depend on which replica holds it; the image axis is kept,
    so that views joined along axis 1 and gathered along axis 0 come in the same order on any number of replicas.
    Raises ValueError if an image has fewer than `count` cells.
    """
    cells = labels.shape[1] * labels.shape[2]
    if count > cells:
        raise ValueError(f"{count} cells asked for from maps of {cells}")

    def pick(key, vectors, classes):
        classes = classes.reshape(cells)
        score = jax.random.uniform(key, (cells,))
        _, chosen = jax.lax.top_k(jnp.where(classes == EMPTY, score - 1, score), count)
        return vectors.reshape(cells, -1)[chosen], classes[chosen]

    return jax.vmap(pick)(keys, features, labels)


def mix(bank: Bank, num_classes: int) -> dict[str, Array]:
    """What the bank holds: `bank` [num_classes], share of all slots with each class; `share/bank_filled`, its sum."""
    of_class = bank.labels.reshape(-1, 1) == jnp.arange(num_classes).reshape(1, -1)
    shares = jnp.mean(of_class, axis=0, dtype=jnp.float32)
    return {"bank": shares, "share/bank_filled": jnp.sum(shares)}


def gather_over_replicas(tree: PyTree, axis_name: str | None) -> PyTree:
    """Joins arrays along their first axis over the replicas of `axis_name`, without gradient; None changes nothing.

    The result is the same on every replica and typed so: a bank that takes it stays replicated under `jax.shard_map`.
    """
    tree = jax.lax.stop_gradient(tree)
    if axis_name is None:
        return tree
    return jax.lax.all_gather(tree, axis_name, axis=0, tiled=True, to="invarying")
