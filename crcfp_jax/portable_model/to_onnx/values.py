"""Arrays of the graph, and the order in which their axes are stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from crcfp_jax.models.layers.padding import Length
from crcfp_jax.portable_model.to_onnx.graph import Graph
from crcfp_jax.portable_model.to_onnx.trace import Step, Variable


@dataclass(frozen=True)
class Value:
    """A value of the graph.

    ONNX's convolutions want channels first, the networks have them last. So no value is transposed before an
    operation asks for another order.
    """

    name: str
    shape: tuple[Length, ...]  # as in the program
    dtype: np.dtype
    order: tuple[int, ...]  # the program's axis of each stored axis

    def place(self, axis: int) -> int:
        """Where an axis of the program is stored."""
        return self.order.index(axis)

    @property
    def stored(self) -> tuple[Length, ...]:
        """The shape as stored."""
        return tuple(self.shape[axis] for axis in self.order)


Operand = Value | np.ndarray


@dataclass
class Linear:
    """A convolution, stored with channels first, that a factor or a term of its output may still become part of."""

    node: onnx.NodeProto
    kernel: np.ndarray  # float64 [output, ...]
    bias: np.ndarray  # float64 [output]


@dataclass
class Builder:
    """What the operations build with."""

    graph: Graph
    uses: dict[Variable, int]
    linear: dict[str, Linear] = field(default_factory=dict)  # by the name of the output

    def value(self, name: str, output: Variable, order: Sequence[int] | None = None) -> Value:
        """A node's output."""
        order = range(len(output.shape)) if order is None else order
        return Value(name, output.shape, output.dtype, tuple(order))

    def constant(self, array: np.ndarray) -> Value:
        """An array as a value of the graph."""
        return Value(self.graph.constant(array), array.shape, array.dtype, tuple(range(array.ndim)))

    def ordered(self, operand: Operand, order: Sequence[int]) -> str:
        """The operand with its axes stored in this order; one without axes stays without."""
        order = tuple(order)
        if isinstance(operand, np.ndarray):
            return self.graph.constant(operand.transpose(order) if operand.ndim else operand)
        if not operand.shape or operand.order == order:
            return operand.name
        return self.graph.node("Transpose", [operand.name], perm=[operand.place(axis) for axis in order])

    def plain(self, operand: Operand) -> str:
        """The operand with its axes stored as in the program."""
        rank = operand.ndim if isinstance(operand, np.ndarray) else len(operand.shape)
        return self.ordered(operand, range(rank))

    def add_linear(self, node: str, kernel: np.ndarray) -> None:
        """Notes a convolution, the last node, whose kernel and bias come with `finish`."""
        self.linear[node] = Linear(self.graph.nodes[-1], kernel.astype(np.float64), np.zeros(kernel.shape[0]))

    def count_aliases(self, step: Step, inputs: Sequence[Operand], results: Sequence[Operand]) -> None:
        """Counts the other uses of an input as uses of a result that is the same array under another name.

        What becomes of a node for the sake of one use must not change the others.
        """
        for atom, operand in zip(step.inputs, inputs, strict=True):
            for output, result in zip(step.outputs, results, strict=True):
                if isinstance(operand, Value) and isinstance(result, Value) and operand.name == result.name:
                    self.uses[output] += self.uses[atom] - 1

    def finish(self) -> None:
        """Gives every convolution its kernel and its bias."""
        for linear in self.linear.values():
            linear.node.input.append(self.graph.constant(linear.kernel, np.float32))
            linear.node.input.append(self.graph.constant(linear.bias, np.float32))
