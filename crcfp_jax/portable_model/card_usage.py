"""How to use an exported model, for its README.md: commands and programs that run as they stand."""

from collections.abc import Mapping
from typing import Any

from crcfp_jax.portable_model.card import ARTIFACT, ONNX, PARAMETERS

_JAX = """```python
# pip install "jax>={jax}" flatbuffers orbax-checkpoint; run it in this folder
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax import export

folder = Path.cwd()
artifact = export.deserialize(bytearray((folder / "{artifact}").read_bytes()))
(weights, _), _ = jax.tree.unflatten(artifact.in_tree, artifact.in_avals)  # their shapes
device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), weights)
with ocp.StandardCheckpointer() as checkpointer:
    weights = checkpointer.restore(folder / "{parameters}", weights)

predict = jax.jit(artifact.call)  # compiled once for each shape
images = np.full((1, {window}, {window}, 3), 230, np.uint8)  # put yours here: RGB, {size} µm per pixel
outputs = predict(weights, images)
probabilities = np.asarray(outputs["probabilities"])  # float32 [1, {window}, {window}, {classes}]
print(probabilities.argmax(-1))
```"""

_ONNX = """```python
# pip install onnxruntime; run it in this folder
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{onnx}")
images = np.full((1, {window}, {window}, 3), 230, np.uint8)  # put yours here: RGB, {size} µm per pixel
(probabilities,) = session.run(["probabilities"], {{"images": images}})  # float32 [1, {window}, {window}, {classes}]
print(probabilities.argmax(-1))
```"""


def usage(card: Mapping[str, Any]) -> str:
    """The section in Markdown."""
    values = {
        "jax": card["versions"]["jax"],
        "artifact": ARTIFACT,
        "parameters": PARAMETERS,
        "onnx": ONNX,
        "window": card["window"],
        "size": f"{card['microns_per_pixel']:.3g}",
        "classes": len(card["classes"]),
    }
    parts = [
        "## Use",
        "Images and whole slides, with masks, overlays, polygons for QuPath and areas as results:",
        f"```\npython -m crcfp_jax.predict --model {card['name']} --output RESULTS SLIDE_OR_FOLDER...\n```",
        "From Python, without crcfp-jax, on CPU, CUDA and TPU:",
        _JAX.format(**values),
    ]
    if ONNX in card["files"]:
        parts += ["With ONNX Runtime:", _ONNX.format(**values)]
    return "\n\n".join(parts)
