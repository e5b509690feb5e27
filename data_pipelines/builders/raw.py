"""Finds the files of a download, and cuts regions into tiles."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from crcfp_jax.common.classes import IGNORED


def files_by_stem(folder: Path, ending: str) -> dict[str, Path]:
    """Returns the files of a folder by name without ending, sorted; hidden files are left out, a missing one is {}."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.glob(f"*{ending}")) if not path.name.startswith(".")}


def cut_tiles(
    image: np.ndarray, label: np.ndarray | None, side: int
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray | None]]:
    """Yields (x, y, image tile, label tile), row by row, on a grid that covers every pixel exactly once.

    Tiles at the right and bottom edges are filled up with the mirrored region, and with ignored labels.

    Args:
      image: uint8 [h, w, 3].
      label: uint8 [h, w], or None: the label tiles are None too.
      side: pixels.
    """
    height, width = image.shape[:2]
    border = (0, -height % side, 0, -width % side)  # top, bottom, left, right
    image = cv2.copyMakeBorder(image, *border, cv2.BORDER_REFLECT)
    if label is not None:
        label = cv2.copyMakeBorder(label, *border, cv2.BORDER_CONSTANT, value=IGNORED)
    for y in range(0, height, side):
        for x in range(0, width, side):
            window = np.s_[y : y + side, x : x + side]
            yield x, y, image[window], None if label is None else label[window]
