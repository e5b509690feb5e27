"""Trained networks of run folders: probabilities of images, features of windows."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import VariableDict
from jaxtyping import Array, Float, UInt8

from crcfp_jax.common.errors import UserError
from crcfp_jax.evaluation.windows import Evaluator
from crcfp_jax.figures.runs import Run
from crcfp_jax.models.encoders.pixels import normalise
from crcfp_jax.models.network import Network
from crcfp_jax.runs.parts import Parts
from crcfp_jax.runs.restore import restore_variables


@functools.partial(jax.jit, static_argnums=0)
def _encode(network: Network, variables: VariableDict, windows: UInt8[Array, "n s s 3"]) -> Float[Array, "n h w c"]:
    features = network.apply(variables, normalise(windows, network.pixels), train=False, method="encode")
    return features.astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def _context(network: Network, variables: VariableDict, windows: UInt8[Array, "n s s 3"]) -> dict[str, Array]:
    features = network.apply(variables, normalise(windows, network.pixels), train=False, method="encode")
    cells = network.apply(variables, features, method="context")
    found = {"shared": cells.astype(jnp.float32)}
    if "projector" in variables["params"]:
        found["projected"] = network.apply(variables, cells, method="project")
    return found


@dataclass(frozen=True, eq=False)
class Model:
    """A finished run's selected network on this process's device."""

    run: Run
    parts: Parts
    network: Network
    variables: VariableDict
    evaluator: Evaluator
    step: int

    def encode(self, windows: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n h w c"]:
        """Shared features of windows, at the network's `feature_stride`."""
        return self._in_batches(lambda batch: _encode(self.network, self.variables, batch), windows)

    def context(self, windows: UInt8[np.ndarray, "n s s 3"]) -> dict[str, Float[np.ndarray, "n h w _"]]:
        """Features at the `context_stride`: 'shared' and, where the method has a projector, 'projected'."""
        return self._in_batches(lambda batch: _context(self.network, self.variables, batch), windows)

    def _in_batches(self, function: Callable, windows: UInt8[np.ndarray, "n s s 3"]):
        """Results for all windows from calls of one shape, which compile once."""
        size, results = self.evaluator.batch_size, []
        for start in range(0, len(windows), size):
            batch = windows[start : start + size]
            missing = ((0, size - len(batch)), (0, 0), (0, 0), (0, 0))
            results.append(jax.tree.map(np.asarray, function(np.pad(batch, missing))))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(windows)], *results)


@functools.cache
def restore(run: Run) -> Model:
    """Loads a run's selected checkpoint; a second call returns the same model.

    Raises:
        UserError: its data set is missing or another build, or its checkpoint is damaged; names the run folder.
    """
    try:
        parts, variables, step = restore_variables(run.folder)
    except UserError as error:
        if str(run.folder) in str(error):
            raise
        raise UserError(f"{run.folder}: {error}") from error
    # On the device once, not again with every call.
    on_device = jax.device_put(variables, jax.local_devices()[0])
    return Model(run, parts, parts.network(), on_device, parts.evaluator(variables), step)
