"""Probabilities and uncertainty of every pixel as images of grey values."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import TiffWriter

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.band import NOT_ANALYSED, Band, OutputGrid
from crcfp_jax.slides.writing.geojson import NAMESPACE
from crcfp_jax.slides.writing.heat import HeatMap
from crcfp_jax.slides.writing.mask import PNG_PIXELS
from crcfp_jax.slides.writing.pyramid import average, is_big, level_sizes, write_levels
from crcfp_jax.slides.writing.spool import Spool


class ProbabilityWriter:
    """Writes `probabilities.tif`: OME-TIFF, a channel of the class's name for each class, round(255 probability).

    It is tiled, has a pyramid of means and the size of a pixel. All channels are 0 where nothing was analysed.
    """

    def __init__(self, folder: Path, grid: OutputGrid, classes: Sequence[ClassInfo]):
        self._folder, self._grid, self._classes = folder, grid, classes
        self._spool = Spool(folder, len(classes), grid.height, grid.width)

    def write(self, band: Band) -> None:
        """Keeps the band's rows on disk."""
        for number in range(len(self._classes)):
            rows = np.zeros_like(band.classes) if band.probabilities is None else band.probabilities[..., number]
            self._spool.write(number, band.top, rows)

    def finish(self) -> None:
        """Writes the file."""
        with self._spool:
            names = [info.name for info in self._classes]
            _write_ome(self._folder / "probabilities.tif", self._spool, self._grid, names)

    def close(self) -> None:
        """Removes the scratch file."""
        self._spool.close()


class UncertaintyWriter:
    """Writes `uncertainty.png`, a picture of at most 2048 pixels a side, and for large slides `uncertainty.tif`.

    The TIFF is written where the mask is one: OME-TIFF of one channel, tiled, with a pyramid, 16 bits:
    round(65535 uncertainty), since classifiers that are sure differ by far less than 1.
    """

    def __init__(self, folder: Path, grid: OutputGrid):
        self._folder, self._grid = folder, grid
        self._picture = HeatMap(grid.height, grid.width, grid.microns_per_pixel, "uncertainty")
        large = grid.height * grid.width > PNG_PIXELS
        self._spool = Spool(folder, 1, grid.height, grid.width, np.uint16) if large else None

    def write(self, band: Band) -> None:
        """Keeps the band's rows on disk, and their means."""
        rows = np.zeros(band.classes.shape, np.uint16) if band.uncertainty is None else band.uncertainty
        self._picture.add(rows / np.float32(65535), band.classes != NOT_ANALYSED)
        if self._spool is not None:
            self._spool.write(0, band.top, rows)

    def finish(self) -> None:
        """Writes the files."""
        self._picture.save(self._folder / "uncertainty.png")
        if self._spool is not None:
            with self._spool:
                _write_ome(self._folder / "uncertainty.tif", self._spool, self._grid, ["uncertainty"])

    def close(self) -> None:
        """Removes the scratch file."""
        if self._spool is not None:
            self._spool.close()


def _write_ome(path: Path, spool: Spool, grid: OutputGrid, names: Sequence[str]) -> None:
    size = {f"PhysicalSize{axis}": grid.microns_per_pixel for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    axes = "CYX" if len(names) > 1 else "YX"
    # tifffile's own identifier would hold the machine's address and the time: no two files would be the same.
    identity = uuid.uuid5(NAMESPACE, f"{spool.height} {spool.width} {grid.microns_per_pixel} {names}")
    metadata: dict[str, Any] = {"axes": axes, "Channel": {"Name": list(names)}, "UUID": str(identity), **size, **units}
    levels = len(level_sizes(spool.height, spool.width))
    with TiffWriter(path, ome=True, bigtiff=is_big(spool)) as file:
        write_levels(
            file,
            spool,
            path.parent,
            average,
            grid.microns_per_pixel,
            full={"subifds": levels - 1, "metadata": metadata},
            reduced={"subfiletype": 1, "metadata": None},
            photometric="minisblack",
            predictor=spool.dtype.itemsize > 1,  # differences of neighbours; halves 16 bits, gains nothing for 8
            compressionargs={"level": 1},  # three times as fast as the usual 6, and an eighth larger
        )
