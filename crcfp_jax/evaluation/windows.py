"""Class probabilities of whole images from a network that sees windows of one size."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipelines.reading.resample import RowResampler, to_canvas
from data_pipelines.tiling import Blender, Tiling, Window, cut_windows

IN_FLIGHT = 2  # device calls started before the oldest is waited for: the host cuts windows meanwhile


@dataclass(frozen=True)
class Evaluator:
    """A trained network and the extent at which it sees an image.

    `forward` maps windows, uint8 [batch_size, side, side, 3], to class probabilities, float32 [batch_size, side, side,
    num_classes]. It always gets that one shape, so that it is traced once, and it computes on this process's devices
    only, since processes make different numbers of calls.
    """

    forward: Callable[[Any], Any]
    side: int  # pixels of a window: the training crop's
    microns_per_pixel: float  # of a pixel as the network sees it
    batch_size: int  # windows a call, on this process
    num_classes: int


class _Pending:
    """A picture whose windows are on their way through the device: blended and brought to its size as they come."""

    def __init__(self, size: tuple[int, int], tiling: Tiling, channels: int):
        """Args:
        size: height, width of the picture as given.
        tiling: of the canvas, as the network sees the picture.
        channels: classes.
        """
        self._blender = Blender(tiling, channels)
        self._resampler = RowResampler((tiling.height, tiling.width), size)
        self._missing = deque((row, Window(top, left)) for row, top in enumerate(tiling.tops) for left in tiling.lefts)
        self._rows: list[np.ndarray] = []

    @property
    def complete(self) -> bool:
        return not self._missing

    def add(self, probabilities: Float32[np.ndarray, "side side c"]) -> None:
        """Takes what the network says of the next window."""
        row, window = self._missing.popleft()
        self._blender.add(window, [probabilities])
        if self.complete or self._missing[0][0] != row:
            self._rows.extend(map(self._resampler.push, self._blender.finish_row(row)))

    def result(self) -> Float32[np.ndarray, "_ _ c"]:
        return np.concatenate(self._rows)


def predict_probabilities(
    evaluator: Evaluator, images: Iterable[tuple[UInt8[np.ndarray, "_ _ 3"], float]]
) -> Iterator[Float32[np.ndarray, "_ _ c"]]:
    """Class probabilities of each image at the image's own size, [h, w, c], in order.

    They are those of `python -m crcfp_jax.predict --everything`: the same pixel size, windows and blending. Windows of
    several images share a device call.

    Args:
        evaluator: a trained network.
        images: each with its µm per pixel.
    """
    pending: deque[_Pending] = deque()
    started: deque[tuple[Any, list[_Pending]]] = deque()
    waiting: list[tuple[np.ndarray, _Pending]] = []

    def start() -> None:
        batch = np.zeros((evaluator.batch_size, evaluator.side, evaluator.side, 3), np.uint8)
        chosen = waiting[: evaluator.batch_size]
        del waiting[: evaluator.batch_size]
        for index, (window, _) in enumerate(chosen):
            batch[index] = window
        started.append((evaluator.forward(batch), [owner for _, owner in chosen]))

    def fetch() -> None:
        output, owners = started.popleft()
        for probabilities, owner in zip(np.asarray(output), owners, strict=False):  # the rest is padding
            owner.add(probabilities)

    def finished() -> Iterator[np.ndarray]:
        while pending and pending[0].complete:
            yield pending.popleft().result()

    for image, microns_per_pixel in images:
        canvas = to_canvas(image, evaluator.microns_per_pixel / microns_per_pixel)
        windows, tiling = cut_windows(canvas, evaluator.side)
        owner = _Pending(image.shape[:2], tiling, evaluator.num_classes)
        pending.append(owner)
        waiting.extend((window, owner) for window in windows)
        while len(waiting) >= evaluator.batch_size:
            start()
            while len(started) > IN_FLIGHT:
                fetch()
        yield from finished()
    if waiting:
        start()
    while started:
        fetch()
        yield from finished()
