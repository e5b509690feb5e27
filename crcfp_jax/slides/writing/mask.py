"""The class of every pixel as an image whose pixel values are class numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tifffile import TiffWriter

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.drawing import HATCH_COLOURS
from crcfp_jax.slides.writing.band import NOT_ANALYSED, Band, OutputGrid
from crcfp_jax.slides.writing.pyramid import is_big, majority, write_levels
from crcfp_jax.slides.writing.spool import Spool

PNG_PIXELS = 2**26  # a larger mask becomes a TIFF with a pyramid, which viewers open without reading all of it


class MaskWriter:
    """Writes `mask.png` (up to PNG_PIXELS) or `mask.tif`: pixel value = class number, 255 = not analysed.

    Both hold the classes' colours as their palette, and the size of a pixel. The TIFF is tiled and has its pyramid in
    the order of pages that OpenSlide and QuPath read; each pixel of a lower level has the most frequent class.
    """

    def __init__(self, folder: Path, grid: OutputGrid, classes: Sequence[ClassInfo]):
        self._folder, self._grid, self._classes = folder, grid, classes
        self._spool = Spool(folder, 1, grid.height, grid.width)

    def write(self, band: Band) -> None:
        """Keeps the band's rows on disk."""
        self._spool.write(0, band.top, band.classes)

    def finish(self) -> None:
        """Writes the file."""
        with self._spool:
            if self._grid.height * self._grid.width <= PNG_PIXELS:
                self._write_png()
            else:
                self._write_tiff()

    def close(self) -> None:
        """Removes the scratch file."""
        self._spool.close()

    def _write_png(self) -> None:
        height, width = self._grid.height, self._grid.width
        picture = Image.frombuffer("P", (width, height), self._spool.read(0, 0, height), "raw", "P", 0, 1)
        picture.putpalette(palette(self._classes).tobytes())
        inches = self._grid.microns_per_pixel / 25400  # a pixel's side; PNG stores pixels per metre
        picture.save(self._folder / "mask.png", dpi=(1 / inches, 1 / inches), compress_level=3)  # thrice as fast as 6

    def _write_tiff(self) -> None:
        names = [f"{number} {info.name}" for number, info in enumerate(self._classes)]
        colours = palette(self._classes).T.astype(np.uint16) * 257  # 16 bits
        with TiffWriter(self._folder / "mask.tif", bigtiff=is_big(self._spool)) as file:
            write_levels(
                file,
                self._spool,
                self._folder,
                majority,
                self._grid.microns_per_pixel,
                full={"description": "; ".join([*names, f"{NOT_ANALYSED} not analysed"]).encode()},
                reduced={"subfiletype": 1},
                photometric="palette",
                colormap=colours,
                metadata=None,
            )


def palette(classes: Sequence[ClassInfo]) -> UInt8[np.ndarray, "256 3"]:
    """The classes' colours by number; light grey for everything else."""
    colours = np.full((256, 3), HATCH_COLOURS[0], np.uint8)
    colours[: len(classes)] = [info.colour for info in classes]
    return colours
