"""Slides of the vendors that OpenSlide knows."""

from pathlib import Path

import cv2
import numpy as np
import openslide
from jaxtyping import UInt8

from crcfp_jax.common.errors import UserError
from data_pipelines.reading.pixels import lay_on_white
from data_pipelines.reading.slide import Slide, one_line, pixel_size

CACHE = 2**28  # bytes of decoded tiles: two rows of them across a slide of 100,000 pixels
LARGEST_TILE = 2**28  # pixels; damaged bytes can say more, and where memory lacks OpenSlide ends the process
BLOCK = 512  # pixels
BOUNDS = ("openslide.bounds-y", "openslide.bounds-x", "openslide.bounds-height", "openslide.bounds-width")


def knows(path: Path) -> bool:
    """Whether OpenSlide knows the file's vendor.

    Not so TIFFs of no vendor: of these OpenSlide reads the tiled ones only, none of their SubIFDs, and CMYK, CIELAB or
    16-bit grey without a word.
    """
    return openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff")


class VendorSlide(Slide):
    """A slide through OpenSlide, cropped to its bounds as in QuPath where a scanner saved a larger, empty canvas."""

    def __init__(self, path: Path):
        try:
            self._handle = openslide.OpenSlide(path)
            self._handle.set_cache(openslide.OpenSlideCache(CACHE))
            properties = self._handle.properties
            sizes = [(height, width) for width, height in self._handle.level_dimensions]
            self._downsamples = self._handle.level_downsamples
            top, left, height, width = (int(properties.get(name, 0)) for name in BOUNDS)
            for level in range(len(sizes)):
                tile = [int(properties.get(f"openslide.level[{level}].tile-{side}", 0)) for side in ("height", "width")]
                if tile[0] * tile[1] > LARGEST_TILE:
                    raise ValueError(f"tiles of {tile[0]} x {tile[1]} pixels")
        except (openslide.OpenSlideError, ValueError) as error:
            raise UserError(
                f"{path} cannot be opened ({one_line(error)}): the file is damaged, copy it again"
            ) from error
        cropped = height > 0 and width > 0 and height != sizes[0][0] and width != sizes[0][1]
        self._origin = (top, left) if cropped else (0, 0)
        if cropped:
            sizes = [(max(1, round(height / n)), max(1, round(width / n))) for n in self._downsamples]
        microns_y, microns_x = (_number(properties.get(name)) for name in ("openslide.mpp-y", "openslide.mpp-x"))
        super().__init__(path, tuple(sizes), *pixel_size(microns_y, microns_x))

    def _read(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        if self._downsamples[level].is_integer():
            return self._paint(level, top, left, height, width)
        # OpenSlide takes positions in whole pixels of level 0 and interpolates between those of the level: a pixel's
        # value depends on where the region begins. Beginning in fixed places only, it has one value.
        output = np.empty((height, width, 3), np.uint8)
        for y in range(top // BLOCK * BLOCK, top + height, BLOCK):
            for x in range(left // BLOCK * BLOCK, left + width, BLOCK):
                below, right = min(y + BLOCK, top + height), min(x + BLOCK, left + width)
                block = self._paint(level, y, x, below - y, right - x)
                above, before = max(y, top), max(x, left)
                output[above - top : below - top, before - left : right - left] = block[above - y :, before - x :]
        return output

    def _paint(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        factor = self._downsamples[level]
        place = (round(left * factor) + self._origin[1], round(top * factor) + self._origin[0])
        rgba = np.asarray(self._handle.read_region(place, level, (width, height)))
        alpha = rgba[..., 3]
        if alpha.min() < 255:  # no tile there: white as the glass is
            return lay_on_white(rgba[..., :3], alpha)
        return cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)

    def close(self) -> None:
        self._handle.close()


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
