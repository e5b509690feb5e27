"""What the devices do with the results of windows: add them up, divide, bring them to the output's pixels, decide.

A band is a part of the canvas at its full width. Each device holds one, with the windows that it has computed: float32
[height, width * channels] for each result of the network, and the sum of their weights.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float32, Int32

from data_pipelines.tiling import blending_weight

AXIS = "window"
WEIGHT = "weight"
UNSEEN = 255  # class number of pixels that no window covers
MOVED = 16  # rows of a band that are moved at a time

Taps = tuple[Int32[Array, "_ _"], Float32[Array, "_ _"]]  # source pixels of each output pixel, and their weights
Totals = dict[str, Any]  # of each result: float32 [devices, height, width * channels]


def window_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """Devices of this process that share the windows of a batch."""
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def empty_band(mesh: Mesh, height: int, width: int, channels: Mapping[str, int]) -> Totals:
    """A band without windows; `channels` of each result."""
    return _empty_band(mesh, height, width, tuple(channels.items()))()


@functools.cache
def _empty_band(mesh: Mesh, height: int, width: int, channels: tuple[tuple[str, int], ...]) -> Callable[[], Totals]:
    def make() -> Totals:
        return {
            name: jnp.zeros((mesh.size, height, width * count), jnp.float32) for name, count in (*channels, (WEIGHT, 1))
        }

    return jax.jit(make, out_shardings=NamedSharding(mesh, PartitionSpec(AXIS)))


@functools.cache
def adder(mesh: Mesh) -> Callable[[Totals, Mapping[str, Any], Any], Totals]:
    """What adds a batch of windows to a band, in their order.

    Returns:
        A function of the band, which is used up; the results of n windows, float32 [n, side, side] or [n, side, side,
        channels], shared among the devices; and of their places, int32 [n, 3]: top and left in the band, and 1, or 0
        where a window is not to be added.
    """
    split = PartitionSpec(AXIS)
    add = jax.shard_map(_add, mesh=mesh, in_specs=(split, split, split), out_specs=split, check_vma=False)
    return jax.jit(add, donate_argnums=0)


def _add(totals: Totals, results: Mapping[str, Any], places: Int32[Array, "n 3"]) -> Totals:
    count, side = next(iter(results.values())).shape[:2]
    width = totals[WEIGHT].shape[2]
    weight = jnp.asarray(blending_weight(side))

    def body(number: Array, totals: Totals) -> Totals:
        top, left, valid = places[number]
        share = weight * valid.astype(jnp.float32)
        added = {}
        for name, total in totals.items():
            channels = total.shape[2] // width
            part = jnp.repeat(share, channels, axis=1)
            if name != WEIGHT:
                part = results[name][number].reshape(side, side * channels) * part
            place = (0, top, left * channels)
            so_far = lax.dynamic_slice(total, place, (1, *part.shape))
            added[name] = lax.dynamic_update_slice(total, so_far + part[None], place)
        return added

    return lax.fori_loop(0, count, body, totals)


@functools.cache
def settler(mesh: Mesh, rows: int, gives: tuple[str, ...]) -> Callable[..., tuple[Any, dict[str, Array]]]:
    """What makes the output of the first rows of a band.

    Args:
        mesh: the devices.
        rows: of the band.
        gives: what is made of them, of 'classes' (uint8 [n, width]; UNSEEN where no window is), 'probabilities'
            (float32 [n, width, c], adding up to 1; 0 where no window is), 'probabilities8' (the same, uint8, 255 = 1)
            and 'uncertainty16' (uint16 [n, width], 65535 = 1).

    Returns:
        A function of the band; of the rows of the canvas kept from the last time; and of the taps down and across that
        bring the canvas to the output's pixels; all but the band are None where these are the canvas's. It returns the
        rows to be kept, and what it gives.
    """

    def settle(totals: Totals, kept: Any, down: Taps | None, across: Taps | None) -> tuple[Any, dict[str, Array]]:
        first = {name: total[0, :rows] for name, total in totals.items()}
        if mesh.size > 1:
            first = lax.psum(first, AXIS)
        weight = first.pop(WEIGHT)
        share = (1 / jnp.where(weight > 0, weight, 1))[..., None]
        values = {name: total.reshape(*weight.shape, -1) * share for name, total in first.items()}
        if kept is not None:
            joined = {name: jnp.concatenate([kept[name], part]) for name, part in values.items()}
            kept = {name: part[rows:] for name, part in joined.items()}
            values = {name: _resample(part, down, across) for name, part in joined.items()}
        return kept, _settle(values, gives)

    everywhere = PartitionSpec()
    specs = {"in_specs": (PartitionSpec(AXIS), everywhere, everywhere, everywhere), "out_specs": everywhere}
    return jax.jit(jax.shard_map(settle, mesh=mesh, **specs, check_vma=False))


@functools.cache
def mover(mesh: Mesh, rows: int) -> Callable[[Totals], Totals]:
    """What moves a band, which is used up, down the canvas by some rows.

    It is a program of its own, as one that reads the rows too would copy the band. Some rows at a time are moved in
    place: on a CPU in a quarter of the time that a whole band at once takes.
    """

    def move(total: Float32[Array, "1 height columns"]) -> Float32[Array, "1 height columns"]:
        size, below = total.shape, total.shape[1] - rows

        def move_some(first: Array | int, count: int, total: Array) -> Array:
            part = lax.dynamic_slice(total, (0, rows + first, 0), (1, count, size[2]))
            return lax.dynamic_update_slice(total, part, (0, first, 0))

        whole, rest = divmod(below, MOVED)
        total = lax.fori_loop(0, whole, lambda number, total: move_some(number * MOVED, MOVED, total), total)
        if rest:
            total = move_some(whole * MOVED, rest, total)
        return lax.dynamic_update_slice(total, jnp.zeros((1, rows, size[2]), total.dtype), (0, below, 0))

    split = PartitionSpec(AXIS)
    moved = jax.shard_map(
        lambda totals: {name: move(total) for name, total in totals.items()},
        mesh=mesh, in_specs=split, out_specs=split, check_vma=False,
    )  # fmt: skip
    return jax.jit(moved, donate_argnums=0)


def _resample(part: Float32[Array, "rows width c"], down: Taps, across: Taps) -> Float32[Array, "n m c"]:
    return _weighted(_weighted(part, down, 0), across, 1)


def _weighted(part: Float32[Array, "rows width c"], taps: Taps, axis: int) -> Float32[Array, "_ _ c"]:
    """Sums over source rows or columns in their order, as `data_pipelines.reading.resample` takes them."""
    index, weight = taps
    total = 0.0
    for number in range(index.shape[1]):
        place = (slice(None),) * axis + (index[:, number],)
        share = weight[:, number].reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        total = total + part.at[place].get(mode="promise_in_bounds") * share
    return total


def _settle(values: Mapping[str, Float32[Array, "n m _"]], gives: tuple[str, ...]) -> dict[str, Array]:
    # Class by class: operations along the innermost axis, which is short, are slow on CPUs.
    classes = jnp.split(values["probabilities"], values["probabilities"].shape[-1], axis=-1)
    total = sum(classes)
    seen = total > 0
    # Where pixels that were looked at meet others, an output pixel may be a mean of both.
    share = 1 / jnp.where(seen, total, 1)
    given = {}
    for name in gives:
        if name == "classes":  # of the values as they are: division may round two of them to the same number
            given[name] = jnp.where(seen, _first_greatest(classes), jnp.uint8(UNSEEN))[..., 0]
        elif name == "probabilities":
            given[name] = values["probabilities"] * share
        elif name == "probabilities8":
            given[name] = _whole(values["probabilities"] * share, jnp.uint8)
        elif name == "uncertainty16":
            given[name] = _whole(values["uncertainty"] * share, jnp.uint16)[..., 0]
        else:
            raise ValueError(f"nothing gives {name}")
    return given


def _first_greatest(values: Sequence[Array]) -> Array:
    """The place of the greatest of some arrays, the first of equal ones: uint8."""
    best = values[0]
    place = jnp.zeros(best.shape, jnp.uint8)
    for number, other in enumerate(values[1:], start=1):
        better = other > best
        best = jnp.where(better, other, best)
        place = jnp.where(better, jnp.uint8(number), place)
    return place


def _whole(values: Float32[Array, "..."], dtype: Any) -> Array:
    """Values from 0 to 1 as whole numbers from 0 to the type's greatest."""
    most = jnp.iinfo(dtype).max
    return jnp.clip(jnp.rint(values * most), 0, most).astype(dtype)
