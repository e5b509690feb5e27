"""Places of a slide that could be annotated, and what a model says of each."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from crcfp_jax.slides.plan import SlidePlan
from crcfp_jax.suggest.selection import normalised_entropy, unit_length
from data_pipelines.geometry import pad_to
from data_pipelines.tiling import Window

LEAST_TISSUE = 0.5  # share of a place
BATCH = 8  # windows

Forward = Callable[[UInt8[np.ndarray, "n side side 3"]], Mapping[str, Any]]


@dataclass(frozen=True)
class Candidates:
    """The places of one slide, n of them.

    Attributes:
        boxes: left, top, width and height in pixels of the slide.
        uncertainty: mean over the tissue of the normalised entropy, 0 to 1.
        shares: of the classes, mean probability over the tissue.
        embedding: of length 1.
    """

    boxes: Float64[np.ndarray, "n 4"]
    uncertainty: Float64[np.ndarray, "n"]
    shares: Float64[np.ndarray, "n c"]
    embedding: Float64[np.ndarray, "n d"]


def find_candidates(
    plan: SlidePlan,
    forward: Forward,
    *,
    classes: int,
    group: int,
    pool: Executor,
    advance: Callable[[int], None] = lambda count: None,
) -> Candidates:
    """Looks at a slide window by window; a candidate is a square of `group` x `group` windows, half of it tissue.

    Memory holds a batch of windows and, of each candidate, sums.

    Args:
        plan: of the slide, with windows that don't overlap.
        forward: starts a batch of `BATCH` windows: 'probabilities' and 'embedding'.
        classes: of the model.
        group: windows along a candidate's side.
        pool: threads that read.
        advance: called with the number of windows that are done.
    """
    side = plan.tiling.side
    windows = [window for row in plan.windows for window in row]
    sums: dict[tuple[int, int], list[np.ndarray]] = {}
    for first in range(0, len(windows), BATCH):
        batch = windows[first : first + BATCH]
        pixels = np.zeros((BATCH, side, side, 3), np.uint8)
        for place, read in enumerate(pool.map(lambda window: _read(plan, window), batch)):
            pixels[place] = read
        outputs = {name: np.asarray(values) for name, values in forward(pixels).items()}
        for place, window in enumerate(batch):
            tissue = _tissue(plan, window)
            probabilities = outputs["probabilities"][place, : tissue.shape[0], : tissue.shape[1]][tissue]
            told = np.concatenate(
                [
                    [normalised_entropy(probabilities).sum(), len(probabilities)],
                    probabilities.sum(0, dtype=np.float64),
                    outputs["embedding"][place] * len(probabilities),
                ]
            )
            key = (window.top // (side * group), window.left // (side * group))
            sums[key] = sums.get(key, 0.0) + told
        advance(len(batch))
    return _gather(plan, sums, side * group, classes)


def _read(plan: SlidePlan, window: Window) -> UInt8[np.ndarray, "side side 3"]:
    side, (height, width) = plan.tiling.side, plan.view.size
    rows, columns = min(side, height - window.top), min(side, width - window.left)
    return pad_to(plan.view.read(window.top, window.left, rows, columns), None, side, side)[0][:side, :side]


def _tissue(plan: SlidePlan, window: Window) -> np.ndarray:
    side, (height, width) = plan.tiling.side, plan.view.size
    rows, columns = min(side, height - window.top), min(side, width - window.left)
    if plan.tissue is None:
        return np.ones((rows, columns), bool)
    return plan.tissue.window(window.top, window.left, rows, columns, plan.view.size)


def _gather(plan: SlidePlan, sums: Mapping[tuple[int, int], np.ndarray], extent: int, classes: int) -> Candidates:
    height, width = plan.view.size
    down, across = (own / seen for own, seen in zip(plan.slide.size, plan.view.size, strict=True))
    boxes, kept = [], []
    for (row, column), told in sorted(sums.items()):
        top, left = row * extent, column * extent
        rows, columns = min(extent, height - top), min(extent, width - left)
        if told[1] >= LEAST_TISSUE * rows * columns:
            boxes.append((left * across, top * down, columns * across, rows * down))
            kept.append(told)
    if not kept:
        return Candidates(np.zeros((0, 4)), np.zeros(0), np.zeros((0, classes)), np.zeros((0, 0)))
    told = np.array(kept)
    return Candidates(
        np.array(boxes, np.float64),
        told[:, 0] / told[:, 1],
        told[:, 2 : 2 + classes] / told[:, 1:2],
        unit_length(told[:, 2 + classes :]),
    )
