"""Areas within frames that were drawn on a slide: how much of each frame every class covers."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Bool

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.areas import AreaCount
from crcfp_jax.slides.writing.band import Band, OutputGrid


@dataclass(frozen=True)
class Frame:
    """An area of a slide whose classes are counted on their own."""

    name: str  # as drawn; empty where it has none
    area: shapely.Geometry  # valid; in slide pixels, whole numbers at the corners of pixels


class FrameAreaWriter:
    """Writes `areas_by_region.csv`: number and name of each frame, class, pixels of the output, mm² and share.

    A pixel belongs to a frame where its centre lies inside; to each of them where frames overlap. The share is of the
    area analysed inside the frame. Memory holds the frames' corners and one band's pixels.

    Attributes:
        frames: in the order of their numbers, from 1.
        counts: of each frame's pixels so far.
    """

    def __init__(self, folder: Path, grid: OutputGrid, classes: Sequence[ClassInfo], frames: Sequence[Frame]):
        self._path, self._grid, self._classes = folder / "areas_by_region.csv", grid, classes
        self.frames = tuple(frames)
        self.counts = [AreaCount(len(classes)) for _ in frames]
        self._fills = [_Fill(frame.area, grid) for frame in frames]

    def write(self, band: Band) -> None:
        """Counts the band's pixels."""
        for count, fill in zip(self.counts, self._fills, strict=True):
            rows, columns, inside = fill.rows(band.top, len(band.classes))
            count.add(band.classes[rows, columns][inside])

    def finish(self) -> None:
        """Writes the file."""
        millimetres2 = self._grid.millimetres2
        with open(self._path, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["region", "name", "class", "pixels", "mm2", "share"])
            for number, (frame, count) in enumerate(zip(self.frames, self.counts, strict=True), start=1):
                pixels = [*count.pixels.tolist(), count.not_analysed]
                shares = [*(f"{share:.6f}" for share in count.shares), ""]
                names = [*(info.name for info in self._classes), "not_analysed"]
                for name, of, share in zip(names, pixels, shares, strict=True):
                    table.writerow([number, frame.name, name, of, f"{of * millimetres2:.9f}", share])

    def describe(self) -> list[dict[str, Any]]:
        """What result.json says of each frame: JSON."""
        millimetres2 = self._grid.millimetres2
        return [
            {
                "region": number,
                "name": frame.name,
                "areas": count.describe(self._classes, millimetres2),
                "not_analysed": {"pixels": count.not_analysed, "mm2": count.not_analysed * millimetres2},
            }
            for number, (frame, count) in enumerate(zip(self.frames, self.counts, strict=True), start=1)
        ]

    def close(self) -> None:
        """There is nothing to give up."""


class _Fill:
    """The pixels whose centres lie in an area, some rows at a time: those left of an odd number of its borders."""

    def __init__(self, area: shapely.Geometry, grid: OutputGrid):
        self._width = grid.width
        coordinates, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(area)), return_index=True)
        x, y = (coordinates / grid.scale[::-1]).T
        side = np.flatnonzero(ring[1:] == ring[:-1])  # from a corner to the next
        side = side[y[side] != y[side + 1]]
        self._x, self._y, self._slope = x[side], y[side], (x[side + 1] - x[side]) / (y[side + 1] - y[side])
        ends = np.sort(np.stack([y[side], y[side + 1]]), axis=0)
        # A side crosses the centres of these rows; one that ends on a centre, which the next begins on, counts once.
        self._first, self._last = np.ceil(ends - 0.5).astype(np.int64)
        self._columns = tuple(np.clip(np.ceil([x.min() - 0.5, x.max() - 0.5]), 0, grid.width).astype(np.int64).tolist())

    def rows(self, top: int, height: int) -> tuple[slice, slice, Bool[np.ndarray, "rows columns"]]:
        """Which of `height` rows from `top` on, which columns, and which of the pixels there lie inside."""
        first, last = np.clip(self._first - top, 0, height), np.clip(self._last - top, 0, height)
        crossing = np.flatnonzero(first < last)
        if not len(crossing) or self._columns[0] == self._columns[1]:
            return slice(0, 0), slice(0, 0), np.zeros((0, 0), bool)
        first, last = first[crossing], last[crossing]
        start, end = int(first.min()), int(last.max())
        length = last - first
        side = np.repeat(crossing, length)
        row = np.arange(len(side)) + np.repeat(first - np.append(0, np.cumsum(length)[:-1]), length)
        x = self._x[side] + (row + top + 0.5 - self._y[side]) * self._slope[side]
        left, right = self._columns
        column = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64) - left
        borders = np.zeros((end - start, right - left + 1), np.uint8)  # odd where inside and outside change
        np.bitwise_xor.at(borders, (row - start, column), 1)
        inside = np.bitwise_xor.accumulate(borders, axis=1)[:, :-1].view(bool)
        return slice(start, end), slice(left, right), inside
