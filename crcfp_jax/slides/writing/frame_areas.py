"""Areas within frames that were drawn on a slide: how much of each frame every class covers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.csv_text import csv_text
from crcfp_jax.slides.writing.areas import AreaCount
from crcfp_jax.slides.writing.band import Band, OutputGrid
from data_pipelines.annotations.painting import inside

PIXELS = 2**22  # looked at together: bounds the memory


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
        self._boxes = [_pixels_around(frame.area, grid) for frame in frames]

    def write(self, band: Band) -> None:
        """Counts the band's pixels."""
        for frame, (top, left, bottom, right), count in zip(self.frames, self._boxes, self.counts, strict=True):
            first, last = max(top, band.top), min(bottom, band.top + len(band.classes))
            step = max(1, PIXELS // max(1, right - left))
            for row in range(first, last, step):
                rows = min(step, last - row)
                part = band.classes[row - band.top : row - band.top + rows, left:right]
                count.add(part[inside(frame.area, row, left, rows, right - left, self._grid.scale)])

    def finish(self) -> None:
        """Writes the file."""
        millimetres2 = self._grid.millimetres2
        rows: list[list[str | int]] = [["region", "name", "class", "pixels", "mm2", "share"]]
        for number, (frame, count) in enumerate(zip(self.frames, self.counts, strict=True), start=1):
            pixels = [*count.pixels.tolist(), count.not_analysed]
            shares = [*(f"{share:.6f}" for share in count.shares), ""]
            names = [*(info.name for info in self._classes), "not_analysed"]
            for name, of, share in zip(names, pixels, shares, strict=True):
                rows.append([number, frame.name, name, of, f"{of * millimetres2:.9f}", share])
        self._path.write_bytes(csv_text(rows))

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


def _pixels_around(area: shapely.Geometry, grid: OutputGrid) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the output's pixels that an area may cover; none where it lies beside them."""
    left, top, right, bottom = np.array(area.bounds) / np.tile(grid.scale[::-1], 2)
    ends = (math.floor(top), grid.height), (math.floor(left), grid.width), (math.ceil(bottom), grid.height)
    return tuple(min(most, max(0, end)) for end, most in (*ends, (math.ceil(right), grid.width)))
