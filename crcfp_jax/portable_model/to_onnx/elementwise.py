"""Operations on each value by itself."""

from collections.abc import Callable, Sequence

import numpy as np
from onnx import helper

from crcfp_jax.common.errors import UserError
from crcfp_jax.portable_model.to_onnx.trace import Step
from crcfp_jax.portable_model.to_onnx.values import Builder, Linear, Operand, Value


def _common_order(step: Step, operands: tuple[Operand, ...]) -> tuple[int, ...]:
    """That of the first operand as large as the result, else of the first one that has axes."""
    values = [operand for operand in operands if isinstance(operand, Value) and operand.shape]
    largest = [value for value in values if value.shape == step.outputs[0].shape]
    return next((value.order for value in largest + values), tuple(range(len(step.outputs[0].shape))))


def apply(build: Builder, step: Step, kind: str, *operands: Operand) -> Value:
    """A node of the operands, brought to one order of axes."""
    order = _common_order(step, operands)
    name = build.graph.node(kind, [build.ordered(operand, order) for operand in operands])
    return build.value(name, step.outputs[0], order)


def simple(kind: str) -> Callable[..., Value]:
    """An operation that ONNX has under another name."""

    def emit(build: Builder, step: Step, *operands: Operand) -> Value:
        return apply(build, step, kind, *operands)

    return emit


def chain(*kinds: str) -> Callable[..., Value]:
    """Several operations of one operand, one after the other."""

    def emit(build: Builder, step: Step, operand: Operand) -> Value:
        for kind in kinds:
            operand = apply(build, step, kind, operand)
        return operand

    return emit


def same(build: Builder, step: Step, *operands: Operand) -> Sequence[Operand]:
    """Nothing is done."""
    return operands


def square(build: Builder, step: Step, operand: Operand) -> Value:
    """The operand times itself."""
    return apply(build, step, "Mul", operand, operand)


def power(build: Builder, step: Step, operand: Operand) -> Value:
    """The operand to a whole power."""
    exponent = step.params["y"]
    if exponent == 2:
        return square(build, step, operand)
    return apply(build, step, "Pow", operand, np.asarray(exponent, step.outputs[0].dtype))


def complement(build: Builder, step: Step, operand: Operand) -> Value:
    """1 - erf(x)."""
    return apply(build, step, "Sub", np.ones((), step.outputs[0].dtype), apply(build, step, "Erf", operand))


def negated(kind: str) -> Callable[..., Value]:
    """The opposite of a comparison."""

    def emit(build: Builder, step: Step, *operands: Operand) -> Value:
        return apply(build, step, "Not", apply(build, step, kind, *operands))

    return emit


def choose(build: Builder, step: Step, condition: Operand, *cases: Operand) -> Value:
    """The second case where the condition holds, the first elsewhere."""
    if len(cases) != 2 or condition.dtype != bool:
        raise UserError("--onnx: the network chooses between cases by their number: no form in ONNX yet")
    return apply(build, step, "Where", condition, *reversed(cases))


def clamp(build: Builder, step: Step, least: Operand, operand: Operand, most: Operand) -> Value:
    """Values within bounds."""
    return apply(build, step, "Min", apply(build, step, "Max", operand, least), most)


def convert(build: Builder, step: Step, operand: Value) -> Value:
    """Values of another type."""
    output = step.outputs[0]
    if operand.dtype == output.dtype:
        return operand
    name = build.graph.node("Cast", [operand.name], to=helper.np_dtype_to_tensor_dtype(output.dtype))
    return build.value(name, output, operand.order)


def maximum(build: Builder, step: Step, *operands: Operand) -> Operand:
    """The greater one; a ReLU where one is 0, which runtimes make part of the convolution before."""
    zero = [isinstance(operand, np.ndarray) and operand.size == 1 and operand.item() == 0 for operand in operands]
    if step.outputs[0].dtype == np.float32 and any(zero):
        return apply(build, step, "Relu", operands[zero.index(False)])
    if isinstance(operands[0], np.ndarray) and np.isneginf(operands[0]).all():  # of a softmax
        return operands[1]
    return apply(build, step, "Max", *operands)


