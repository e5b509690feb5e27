"""Places of a slide that could be annotated, and what a model says of each."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from crcfp_jax.slides.plan import SlidePlan
from crcfp_jax.suggest.division import Axis
from crcfp_jax.suggest.selection import normalised_entropy, unit_length
from data_pipelines.geometry import pad_to

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
    division: tuple[Axis, Axis],
    pool: Executor,
    advance: Callable[[int], None] = lambda count: None,
) -> Candidates:
    """Looks at a slide window by window; a candidate is a place of its division of which half is tissue.

    Every pixel counts in one candidate. Memory holds a batch of windows and, of each candidate, sums.

    Args:
        plan: of the slide.
        forward: starts a batch of `BATCH` windows: 'probabilities' and 'embedding'.
        classes: of the model.
        division: of the slide, as `divide` makes it.
        pool: threads that read.
        advance: called with the number of windows that were begun.
    """
    side, (down, across) = plan.tiling.side, division

    def parts_with_tissue() -> Iterator[tuple[int, int, np.ndarray]]:
        for row, column in itertools.product(range(down.parts), range(across.parts)):
            tissue = _tissue(plan, down, across, row, column)
            if tissue.any():
                yield row, column, tissue
            advance(1)

    sums: dict[tuple[int, int], np.ndarray] = {}
    for batch in _batched(parts_with_tissue(), BATCH):
        pixels = np.zeros((BATCH, side, side, 3), np.uint8)
        for place, read in enumerate(pool.map(lambda at: _read(plan, down, across, *at[:2]), batch)):
            pixels[place] = read
        outputs = {name: np.asarray(values) for name, values in forward(pixels).items()}
        for place, (row, column, tissue) in enumerate(batch):
            probabilities = outputs["probabilities"][place][down.window(row)[2], across.window(column)[2]][tissue]
            told = np.concatenate(
                [
                    [normalised_entropy(probabilities).sum(), len(probabilities)],
                    probabilities.sum(0, dtype=np.float64),
                    outputs["embedding"][place] * len(probabilities),
                ]
            )
            key = (down.place(row), across.place(column))
            sums[key] = sums.get(key, 0.0) + told
    return _gather(plan, sums, down, across, classes)


def _read(plan: SlidePlan, down: Axis, across: Axis, row: int, column: int) -> UInt8[np.ndarray, "side side 3"]:
    (top, rows, _), (left, columns, _) = down.window(row), across.window(column)
    side = plan.tiling.side
    return pad_to(plan.view.read(top, left, rows, columns), None, side, side)[0][:side, :side]


def _tissue(plan: SlidePlan, down: Axis, across: Axis, row: int, column: int) -> np.ndarray:
    """Of a part: which of its pixels are tissue."""
    (top, bottom), (left, right) = down.edges[row : row + 2], across.edges[column : column + 2]
    if plan.tissue is None:
        return np.ones((bottom - top, right - left), bool)
    return plan.tissue.window(top, left, bottom - top, right - left, plan.view.size)


def _gather(
    plan: SlidePlan, sums: Mapping[tuple[int, int], np.ndarray], down: Axis, across: Axis, classes: int
) -> Candidates:
    y_factor, x_factor = (own / seen for own, seen in zip(plan.slide.size, plan.view.size, strict=True))
    boxes, kept = [], []
    for (row, column), told in sorted(sums.items()):
        (top, bottom), (left, right) = down.extents[row], across.extents[column]
        rows, columns = bottom - top, right - left
        if told[1] >= LEAST_TISSUE * rows * columns:
            boxes.append((left * x_factor, top * y_factor, columns * x_factor, rows * y_factor))
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


def _batched(values: Iterable, count: int) -> Iterator[list]:
    """The values, `count` at a time."""
    rest = iter(values)
    while batch := list(itertools.islice(rest, count)):
        yield batch
