"""From a function to an ONNX model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import onnx

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.layers.forms import plain_forms
from crcfp_jax.models.layers.resize import resize_bilinear
from crcfp_jax.portable_model.to_onnx import axes, elementwise, windows
from crcfp_jax.portable_model.to_onnx.graph import Graph
from crcfp_jax.portable_model.to_onnx.trace import Variable, trace
from crcfp_jax.portable_model.to_onnx.values import Builder, Operand, Value

# What becomes of each operation of JAX, by its name.
OPERATIONS = elementwise.OPERATIONS | axes.OPERATIONS | windows.OPERATIONS
WHOLE = (resize_bilinear.__name__,)


def convert(
    function: Callable[[Any, jax.Array], Mapping[str, jax.Array]],
    parameters: Any,
    argument: tuple[str, jax.ShapeDtypeStruct],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """An ONNX model of `function(parameters, argument)`, for every shape that symbols in the argument's stand for.

    Args:
        function: gives float32 arrays by name.
        parameters: host arrays; what depends on them alone is computed now.
        argument: name, shape and type of the model's input.
        metadata: stored with the model.

    Raises:
        UserError: an operation that has no form here.
    """
    name, given = argument
    with plain_forms():
        program = trace(function, parameters, given, WHOLE)
    graph = Graph(name, given.shape)
    build = Builder(graph, program.uses)
    known: dict[Variable, Operand] = {program.input: _start(build, name, program.input)}
    for step in program.steps:
        if step.name not in OPERATIONS:
            raise UserError(
                f"--onnx: the network's operation {step.name} has no form in ONNX yet: "
                "add one to crcfp_jax/portable_model/to_onnx, or export without --onnx"
            )
        inputs = [known[atom] if isinstance(atom, Variable) else atom for atom in step.inputs]
        results = OPERATIONS[step.name](build, step, *inputs)
        results = results if isinstance(results, Sequence) else [results]
        build.count_aliases(step, inputs, results)
        known.update(zip(step.outputs, results, strict=True))
    outputs = {}
    for key, atom in program.outputs.items():
        operand = known[atom] if isinstance(atom, Variable) else atom
        outputs[key] = build.plain(operand), _shape(operand.shape)
    build.finish()
    return graph.model(given.dtype, _shape(given.shape), outputs, metadata)


def _start(build: Builder, name: str, given: Variable) -> Value:
    """The input; images with channels first from here on, as their convolutions want them."""
    if len(given.shape) != 4:
        return build.value(name, given)
    order = (0, 3, 1, 2)
    return build.value(build.graph.node("Transpose", [name], perm=order), given, order)


def _shape(lengths: Sequence[Any]) -> list[int | str]:
    return [length if isinstance(length, int) else str(length) for length in lengths]