def minimum(build: Builder, step: Step, *operands: Operand) -> Value:
    """The lesser one; of a ReLU and a number a clip, which runtimes make part of the convolution before."""
    first, second = sorted(operands, key=lambda operand: isinstance(operand, np.ndarray))
    node = build.graph.nodes[-1]
    if isinstance(second, np.ndarray) and second.size == 1 and node.op_type == "Relu" and node.output[0] == first.name:
        used_once = all(build.uses[atom] == 1 for atom in step.inputs if not isinstance(atom, np.ndarray))
        if used_once:
            del build.graph.nodes[-1]
            bounds = [build.graph.constant(number, np.float32) for number in (0, second.item())]
            return build.value(build.graph.node("Clip", [node.input[0], *bounds]), step.outputs[0], first.order)
    return apply(build, step, "Min", *operands)


def arithmetic(kind: str) -> Callable[..., Value]:
    """A sum, difference, product or quotient: part of the convolution before where the other operand is constant."""

    def emit(build: Builder, step: Step, left: Operand, right: Operand) -> Value:
        for atom, value, other in zip(step.inputs, (left, right), (right, left), strict=True):
            linear = build.linear.get(value.name) if isinstance(value, Value) else None
            if linear is None or not isinstance(other, np.ndarray) or build.uses[atom] != 1:
                continue
            numbers = _per_channel(other, value.order[1], linear.bias.shape)
            if numbers is not None and not (kind == "Div" and value is right):
                _absorb(linear, kind, numbers, constant_first=value is right)
                return build.value(value.name, step.outputs[0], value.order)
        return apply(build, step, kind, left, right)

    return emit


def _per_channel(array: np.ndarray, channel: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """A number for each output of a convolution, if the array has no axes but that of the channels."""
    if any(length != 1 for axis, length in enumerate(array.shape) if axis != channel):
        return None
    return np.broadcast_to(array.reshape(-1).astype(np.float64), shape)


def _absorb(linear: Linear, kind: str, numbers: np.ndarray, *, constant_first: bool) -> None:
    if kind == "Sub" and constant_first:
        linear.kernel, linear.bias = -linear.kernel, numbers - linear.bias
    elif kind in ("Add", "Sub"):
        linear.bias = linear.bias + (numbers if kind == "Add" else -numbers)
    else:
        factor = numbers if kind == "Mul" else 1 / numbers
        linear.kernel = linear.kernel * factor.reshape(-1, *(1,) * (linear.kernel.ndim - 1))
        linear.bias = linear.bias * factor


OPERATIONS = {
    "abs": simple("Abs"),
    "add": arithmetic("Add"),
    "and": simple("And"),
    "ceil": simple("Ceil"),
    "clamp": clamp,
    "convert_element_type": convert,
    "copy": same,
    "copy_p": same,
    "cos": simple("Cos"),
    "div": arithmetic("Div"),
    "eq": simple("Equal"),
    "erf": simple("Erf"),
    "erfc": complement,
    "exp": simple("Exp"),
    "floor": simple("Floor"),
    "ge": simple("GreaterOrEqual"),
    "gt": simple("Greater"),
    "integer_pow": power,
    "le": simple("LessOrEqual"),
    "log": simple("Log"),
    "logistic": simple("Sigmoid"),
    "lt": simple("Less"),
    "max": maximum,
    "min": minimum,
    "mul": arithmetic("Mul"),
    "ne": negated("Equal"),
    "neg": simple("Neg"),
    "not": simple("Not"),
    "optimization_barrier": same,
    "or": simple("Or"),
    "pow": simple("Pow"),
    "rsqrt": chain("Sqrt", "Reciprocal"),
    "select_n": choose,
    "sign": simple("Sign"),
    "sin": simple("Sin"),
    "sqrt": simple("Sqrt"),
    "square": square,
    "stop_gradient": same,
    "sub": arithmetic("Sub"),
    "tanh": simple("Tanh"),
}
