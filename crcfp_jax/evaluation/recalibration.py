"""Batch statistics for inference, over training images with the final parameters."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax.typing import VariableDict
from jaxtyping import Array, UInt8

from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.models.encoders.pixels import normalise
from crcfp_jax.models.layers.normalisation import pool_statistics
from crcfp_jax.models.network import Network
from data_pipelines.data_set import DataSet, Record
from data_pipelines.reading.resample import to_canvas
from data_pipelines.tiling import cut_windows

RECALIBRATION_BATCH = 32  # windows normalised together


class Recalibration:
    """Batch statistics for inference, over training images with the final parameters ("precise" batch normalisation).

    Running averages mix the statistics of parameters long gone and, in training with several streams, of augmented
    images that inference never sees. This replaces them by the mean and the variance over windows cut as inference cuts
    them. Each layer sees its inputs normalised batch by batch, so the windows are shuffled: images of one hospital
    stand together in a data set, and a batch has to hold the differences between hospitals that inference meets.
    """

    def __init__(self, network: Network, windows: UInt8[np.ndarray, "n s s 3"]):
        """Args:
        network: without a replica axis.
        windows: from `recalibration_windows`; the last few, drawn at random, are left out where they fill no batch.
        """
        batch = min(RECALIBRATION_BATCH, len(windows))
        usable = len(windows) // batch * batch
        order = np.random.default_rng(0).permutation(len(windows))[:usable]
        self._batches = windows[order].reshape(-1, batch, *windows.shape[1:])
        forgetful = network.clone(momentum=0.0)

        @jax.jit
        def average(variables: VariableDict, batches: UInt8[Array, "k n s s 3"]) -> Any:
            def statistics(windows: UInt8[Array, "n s s 3"]) -> Any:
                _, updated = forgetful.apply(
                    variables, normalise(windows, network.pixels), train=True, mutable=["batch_stats"], method="encode"
                )
                return updated["batch_stats"]

            return pool_statistics(jax.lax.map(statistics, batches))

        self._average = average

    def __call__(self, variables: VariableDict) -> Any:
        """Statistics for these variables (host arrays in, host arrays out); {} where there are none to replace."""
        if not variables["batch_stats"]:
            return variables["batch_stats"]
        return jax.tree.map(np.asarray, self._average(variables, self._batches))


def recalibration_windows(
    data_set: DataSet, records: Sequence[Record], *, count: int, side: int, microns_per_pixel: float
) -> UInt8[np.ndarray, "n s s 3"]:
    """At most `count` windows of the given training images, evenly spread, cut as for evaluation; no mask is read.

    `side`: network pixels, which measure `microns_per_pixel`.
    """
    sources = {split: data_set.source(split, labels=False) for split in {record.split for record in records}}
    windows = []
    for number, record in enumerate(records[place] for place in evenly_spaced(len(records), count)):
        image = sources[record.split][record.position]["image"]
        cut, _ = cut_windows(to_canvas(image, microns_per_pixel / record.microns_per_pixel), side)
        # One window an image, another place each time, covers more tissue than all windows of a few images.
        windows.append(cut[number % len(cut)])
    return np.stack(windows)
