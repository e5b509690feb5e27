"""The exported network as an ONNX model.

It is converted from the traced network, operation by operation (`to_onnx`), so that a new network needs no form of its
own. jax2onnx 0.17.1 can't do it: it takes no symbolic sizes in `jax.image.resize`, and pins orbax-checkpoint < 0.11.37.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import VariableDict
from jax import export
from jaxtyping import UInt8

from crcfp_jax.models.network import Network
from crcfp_jax.portable_model.artifact import in_float32, network_outputs
from crcfp_jax.portable_model.to_onnx.convert import convert


def export_onnx(network: Network, variables: VariableDict, card: Mapping[str, Any]) -> bytes:
    """A self-contained ONNX model of what `artifact.network_outputs` computes.

    Its input is `images`, uint8 [b, h, w, 3]; its outputs have the artifact's names and shapes. Batch normalisation is
    part of the convolutions.

    Args:
        network: of any dtype; the model computes in float32.
        variables: of `artifact.inference_variables`, host arrays.
        card: the model's card; what a user of the file alone needs of it goes into its metadata.

    Raises:
        UserError: an operation of the network has no form in ONNX yet.
    """
    network = in_float32(network)
    images = jax.ShapeDtypeStruct((*export.symbolic_shape("b, h, w"), 3), jnp.uint8)
    model = convert(
        lambda variables, images: network_outputs(network, variables, images),
        variables,
        ("images", images),
        _metadata(card),
    )
    return model.SerializeToString()


def _metadata(card: Mapping[str, Any]) -> dict[str, str]:
    names = ", ".join(entry["name"] for entry in card["classes"])
    facts = {key: str(card[key]) for key in ("name", "microns_per_pixel", "window", "inputs", "intended_use")}
    return {"classes": names, "licence": card["licence"]["model"]} | facts


def run_onnx(path: Path):
    """Opens an ONNX model on the CPU as a function of images, uint8 [b, h, w, 3]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: UInt8[np.ndarray, "b h w 3"]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return run
