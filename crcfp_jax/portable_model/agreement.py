"""Whether the exported forms of a network give what the network gives, on real tissue."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.typing import VariableDict
from jax import export
from jaxtyping import UInt8

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.models.network import Network
from crcfp_jax.portable_model.artifact import in_float32, network_outputs
from crcfp_jax.portable_model.card import ARTIFACT, ONNX, PARAMETERS
from crcfp_jax.portable_model.describe_run import user_error_on_read
from crcfp_jax.portable_model.folder import read_artifact, read_variables
from crcfp_jax.runs.parts import Parts
from data_pipelines import geometry
from data_pipelines.data_set import DataSet, Record
from data_pipelines.reading.resample import to_canvas
from data_pipelines.tiling import cut_windows

LIMIT = 1e-4  # of the difference of any output, all from -1 to 1
OPTIONAL = {"embedding"}  # outputs that a form may lack: ONNX has none
WINDOWS = 8

# From images, uint8 [b, h, w, 3], to the outputs by name.
Form = Callable[[UInt8[np.ndarray, "b h w 3"]], Mapping[str, np.ndarray]]


def cpu_device() -> jax.Device:
    """The device that forms are compared on: others round products to fewer bits by default.

    Raises:
        UserError: JAX was told to leave the CPU out.
    """
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError as error:
        raise UserError(
            "the exported forms are compared on the CPU, which JAX_PLATFORMS leaves out: add cpu to it, "
            "e.g. JAX_PLATFORMS=cuda,cpu"
        ) from error


def sample_batches(
    data_set: DataSet, records: Sequence[Record], *, side: int, microns_per_pixel: float, patch: int
) -> list[UInt8[np.ndarray, "_ _ _ 3"]]:
    """Real images for the comparison: windows as evaluation cuts them, and one image that is no square.

    Args:
        records: to choose from, evenly.
        side: pixels of a window.
        microns_per_pixel: of a window.
        patch: pixels that sides have to be multiples of; where it is 1, the last image has odd sides.
    """
    windows, last = [], None
    for number, record in enumerate(records[place] for place in evenly_spaced(len(records), WINDOWS)):
        image = data_set.source(record.split, labels=False)[record.position]["image"]
        last = to_canvas(image, microns_per_pixel / record.microns_per_pixel)
        cut, _ = cut_windows(last, side)
        windows.append(cut[number % len(cut)])
    height, width = (-(-size // patch) * patch for size in (side + side // 4 + 1, side - side // 8 - 1))
    odd, _ = geometry.crop(last, None, 0, 0, height, width)
    return [np.stack(windows), odd[None]]


def native_form(network: Network, variables: VariableDict, device: jax.Device) -> Form:
    """The network itself, in its own dtype."""
    on_device = jax.device_put(variables, device)
    forward = jax.jit(lambda variables, images: network_outputs(network, variables, images, embedding=True))
    return lambda images: jax.tree.map(np.asarray, forward(on_device, jax.device_put(images, device)))


def artifact_form(artifact: export.Exported, variables: Any, device: jax.Device) -> Form:
    """The exported artifact; `variables` are on the device."""
    forward = jax.jit(artifact.call)
    return lambda images: jax.tree.map(np.asarray, forward(variables, jax.device_put(images, device)))


def compare(forms: Mapping[str, Form], batches: Sequence[UInt8[np.ndarray, "_ _ _ 3"]]) -> dict[str, dict[str, float]]:
    """Greatest absolute difference of each form from the first one, by form and output."""
    reference, *others = forms
    found = {name: {} for name in others}
    for images in batches:
        expected = forms[reference](images)
        for name in others:
            outputs = forms[name](images)
            if not expected.keys() - OPTIONAL <= outputs.keys() <= expected.keys():
                raise RuntimeError(f"{name} gives {sorted(outputs)}, {reference} gives {sorted(expected)}")
            for output, values in outputs.items():
                # A NaN is a difference, too.
                difference = float(np.abs(values - expected[output]).max())
                found[name][output] = max(found[name].get(output, 0.0), difference if difference >= 0 else np.inf)
    return found


def check(differences: Mapping[str, Mapping[str, float]], output: Path) -> None:
    """Raises UserError where a form is further off than LIMIT."""
    for form, outputs in differences.items():
        for name, difference in outputs.items():
            if not difference <= LIMIT:
                raise UserError(
                    f"{output}: {name} of {form} is up to {difference:.1e} off the network's, more than "
                    f"{LIMIT:.0e}: nothing was exported; report this with the versions of jax and onnxruntime"
                )


def measure(folder: Path, parts: Parts, variables: VariableDict, output: Path, *, onnx: bool) -> dict[str, Any]:
    """Differences of the forms in a folder from the network, on the CPU, as the card tells them.

    Args:
        folder: holds the forms.
        parts: of the run.
        variables: of the network, on the host.
        output: the model folder to name in a message.
        onnx: whether one of the forms is ONNX.

    Raises:
        UserError: they are too large, or the data set's images can't be read.
    """
    device = cpu_device()
    records, network = parts.split.test or parts.split.labelled, parts.network()
    with user_error_on_read(parts.data_set):
        batches = sample_batches(
            parts.data_set,
            records,
            side=parts.config.data.side,
            microns_per_pixel=parts.microns_per_pixel,
            patch=network.patch,
        )
    artifact = read_artifact(folder / ARTIFACT, jax.__version__)
    weights = read_variables(folder / PARAMETERS, artifact, device)
    forms = {
        "network": native_form(in_float32(network), variables, device),
        ARTIFACT: artifact_form(artifact, weights, device),
    }
    if onnx:
        from crcfp_jax.portable_model.onnx_model import run_onnx

        forms[ONNX] = run_onnx(folder / ONNX)
    dtype = parts.config.model.dtype
    if dtype != "float32":
        forms[dtype] = native_form(network, variables, device)
    found = compare(forms, batches)
    of_training = {dtype: found.pop(dtype)} if dtype in found else None
    check(found, output)
    images = f"{sum(map(len, batches))} images of the {'test' if parts.split.test else 'training'} split"
    return {"limit": LIMIT, "images": images, "differences": found, "training_dtype": of_training}
