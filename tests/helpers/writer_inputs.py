"""What the tests of writers share: class maps as bands of any height, and a slide in memory."""

from pathlib import Path

import numpy as np

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.band import Band
from data_pipelines.reading.slide import Slide

CLASSES = (
    ClassInfo("background", (255, 255, 255)),
    ClassInfo("tumour", (200, 30, 30)),
    ClassInfo("stroma", (30, 90, 200)),
    ClassInfo("fat", (240, 200, 20)),
)


class Picture(Slide):
    """A slide of one level whose pixels are in memory."""

    def __init__(self, pixels, microns_per_pixel=0.5):
        super().__init__(Path("picture.png"), (pixels.shape[:2],), microns_per_pixel, ())
        self.pixels = pixels

    def _read(self, level, top, left, height, width):
        return self.pixels[top : top + height, left : left + width].copy()

    def close(self):
        pass


def bands(classes, probabilities=None, uncertainty=None, *, height=None, rng=None):
    """Bands of a height, or of heights drawn at random, of a class map and what goes with it, from 0 to 1."""
    top = 0
    while top < len(classes):
        rows = slice(top, top + (height or int(rng.integers(1, 9))))
        part = classes[rows]
        yield Band(
            top,
            part,
            None if probabilities is None else np.rint(255 * probabilities[rows]).astype(np.uint8),
            None if uncertainty is None else np.rint(65535 * uncertainty[rows]).astype(np.uint16),
        )
        top += len(part)


def write(writer, all_bands):
    """Sends every band through a writer and completes its files."""
    try:
        for band in all_bands:
            writer.write(band)
        writer.finish()
    finally:
        writer.close()
