"""Finds the files of a download, and makes tiles of them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from crcfp_jax.common.classes import IGNORED
from data_pipelines.reading.open import is_slide_file
from data_pipelines.reading.whole import read_codes, read_image
from data_pipelines.recipes import Tile


def files_by_stem(folder: Path, ending: str) -> dict[str, Path]:
    """Returns the files of a folder by name without ending, sorted; hidden files are left out, a missing one is {}."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.glob(f"*{ending}")) if not path.name.startswith(".")}


def pictures_by_stem(folder: Path) -> dict[str, list[Path]]:
    """Returns the pictures of a folder, of any kind that is read, by name without ending; a missing folder has none."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if is_slide_file(path):
            found.setdefault(path.stem, []).append(path)
    return found


def foreground_tile(image_path: Path, mask_path: Path, name: str, hospital: str, patient: str) -> Tile:
    """A whole picture as a tile; what its mask of codes has above 0 is of class 1.

    Raises:
        UserError: a file that can't be read, or a mask of another size.
    """
    image, notes = read_image(image_path)
    label = (read_codes(mask_path, image.shape[:2]) > 0).astype(np.uint8)
    return Tile(name, image, label, hospital, patient, name, 0, 0, notes=notes)


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
