"""An ONNX graph that grows node by node."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.layers.padding import Length

OPSET = 18  # of onnxruntime 1.14 (2023) and newer
IR_VERSION = 8


class Graph:
    """Nodes, constants and computed lengths.

    Attributes:
        nodes: in order; a node may be changed until the model is made.
    """

    def __init__(self, input_name: str, input_shape: Sequence[Length]):
        """Args:
        input_name: of the input that the lengths are read from.
        input_shape: its lengths; those that are symbols are known when the model runs.
        """
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple, str] = {}
        self._weights: list[onnx.TensorProto] = []
        self._input = input_name
        self._axes = {str(length): axis for axis, length in enumerate(input_shape) if not isinstance(length, int)}
        self._lengths: dict[str, str] = {}

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds an operation of one output; returns the output's name."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Adds an array; equal arrays are kept once."""
        array = np.asarray(values, dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._weights)}"
            self._weights.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def lengths(self, lengths: Sequence[Length]) -> str:
        """A list of lengths, int64: a shape, or the ends of a slice."""
        if all(isinstance(length, int) for length in lengths):
            return self.constant(lengths, np.int64)
        key = str(tuple(map(str, lengths)))
        if key not in self._lengths:
            self._lengths[key] = self.node("Concat", [self.length(length) for length in lengths], axis=0)
        return self._lengths[key]

    def length(self, length: Length) -> str:
        """A list of one length. The symbolic expression is read in the notation of `jax.export.symbolic_shape`."""
        if isinstance(length, int):
            return self.constant([length], np.int64)
        return self._evaluate(ast.parse(str(length).replace("^", "**"), mode="eval").body)

    def _evaluate(self, expression: ast.expr) -> str:
        text = ast.unparse(expression)
        if text not in self._lengths:
            self._lengths[text] = self._compute(expression, text)
        return self._lengths[text]

    def _compute(self, expression: ast.expr, text: str) -> str:
        match expression:
            case ast.Constant(value=int(value)):
                return self.constant([value], np.int64)
            case ast.Name(id=symbol) if symbol in self._axes:
                axis = self._axes[symbol]
                return self.node("Shape", [self._input], start=axis, end=axis + 1)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.node("Neg", [self._evaluate(operand)])
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(power))) if power > 0:
                base = self._evaluate(left)
                result = base
                for _ in range(power - 1):
                    result = self.node("Mul", [result, base])
                return result
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as operation, right=right):
                return self.node(type(operation).__name__[:3], [self._evaluate(left), self._evaluate(right)])
            case ast.Call(func=ast.Name(id="max" | "min" | "mod" as name), args=[left, right]):
                return self.node(name.capitalize(), [self._evaluate(left), self._evaluate(right)])
            case ast.Call(func=ast.Name(id="floordiv"), args=[left, right]):  # ONNX rounds towards 0
                number, divisor = self._evaluate(left), self._evaluate(right)
                rest = self.node("Mod", [number, divisor])
                return self.node("Div", [self.node("Sub", [number, rest]), divisor])
        raise UserError(f"--onnx: the length {text} in the network has no form in ONNX yet")

    def model(
        self, input_type: Any, input_shape: Sequence[Any], outputs: Mapping[str, tuple[str, Sequence[Any]]],
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:  # fmt: skip
        """The finished and checked model.

        Args:
            input_type: of the input's values.
            input_shape: with names for the lengths that are free.
            outputs: values and shapes of the float32 outputs, by name.
            metadata: stored with the model; its 'name' is the graph's, too.
        """
        for name, (value, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        elements = helper.np_dtype_to_tensor_dtype(np.dtype(input_type))
        graph = helper.make_graph(
            self.nodes,
            metadata["name"],
            [helper.make_tensor_value_info(self._input, elements, input_shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "crcfp-jax"
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model
