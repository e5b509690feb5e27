"""What a model was trained on, as points in its feature space: `suggest` looks for what is far from them."""

from pathlib import Path

import jax
import numpy as np
from flax.typing import VariableDict
from jaxtyping import Array, Float32, UInt8

from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.portable_model.artifact import in_float32, network_outputs
from crcfp_jax.runs.parts import Parts
from data_pipelines.loaders import evaluation_examples
from data_pipelines.reading.resample import to_canvas
from data_pipelines.tiling import cut_windows

MOST = 128  # windows: a ResNet-50 takes half a minute for them on two CPU cores
BATCH = 8  # windows
ARRAY = "embedding"


def known_embeddings(parts: Parts, variables: VariableDict) -> Float32[np.ndarray, "n d"]:
    """Embeddings of labelled training windows with annotation, evenly over the tiles, each of length 1.

    Args:
        parts: of the run.
        variables: of the network, on the host.
    """
    side, network = parts.config.data.side, in_float32(parts.network())
    records = [parts.split.labelled[place] for place in evenly_spaced(len(parts.split.labelled), MOST)]
    windows = []
    for record, image, label in evaluation_examples(parts.data_set, records, threads=2):
        scale = parts.microns_per_pixel / record.microns_per_pixel
        cut, tiling = cut_windows(to_canvas(image, scale), side, 0.0)
        corners = [(top, left) for top in tiling.tops for left in tiling.lefts]
        for window, (top, left) in zip(cut, corners, strict=True):
            rows, columns = (slice(int(start * scale), int((start + side) * scale) + 1) for start in (top, left))
            if (label[rows, columns] != 255).any():
                windows.append(window)
    windows = [windows[place] for place in evenly_spaced(len(windows), MOST)]
    weights = jax.device_put(variables)

    @jax.jit
    def forward(weights: VariableDict, images: UInt8[Array, "b h w 3"]) -> Float32[Array, "b d"]:
        return network_outputs(network, weights, images, embedding=True)["embedding"]

    padded = np.zeros((-(-len(windows) // BATCH) * BATCH, side, side, 3), np.uint8)
    padded[: len(windows)] = windows
    found = [np.asarray(forward(weights, padded[first : first + BATCH])) for first in range(0, len(padded), BATCH)]
    return np.concatenate(found)[: len(windows)]


def write_known(path: Path, embeddings: Float32[np.ndarray, "n d"]) -> None:
    """Writes what `read_known` reads."""
    np.savez(path, **{ARRAY: embeddings})


def read_known(path: Path) -> Float32[np.ndarray, "n d"]:
    """The embeddings of a model folder, whose check sums have been looked at."""
    with np.load(path, allow_pickle=False) as stored:
        return stored[ARRAY]
