"""The layers of the network as ONNX nodes, channels first."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from crcfp_jax.models.layers.normalisation import EPSILON, GROUP_SIZE

OPSET = 18  # of onnxruntime 1.14 (2023) and newer
IR_VERSION = 8


class Layers:
    """A graph that grows node by node; layers are named by the path of their parameters, as 'backbone/conv1'."""

    def __init__(self, params: Mapping[str, Any], batch_stats: Mapping[str, Any]):
        self.params, self._stats = params, batch_stats
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._outputs: list[str] = []

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds an operation of one output; returns the output's name."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def output(self, name: str, value: str) -> None:
        """Makes a value an output of the graph."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(name)

    def constant(self, values: Any, shape: tuple[int, ...] = ()) -> str:
        """Adds float32 values."""
        return self._add(np.asarray(values, np.float32).reshape(shape))

    def integers(self, values: Sequence[int]) -> str:
        """Adds a list of 64-bit integers: axes and shapes."""
        return self._add(np.asarray(values, np.int64))

    def _add(self, array: np.ndarray, name: str | None = None) -> str:
        name = name or f"constant_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def relu(self, x: str) -> str:
        """The positive part."""
        return self.node("Relu", [x])

    def convolution(self, x: str, path: str, normalisation: str, *, stride: int = 1, dilation: int = 1) -> str:
        """A convolution without bias, padded as PyTorch pads, and the normalisation after it."""
        kernel = np.asarray(_get(self.params, path)["kernel"]).transpose(3, 2, 0, 1)
        norm = {name: np.asarray(values) for name, values in _get(self.params, normalisation).items()}
        padding = dilation * (kernel.shape[2] // 2)
        settings = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [padding] * 4}
        if not self._stats:  # group normalisation
            x = self.node("Conv", [x, self._add(kernel, f"{path}/kernel")], **settings)
            return self._group_normalisation(x, norm["scale"], norm["bias"])
        stats = {name: np.asarray(values) for name, values in _get(self._stats, normalisation).items()}
        factor = norm["scale"] / np.sqrt(stats["var"] + np.float32(EPSILON))
        weights = self._add(kernel * factor[:, None, None, None], f"{path}/kernel")
        shift = self._add(norm["bias"] - stats["mean"] * factor, f"{path}/bias")
        return self.node("Conv", [x, weights, shift], **settings)

    def _group_normalisation(self, x: str, scale: np.ndarray, bias: np.ndarray) -> str:
        groups = len(scale) // math.gcd(len(scale), GROUP_SIZE)
        ones, zeros = self.constant(np.ones(groups), (groups,)), self.constant(np.zeros(groups), (groups,))
        flat = self.node("Reshape", [x, self.integers([0, groups, -1])])
        flat = self.node("InstanceNormalization", [flat, ones, zeros], epsilon=EPSILON)
        x = self.node("Reshape", [flat, self.node("Shape", [x])])
        x = self.node("Mul", [x, self.constant(scale, (1, -1, 1, 1))])
        return self.node("Add", [x, self.constant(bias, (1, -1, 1, 1))])

    def dense(self, x: str, kernel: Any, bias: Any) -> str:
        """A 1x1 convolution; kernel [input, output]."""
        weights = self._add(np.asarray(kernel).T[:, :, None, None])
        return self.node("Conv", [x, weights, self._add(np.asarray(bias))])

    def size(self, x: str) -> str:
        """Height and width of a value."""
        return self.node("Shape", [x], start=2, end=4)

    def resize(self, x: str, size: str) -> str:
        """Bilinear interpolation with half-pixel centres."""
        shape = self.node("Concat", [self.node("Shape", [x], start=0, end=2), size], axis=0)
        settings = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.node("Resize", [x, "", "", shape], **settings)

    def model(
        self, inputs: Mapping[str, list], outputs: Mapping[str, list], metadata: Mapping[str, str]
    ) -> onnx.ModelProto:
        """The finished and checked model.

        Args:
            inputs: shapes of the uint8 inputs, with names for the dimensions that are free.
            outputs: shapes of the float32 outputs; those that the graph lacks are left out.
            metadata: stored with the model.
        """
        graph = helper.make_graph(
            self._nodes,
            metadata["name"],
            [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, outputs[name]) for name in self._outputs],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "crcfp-jax"
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model


def _get(tree: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    for name in path.split("/"):
        tree = tree[name]
    return tree
