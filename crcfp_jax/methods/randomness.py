"""Random keys that depend on the seed, the step, the purpose and the example, never on the machine."""

import enum

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key


class Purpose(enum.IntEnum):
    """What a key is drawn for: every purpose has its own stream of random numbers."""

    IMAGE = 0
    UNLABELLED = 1
    VIEW_A = 2
    VIEW_B = 3
    PERTURBATION = 4
    BANK_A = 5
    BANK_B = 6


def example_keys(key: Key[Array, ""], purpose: Purpose, count: int, axis_name: str | None) -> Key[Array, " {count}"]:
    """One key per example of this replica, folded with the example's position in the global batch.

    Args:
        key: the step's key.
        purpose: the stream of random numbers.
        count: examples on this replica.
        axis_name: the replica axis, or None outside of one.
    """
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
    stream = jax.random.fold_in(key, int(purpose))
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(stream, first + jnp.arange(count))
