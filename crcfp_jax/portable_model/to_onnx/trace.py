"""A function as a list of operations, without what depends on its parameters alone."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend import core

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.layers.padding import Length

# Operations that do what the program inside them does, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "checkpoint": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}


@dataclass(frozen=True, eq=False)
class Variable:
    """An array that is known only when the model runs; symbols may stand for its shape."""

    shape: tuple[Length, ...]
    dtype: np.dtype


Atom = Variable | np.ndarray


@dataclass(frozen=True, eq=False)
class Step:
    """One operation."""

    name: str  # of the primitive, or of the function that is kept whole
    params: Mapping[str, Any]
    inputs: tuple[Atom, ...]
    outputs: tuple[Variable, ...]


@dataclass(frozen=True)
class Program:
    """What a function does to its last argument."""

    input: Variable
    outputs: dict[str, Atom]
    steps: list[Step]  # those that the outputs need, in order
    uses: Counter[Variable]


def trace(
    function: Callable[[Any, Any], dict[str, Any]],
    parameters: Any,
    argument: jax.ShapeDtypeStruct,
    whole: Collection[str],
) -> Program:
    """Traces `function(parameters, argument)`; what depends on the parameters alone is computed here and now.

    Args:
        function: gives arrays by name.
        parameters: host arrays.
        argument: shape and type of the argument; symbols may stand for lengths.
        whole: names of jitted functions that become one step each.

    Raises:
        UserError: a branch that is chosen when the function runs.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(parameters, argument)
    given = Variable(argument.shape, np.dtype(argument.dtype))
    steps: list[Step] = []
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        atoms = [*map(np.asarray, jax.tree.leaves(parameters)), given]
        results = _Tracer(steps, whole).run(closed, atoms)
    outputs = dict(zip(sorted(shape), results, strict=True))
    needed = {atom for atom in results if isinstance(atom, Variable)}
    kept: list[Step] = []
    for step in reversed(steps):
        if needed.intersection(step.outputs):
            kept.append(step)
            needed.update(atom for atom in step.inputs if isinstance(atom, Variable))
    uses = Counter(atom for step in kept for atom in step.inputs if isinstance(atom, Variable))
    uses.update(atom for atom in results if isinstance(atom, Variable))
    return Program(given, outputs, kept[::-1], uses)


class _Tracer:
    """Follows a program into the programs inside it."""

    def __init__(self, steps: list[Step], whole: Collection[str]):
        self._steps, self._whole = steps, whole

    def run(self, closed: core.ClosedJaxpr | core.Jaxpr, inputs: Sequence[Atom]) -> list[Atom]:
        jaxpr, constants = (closed, ()) if isinstance(closed, core.Jaxpr) else (closed.jaxpr, closed.consts)
        known: dict[Any, Atom] = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
        known.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Atom:
            return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            outputs = self._follow(equation, tuple(map(read, equation.invars)))
            known.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _follow(self, equation: core.JaxprEqn, inputs: tuple[Atom, ...]) -> Sequence[Atom]:
        name, params = equation.primitive.name, equation.params
        if name == "platform_index":  # as for a platform that nothing is made for
            return [np.asarray(params["platforms"].index(None), np.int32)]
        if name == "cond":
            if isinstance(inputs[0], Variable):
                raise UserError("--onnx: the network chooses what to compute by values that it computes (lax.cond)")
            branches = params["branches"]
            return self.run(branches[int(np.clip(inputs[0], 0, len(branches) - 1))], inputs[1:])
        whole = name in ("jit", "pjit") and params["name"] in self._whole
        if name in CALLS and not whole:
            return self.run(params[CALLS[name]], inputs)
        outputs = tuple(Variable(variable.aval.shape, np.dtype(variable.aval.dtype)) for variable in equation.outvars)
        known = name != "dim_as_value" and not any(isinstance(atom, Variable) for atom in inputs)
        if known and all(isinstance(length, int) for output in outputs for length in output.shape):
            results = equation.primitive.bind(*inputs, **params)
            return [np.asarray(result) for result in (results if equation.primitive.multiple_results else [results])]
        self._steps.append(Step(params["name"] if whole else name, params, inputs, outputs))
        return outputs
