"""Operations on neighbourhoods and products: convolution, pooling, resizing, matrix products."""

import math

import numpy as np

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.layers.resize import resize_bilinear
from crcfp_jax.portable_model.to_onnx.trace import Step
from crcfp_jax.portable_model.to_onnx.values import Builder, Operand, Value


def convolution(build: Builder, step: Step, images: Value, kernel: Operand) -> Value:
    """A convolution with a constant kernel."""
    params, numbers = step.params, step.params["dimension_numbers"]
    if isinstance(kernel, Value):
        raise UserError("--onnx: the network computes the kernel of a convolution: no form in ONNX yet")
    if params["batch_group_count"] != 1 or any(factor != 1 for factor in params["lhs_dilation"]):
        raise UserError("--onnx: the network has a transposed convolution: no form in ONNX yet")
    sides = params["padding"]
    name = build.graph.node(
        "Conv",
        [build.ordered(images, numbers.lhs_spec)],
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        pads=[before for before, _ in sides] + [behind for _, behind in sides],
        group=params["feature_group_count"],
    )
    build.add_linear(name, kernel.transpose(numbers.rhs_spec))
    return build.value(name, step.outputs[0], numbers.out_spec)


def max_pool(build: Builder, step: Step, operand: Value) -> Value:
    """The greatest value of each window; borders never win."""
    params = step.params
    windows, sides = params["window_dimensions"], params["padding"]
    still = [axis for axis, length in enumerate(windows) if length == 1]
    moving = [axis for axis, length in enumerate(windows) if length != 1]
    if len(still) != 2 or any(factor != 1 for factor in params["base_dilation"]):
        raise UserError("--onnx: pooling over other axes than rows and columns has no form in ONNX yet")
    name = build.graph.node(
        "MaxPool",
        [build.ordered(operand, [*still, *moving])],
        kernel_shape=[windows[axis] for axis in moving],
        strides=[params["window_strides"][axis] for axis in moving],
        dilations=[params["window_dilation"][axis] for axis in moving],
        pads=[sides[axis][0] for axis in moving] + [sides[axis][1] for axis in moving],
    )
    return build.value(name, step.outputs[0], [*still, *moving])


def resize(build: Builder, step: Step, operand: Value) -> Value:
    """Bilinear interpolation of [b, h, w, c] with half-pixel centres."""
    output, order = step.outputs[0], (0, 3, 1, 2)
    if len(output.shape) != 4:
        raise UserError(f"--onnx: {resize_bilinear.__name__} of {len(output.shape)} axes has no form in ONNX yet")
    lengths = build.graph.lengths([output.shape[axis] for axis in order])
    settings = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    name = build.graph.node("Resize", [build.ordered(operand, order), "", "", lengths], **settings)
    return build.value(name, output, order)


def product(build: Builder, step: Step, left: Operand, right: Operand) -> Value:
    """A matrix product over any axes; of channels with constant numbers a convolution of one pixel."""
    (left_summed, right_summed), (left_batch, right_batch) = step.params["dimension_numbers"]
    axes = range(len(step.outputs[0].shape))
    batch = list(axes[: len(left_batch)])
    left_rank, right_rank = (operand.ndim if isinstance(operand, np.ndarray) else len(operand.shape) for operand in
                             (left, right))  # fmt: skip
    of_left = list(axes[len(batch) : left_rank - len(left_summed)])  # axes of the output
    of_right = list(axes[len(batch) + len(of_left) :])
    if isinstance(left, np.ndarray):  # the constant operand comes second
        left, right, of_left, of_right = right, left, of_right, of_left
        left_summed, right_summed, left_batch, right_batch = right_summed, left_summed, right_batch, left_batch
        left_rank, right_rank = right_rank, left_rank
    left_free = [axis for axis in range(left_rank) if axis not in (*left_summed, *left_batch)]
    right_free = [axis for axis in range(right_rank) if axis not in (*right_summed, *right_batch)]
    order = [*batch, *of_left, *of_right]
    output, graph = step.outputs[0], build.graph
    if isinstance(right, np.ndarray) and not batch and len(left_summed) == 1:
        matrix = right.transpose([*right_summed, *right_free]).reshape(right.shape[right_summed[0]], -1)
        if left_rank == 4 and left.place(left_summed[0]) == 1:
            return _pixelwise(build, step, left, matrix, order, [of_left.copy(), of_right])
        name = graph.node("MatMul", [build.ordered(left, [*left_free, *left_summed]), graph.constant(matrix)])
        rows = [left.shape[axis] for axis in left_free]
        columns = [right.shape[axis] for axis in right_free]
    else:

        def stored(operand: Operand, *groups: list[int]) -> tuple[str, list[list]]:
            lengths = [[operand.shape[axis] for axis in group] for group in groups]
            name = build.ordered(operand, [axis for group in groups for axis in group])
            if any(len(group) != 1 for group in groups[1:]):
                shape = [*lengths[0], *(math.prod(group) for group in lengths[1:])]
                name = graph.node("Reshape", [name, graph.lengths(shape)])
            return name, lengths

        first, (outer, rows, _) = stored(left, list(left_batch), left_free, list(left_summed))
        second, (_, _, columns) = stored(right, list(right_batch), list(right_summed), right_free)
        name = graph.node("MatMul", [first, second])
        if len(rows) == 1 and len(columns) == 1:
            return build.value(name, output, order)
        rows = [*outer, *rows]
    if len(columns) != 1 or len(rows) + 1 != len(order) or isinstance(right, Value):
        name = graph.node("Reshape", [name, graph.lengths([*rows, *columns])])
    return build.value(name, output, order)


def _pixelwise(
    build: Builder, step: Step, images: Value, matrix: np.ndarray, order: list[int], groups: list[list[int]]
) -> Value:
    """A product over the channels of images that are stored with channels first."""
    output, (of_images, of_matrix) = step.outputs[0], groups
    name = build.graph.node("Conv", [images.name])
    build.add_linear(name, matrix.T[:, :, None, None])
    free = [axis for axis in range(4) if axis != images.order[1]]  # of the images, in the program's order
    renamed = dict(zip(free, of_images, strict=True))
    first, _, *rest = images.order
    order = [renamed[first], *of_matrix, *(renamed[axis] for axis in rest)]
    if len(of_matrix) != 1:
        name = build.graph.node("Reshape", [name, build.graph.lengths([output.shape[axis] for axis in order])])
    return build.value(name, output, order)


OPERATIONS = {
    "conv_general_dilated": convolution,
    "dot_general": product,
    "reduce_window_max": max_pool,
    resize_bilinear.__name__: resize,
}
