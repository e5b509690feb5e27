"""Operations on shapes: what moves, repeats, cuts, joins and adds up."""

from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.layers.padding import Length
from crcfp_jax.portable_model.to_onnx.trace import Step
from crcfp_jax.portable_model.to_onnx.values import Builder, Operand, Value


def length_as_value(build: Builder, step: Step) -> Value:
    """A symbolic length as a number."""
    scalar = build.graph.node("Squeeze", [build.graph.length(step.params["dim"])])
    return build.value(build.graph.node("Cast", [scalar], to=TensorProto.INT32), step.outputs[0])


def transpose(build: Builder, step: Step, operand: Value) -> Value:
    """Axes in another order: nothing is moved until an operation asks for it."""
    renamed = {old: new for new, old in enumerate(step.params["permutation"])}
    return build.value(operand.name, step.outputs[0], [renamed[axis] for axis in operand.order])


def reshape(build: Builder, step: Step, operand: Value) -> Value:
    """Another shape of the same values; an axis that is only split stays in its place."""
    output = step.outputs[0]
    groups = _split_axes(operand.shape, output.shape)
    if groups is None:
        name = build.graph.node("Reshape", [build.plain(operand), build.graph.lengths(output.shape)])
        return build.value(name, output)
    order = [axis for old in operand.order for axis in groups[old]]
    lengths = build.graph.lengths([output.shape[axis] for axis in order])
    return build.value(build.graph.node("Reshape", [operand.name, lengths]), output, order)


def _split_axes(old: Sequence[Length], new: Sequence[Length]) -> list[list[int]] | None:
    """The new axes that each old axis becomes; None where old axes are joined."""
    groups, place = [], 0
    for length in old:
        group, product = [], 1
        while place < len(new) and (not group or product != length):
            product = product * new[place]
            group.append(place)
            place += 1
        if product != length:
            return None
        groups.append(group)
    if any(new[axis] != 1 for axis in range(place, len(new))):
        return None
    if groups:
        groups[-1].extend(range(place, len(new)))
    return groups if groups else None


def squeeze(build: Builder, step: Step, operand: Value) -> Value:
    """Without some axes of length 1."""
    removed = step.params["dimensions"]
    places = build.graph.constant([operand.place(axis) for axis in removed], np.int64)
    return build.value(
        build.graph.node("Squeeze", [operand.name, places]), step.outputs[0], _without(operand.order, removed)
    )


def _without(order: Sequence[int], removed: Sequence[int]) -> list[int]:
    kept = sorted(set(order) - set(removed))
    return [kept.index(axis) for axis in order if axis in kept]


def broadcast(build: Builder, step: Step, operand: Operand) -> Value:
    """New axes, and axes of length 1 repeated."""
    value = build.constant(operand) if isinstance(operand, np.ndarray) else operand
    output, kept = step.outputs[0], step.params["broadcast_dimensions"]
    added = [axis for axis in range(len(output.shape)) if axis not in kept]
    order, name = [*added, *(kept[axis] for axis in value.order)], value.name
    if added:
        name = build.graph.node("Unsqueeze", [name, build.graph.constant(range(len(added)), np.int64)])
    lengths = dict(zip(kept, value.shape, strict=True))
    if any(lengths.get(axis, 1) != length for axis, length in enumerate(output.shape)):
        name = build.graph.node("Expand", [name, build.graph.lengths([output.shape[axis] for axis in order])])
    return build.value(name, output, order)


def concatenate(build: Builder, step: Step, *operands: Operand) -> Value:
    """Operands one after the other along an axis."""
    order = next(operand.order for operand in operands if isinstance(operand, Value))
    inputs = [build.ordered(operand, order) for operand in operands]
    name = build.graph.node("Concat", inputs, axis=order.index(step.params["dimension"]))
    return build.value(name, step.outputs[0], order)


def stack(build: Builder, step: Step, *operands: Operand) -> Value:
    """Operands one after the other along a new axis."""
    axis, order = step.params["axis"], range(len(step.outputs[0].shape) - 1)
    place = build.graph.constant([axis], np.int64)
    parts = [build.graph.node("Unsqueeze", [build.ordered(operand, order), place]) for operand in operands]
    return build.value(build.graph.node("Concat", parts, axis=axis), step.outputs[0])


def tile(build: Builder, step: Step, operand: Value) -> Value:
    """The operand several times along each axis."""
    times = build.graph.constant([step.params["reps"][axis] for axis in operand.order], np.int64)
    return build.value(build.graph.node("Tile", [operand.name, times]), step.outputs[0], operand.order)


def cut(build: Builder, step: Step, operand: Value) -> Value:
    """From start to limit, every so many."""
    start, limit = step.params["start_indices"], step.params["limit_indices"]
    strides = step.params["strides"] or (1,) * len(start)
    axes = range(len(start))
    changed = [axis for axis in axes if (start[axis], limit[axis], strides[axis]) != (0, operand.shape[axis], 1)]
    if not changed:
        return operand
    inputs = [
        build.graph.lengths([start[axis] for axis in changed]),
        build.graph.lengths([limit[axis] for axis in changed]),
        build.graph.constant([operand.place(axis) for axis in changed], np.int64),
        build.graph.constant([strides[axis] for axis in changed], np.int64),
    ]
    return build.value(build.graph.node("Slice", [operand.name, *inputs]), step.outputs[0], operand.order)


def split(build: Builder, step: Step, operand: Value) -> list[Value]:
    """Pieces along an axis."""
    place, results, start = operand.place(step.params["axis"]), [], 0
    for length, output in zip(step.params["sizes"], step.outputs, strict=True):
        ends = [build.graph.lengths([end]) for end in (start, start + length)]
        name = build.graph.node("Slice", [operand.name, *ends, build.graph.constant([place], np.int64)])
        results.append(build.value(name, output, operand.order))
        start = start + length
    return results


def pad(build: Builder, step: Step, operand: Value, filling: Operand) -> Value:
    """Values around the operand; negative numbers cut off."""
    borders = [step.params["padding_config"][axis] for axis in operand.order]
    if any(between != 0 for _, _, between in borders) or isinstance(filling, Value):
        raise UserError("--onnx: the network pads between values or with values that it computes: no form in ONNX yet")
    lengths = build.graph.lengths([low for low, _, _ in borders] + [high for _, high, _ in borders])
    inputs = [operand.name, lengths, build.graph.constant(filling, operand.dtype)]
    return build.value(build.graph.node("Pad", inputs), step.outputs[0], operand.order)


def reduce(kind: str) -> Callable[..., Value]:
    """Sum, greatest or least along axes."""

    def emit(build: Builder, step: Step, operand: Value) -> Value:
        axes = step.params["axes"]
        places = build.graph.constant(sorted(operand.place(axis) for axis in axes), np.int64)
        name = build.graph.node(kind, [operand.name, places], keepdims=0)
        return build.value(name, step.outputs[0], _without(operand.order, axes))

    return emit


OPERATIONS = {
    "broadcast_in_dim": broadcast,
    "concatenate": concatenate,
    "dim_as_value": length_as_value,
    "pad": pad,
    "reduce_max": reduce("ReduceMax"),
    "reduce_min": reduce("ReduceMin"),
    "reduce_sum": reduce("ReduceSum"),
    "reshape": reshape,
    "slice": cut,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": tile,
    "transpose": transpose,
}
