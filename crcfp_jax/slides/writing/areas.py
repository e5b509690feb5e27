"""Areas: how much of a slide each class covers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.csv_text import csv_text
from crcfp_jax.slides.writing.band import NOT_ANALYSED, Band, OutputGrid


class AreaCount:
    """Pixels of the output per class.

    Attributes:
        pixels: int64 [c]; of each class.
        not_analysed: pixels that no network has seen.
    """

    def __init__(self, num_classes: int):
        self.pixels = np.zeros(num_classes, np.int64)
        self.not_analysed = 0

    def add(self, classes: UInt8[np.ndarray, "..."]) -> None:
        """Counts some pixels."""
        for number in range(len(self.pixels)):
            self.pixels[number] += np.count_nonzero(classes == number)
        self.not_analysed += int(np.count_nonzero(classes == NOT_ANALYSED))

    def describe(self, classes: Sequence[ClassInfo], millimetres2: float) -> dict[str, dict[str, int | float]]:
        """Pixels, mm² and share of each class by its name; `millimetres2` is the area of a pixel."""
        return {
            info.name: {"pixels": pixels, "mm2": pixels * millimetres2, "share": share}
            for info, pixels, share in zip(classes, self.pixels.tolist(), self.shares, strict=True)
        }

    @property
    def shares(self) -> list[float]:
        """Of the analysed area, per class: 0 to 1; all 0 where nothing has been analysed."""
        return (self.pixels / max(1, self.pixels.sum())).tolist()


class AreaWriter:
    """Writes `areas.csv`: class, pixels of the output, mm² and share of the analysed area; last what was not analysed.

    Attributes:
        count: of the pixels so far.
    """

    def __init__(self, folder: Path, grid: OutputGrid, classes: Sequence[ClassInfo]):
        self._path, self._grid, self._classes = folder / "areas.csv", grid, classes
        self.count = AreaCount(len(classes))

    def write(self, band: Band) -> None:
        """Counts the band's pixels."""
        self.count.add(band.classes)

    def finish(self) -> None:
        """Writes the file."""
        millimetres2 = self._grid.millimetres2
        names = [info.name for info in self._classes]
        rows: list[list[str | int]] = [["class", "pixels", "mm2", "share"]]
        for name, pixels, share in zip(names, self.count.pixels.tolist(), self.count.shares, strict=True):
            rows.append([name, pixels, f"{pixels * millimetres2:.9f}", f"{share:.6f}"])
        rows.append(["not_analysed", self.count.not_analysed, f"{self.count.not_analysed * millimetres2:.9f}", ""])
        self._path.write_bytes(csv_text(rows))

    def close(self) -> None:
        """There is nothing to give up."""
