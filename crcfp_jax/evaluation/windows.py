"""Class probabilities of whole images from a network that sees windows of one size."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Shaped, UInt8

from crcfp_jax.blending.batches import Batches
from crcfp_jax.blending.blender import Blender, Rows
from crcfp_jax.blending.programs import window_mesh
from data_pipelines.reading.resample import to_canvas
from data_pipelines.tiling import Window, cut_windows

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
    mesh: Mesh = field(default_factory=lambda: window_mesh(jax.local_devices()[:1]))  # devices that share a call


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
    return _predict(evaluator, images, "probabilities")


def predict_classes(
    evaluator: Evaluator, images: Iterable[tuple[UInt8[np.ndarray, "_ _ 3"], float]]
) -> Iterator[UInt8[np.ndarray, "_ _"]]:
    """The most probable class of each pixel of each image, as `predict_probabilities`: a fraction of its bytes."""
    return _predict(evaluator, images, "classes")


class _Pending:
    """An image whose windows are on their way."""

    def __init__(self, size: tuple[int, int]):
        self._size = size
        self._rows: list[Rows] = []

    @property
    def complete(self) -> bool:
        return sum(rows.count for rows in self._rows) == self._size[0]

    def hand_on(self, rows: Rows) -> None:
        self._rows.append(rows)

    def result(self, name: str) -> Shaped[np.ndarray, "_ _ *channels"]:
        return np.concatenate([np.asarray(rows.arrays[name])[: rows.count, : self._size[1]] for rows in self._rows])


def _predict(
    evaluator: Evaluator, images: Iterable[tuple[UInt8[np.ndarray, "_ _ 3"], float]], gives: str
) -> Iterator[Shaped[np.ndarray, "_ _ *channels"]]:
    pending: deque[_Pending] = deque()
    started: deque[Mapping[str, Any]] = deque()

    def wait(results: Mapping[str, Any], _: Mapping[Blender, int]) -> None:
        started.append(results)
        if len(started) > IN_FLIGHT:
            jax.block_until_ready(started.popleft())

    def finished() -> Iterator[np.ndarray]:
        while pending and pending[0].complete:
            yield pending.popleft().result(gives)

    size = evaluator.batch_size
    batches = Batches(
        lambda windows: {"probabilities": evaluator.forward(windows)},
        side=evaluator.side, size=size, least=size, started=wait,
    )  # fmt: skip
    for image, microns_per_pixel in images:
        canvas = to_canvas(image, evaluator.microns_per_pixel / microns_per_pixel)
        windows, tiling = cut_windows(canvas, evaluator.side)
        pending.append(_Pending(image.shape[:2]))
        blender = Blender(
            tiling, image.shape[:2], {"probabilities": evaluator.num_classes}, (gives,), pending[-1].hand_on,
            mesh=evaluator.mesh, batch=size,
        )  # fmt: skip
        places = (Window(top, left) for top in tiling.tops for left in tiling.lefts)
        for place, window in zip(places, windows, strict=True):
            batches.push(blender, place, window)
        batches.end(blender)
        yield from finished()
    batches.flush()
    yield from finished()
