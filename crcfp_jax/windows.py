"""Class probabilities of whole images from a network that sees windows of one size."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from data_pipelines import geometry
from data_pipelines.scale import scaled_size

IN_FLIGHT = 2  # device calls started before the oldest is waited for: the host cuts windows meanwhile


@dataclass(frozen=True)
class Evaluator:
    """A trained network and the extent at which it sees an image.

    `predict` maps windows, uint8 [batch_size, side, side, 3], to class probabilities, float32 [batch_size, side, side,
    num_classes]. It always gets that one shape, so that it is traced once, and it computes on this process's devices
    only, since processes make different numbers of calls.
    """

    predict: Callable[[Any], Any]
    side: int  # pixels of a window: the training crop's
    microns_per_pixel: float  # of a window, as in training
    batch_size: int  # windows a call, on this process
    num_classes: int


@dataclass
class _Pending:
    """An image whose windows are on their way through the device."""

    size: tuple[int, int]  # height, width of the image as given
    scaled: tuple[int, int]  # height, width of the image that was cut
    placement: Any
    missing: int
    parts: list[Any] = field(default_factory=list)


def predict_probabilities(
    evaluator: Evaluator, images: Iterable[tuple[UInt8[np.ndarray, "_ _ 3"], float]]
) -> Iterator[Float32[np.ndarray, "_ _ c"]]:
    """Class probabilities of each image at the image's own size, [h, w, c], in order.

    Images come with what their pixels measure, in µm; they are scaled to the evaluator's pixel size and cut into
    overlapping windows. Windows of several images share a device call; probabilities are averaged where windows overlap
    and scaled back bilinearly.
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
        started.append((evaluator.predict(batch), [owner for _, owner in chosen]))

    def fetch() -> None:
        output, owners = started.popleft()
        for probabilities, owner in zip(np.asarray(output), owners, strict=False):  # the rest is padding
            owner.parts.append(probabilities)
            owner.missing -= 1

    def finished() -> Iterator[np.ndarray]:
        while pending and pending[0].missing == 0:
            yield _join(pending.popleft())

    for image, microns_per_pixel in images:
        height, width = scaled_size(*image.shape[:2], microns_per_pixel / evaluator.microns_per_pixel)
        windows, placement = geometry.cut_windows(_resize_image(image, height, width), evaluator.side)
        owner = _Pending(image.shape[:2], (height, width), placement, len(windows))
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


def _resize_image(
    image: UInt8[np.ndarray, "_ _ 3"], height: int, width: int
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    return image if image.shape[:2] == (height, width) else geometry.resize(image, None, height, width)[0]


def _join(owner: _Pending) -> Float32[np.ndarray, "_ _ c"]:
    joined = geometry.join_windows(np.stack(owner.parts), owner.placement)
    if owner.scaled == owner.size:
        return joined
    height, width = owner.size
    resized = cv2.resize(joined, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(height, width, joined.shape[-1])  # OpenCV drops a single channel's axis
