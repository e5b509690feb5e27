"""A format: `counts.txt`, a line with the pixels of each class.

As crcfp_jax/slides/writing/counts.py it needs one row in crcfp_jax/slides/formats.py:
    "counts": Format(f"{_WRITING}.counts:CountWriter", "pixels of each class as text")
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.band import Band, OutputGrid


class CountWriter:
    """Counts while bands of rows come from the top to the bottom; pixels that no network saw are 255."""

    def __init__(self, folder: Path, grid: OutputGrid, classes: Sequence[ClassInfo]):
        self._path, self._classes = folder / "counts.txt", classes
        self._counts = np.zeros(256, np.int64)

    def write(self, band: Band) -> None:
        self._counts += np.bincount(band.classes.ravel(), minlength=256)

    def finish(self) -> None:
        lines = [f"{info.name}: {count}\n" for info, count in zip(self._classes, self._counts, strict=False)]
        self._path.write_text("".join(lines), encoding="utf-8")

    def close(self) -> None:
        pass  # no scratch file to remove
