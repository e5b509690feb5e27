"""A model folder, loaded for inference: no training data and none of the network's code is needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax import export
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, UInt8

from crcfp_jax.blending.programs import AXIS, window_mesh
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.words import one_line
from crcfp_jax.portable_model.card import ARTIFACT, PARAMETERS, Card, check_files, read_card


@dataclass(frozen=True, eq=False)
class Model:
    """An exported model."""

    card: Card
    artifact: export.Exported
    variables: Any  # arrays on this process's first device
    folder: Path

    def predictor(
        self, devices: Sequence[jax.Device], *, uncertainty: bool, embedding: bool = False
    ) -> Callable[[UInt8[np.ndarray, "n h w 3"]], dict[str, Array]]:
        """What starts a batch on some devices, which share it evenly.

        Args:
            devices: of this process.
            uncertainty: whether the outputs have it; what is not asked for is not computed.
            embedding: likewise.

        Returns:
            A function of windows, uint8 [n, h, w, 3], where n is a multiple of the number of devices; each shape is
            compiled when it first comes. It starts the computation, without waiting for it, and returns the outputs on
            the devices: 'probabilities', float32 [n, h, w, c], 'uncertainty', float32 [n, h, w], and 'embedding',
            float32 [n, d]. The windows must not change until the outputs are there.

        Raises:
            UserError: the model has no uncertainty, or no embedding.
        """
        if uncertainty and not self.card.uncertainty:
            raise UserError(f"{self.folder} gives no uncertainty: method {self.card.method} has one classifier only")
        if embedding and not self.card.embedding:
            raise UserError(f"{self.folder} tells no features of places: export the model again with this version")
        names = ["probabilities", *["uncertainty"] * uncertainty, *["embedding"] * embedding]
        mesh = window_mesh(devices)
        everywhere, shared = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
        weights = jax.device_put(self.variables, everywhere)

        def outputs(variables: Any, images: Array) -> dict[str, Array]:
            found = self.artifact.call(variables, images)
            return {name: found[name] for name in names}

        # One program for all devices: one call for each would have to be compiled for each. The artifact is opaque to
        # the check of what varies over the devices.
        specs = {"in_specs": (everywhere.spec, shared.spec), "out_specs": shared.spec}
        compute = jax.jit(jax.shard_map(outputs, mesh=mesh, **specs, check_vma=False))
        return lambda images: compute(weights, jax.device_put(images, shared))


def load_model(folder: Path) -> Model:
    """Loads a model folder whose every file is as it was written.

    Raises:
        UserError: no model folder, a file is missing or was altered, or it was written by a newer version.
    """
    card = read_card(folder)
    check_files(folder, card)
    artifact = read_artifact(folder / ARTIFACT, card.jax_version)
    return Model(card, artifact, read_variables(folder / PARAMETERS, artifact, jax.local_devices()[0]), folder)


def read_artifact(path: Path, written_with: str) -> export.Exported:
    """Reads the compiled form; `written_with` is the version of jax for the message if it can't be read."""
    try:
        artifact = export.deserialize(bytearray(path.read_bytes()))
        known = export.minimum_supported_calling_convention_version, export.maximum_supported_calling_convention_version
        if not known[0] <= artifact.calling_convention_version <= known[1]:
            raise ValueError(f"calling convention {artifact.calling_convention_version}, known are {known}")
        artifact.mlir_module()  # the code itself, which is otherwise read only when it is used
    except Exception as error:  # whatever a format of the future leads an older reader to
        raise UserError(
            f"{path} was written with jax {written_with} and can't be read by jax {jax.__version__} "
            f"({one_line(error)}): install jax {written_with}, or export the model again with this version"
        ) from error
    return artifact


def read_variables(folder: Path, artifact: export.Exported, device: jax.Device) -> Any:
    """Reads the parameters onto a device; the artifact says what they are."""
    (variables, _), _ = jax.tree.unflatten(artifact.in_tree, artifact.in_avals)
    placement = jax.sharding.SingleDeviceSharding(device)
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placement), variables)
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder.resolve(), template)


def write_variables(folder: Path, variables: Any) -> None:
    """Writes the parameters (host arrays) where `read_variables` finds them."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.resolve(), variables)
