"""Random keys that depend on the seed, the step, the purpose and the example, never on the machine."""

import enum
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from crcfp_jax.methods.systems.definition import SOURCES, Stream


class Purpose(enum.IntEnum):
    """What a key is drawn for: every purpose has its own stream of random numbers.

    0 to 3 are the first draws of `SOURCES`; the numbers from `BANK` on belong to the maps that are pushed; those from
    `FURTHER` on to further draws of the sources; those from `CUTMIX` on to the streams of a method.
    """

    PERTURBATION = 4
    BANK = 5
    FURTHER = 100
    DROPOUT = 900
    CUTMIX = 1000


def draw_purposes(streams: Iterable[Stream]) -> dict[str, int]:
    """Stream -> the purpose of its augmentation's keys; streams of the same source get draws of their own, in order.

    A stream that is not augmented has none, and takes none from the others.
    """
    drawn, purposes = dict.fromkeys(SOURCES, 0), {}
    for stream in streams:
        if stream.augmentation == "none":
            continue
        number, source = drawn[stream.source], SOURCES.index(stream.source)
        purposes[stream.name] = source if not number else Purpose.FURTHER + len(SOURCES) * (number - 1) + source
        drawn[stream.source] += 1
    return purposes


def example_keys(key: Key[Array, ""], purpose: int, count: int, axis_name: str | None) -> Key[Array, " {count}"]:
    """One key per example of this replica, folded with the example's position in the global batch.

    Args:
        key: the step's key.
        purpose: the stream of random numbers, of `Purpose` or `draw_purposes`.
        count: examples on this replica.
        axis_name: the replica axis, or None outside of one.
    """
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
    stream = jax.random.fold_in(key, int(purpose))
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(stream, first + jnp.arange(count))
