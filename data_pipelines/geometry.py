"""Scale, crop, pad, flip and window images together with their labels; NumPy arrays in and out."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from data_pipelines.records import IGNORED


def resize(
    image: np.ndarray, label: np.ndarray | None, height: int, width: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Resizes an image and its label to height x width pixels; an array that already has that size is not copied.

    The image [h, w] or [h, w, c] is averaged over areas where neither side grows, so that shrinking does not alias, and
    interpolated bilinearly (half-pixel centres) otherwise. The label [h, w] takes the nearest pixel.
    """
    if image.shape[:2] == (height, width):
        return image, label
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if label is not None:
        # INTER_NEAREST rounds down, which moves labels by up to half a pixel against the image.
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return image, label


def crop(
    image: np.ndarray, label: np.ndarray | None, top: int, left: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Cuts the window of height x width pixels at (top, left), which may reach over the borders of the image.

    Beyond the borders the image is reflected, which keeps the colour statistics of tissue, and the label is IGNORED.
    Raises ValueError for a window that does not touch the image.
    """
    image_height, image_width = image.shape[:2]
    before_y, after_y = max(0, -top), max(0, top + height - image_height)
    before_x, after_x = max(0, -left), max(0, left + width - image_width)
    rows = slice(top + before_y, top + height - after_y)
    columns = slice(left + before_x, left + width - after_x)
    if rows.stop <= rows.start or columns.stop <= columns.start:
        raise ValueError(f"the window {(top, left, height, width)} lies outside an image of {image.shape[:2]} pixels")
    image = image[rows, columns]
    label = None if label is None else label[rows, columns]
    border = (before_y, after_y, before_x, after_x)
    if any(border):
        image = cv2.copyMakeBorder(image, *border, cv2.BORDER_REFLECT_101)
        if label is not None:
            label = cv2.copyMakeBorder(label, *border, cv2.BORDER_CONSTANT, value=IGNORED)
    return image, label


def pad_to(
    image: np.ndarray, label: np.ndarray | None, height: int, width: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pads at the bottom and the right to at least height x width pixels: reflected image, IGNORED label."""
    return crop(image, label, 0, 0, max(height, image.shape[0]), max(width, image.shape[1]))


def flip(array: np.ndarray, *, horizontal: bool, vertical: bool = False) -> np.ndarray:
    """Mirrors an array [h, w] or [h, w, c]: left and right if `horizontal`, top and bottom if `vertical`."""
    if horizontal and vertical:
        return cv2.flip(array, -1)
    if horizontal or vertical:
        return cv2.flip(array, 1 if horizontal else 0)
    return array


LEAST_OVERLAP = 4  # neighbouring windows share at least 1/4 of their side


@dataclass(frozen=True)
class WindowPlacement:
    """Where the windows of `cut_windows` lie: size of the image and origins of the windows, in pixels."""

    height: int
    width: int
    side: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @property
    def origins(self) -> list[tuple[int, int]]:
        """(top, left) of each window, row by row: the order of the windows."""
        return [(top, left) for top in self.tops for left in self.lefts]


def _origins(length: int, side: int) -> tuple[int, ...]:
    overlap = side // LEAST_OVERLAP
    count = math.ceil((length - overlap) / (side - overlap))
    return tuple(int(origin) for origin in np.linspace(0, length - side, count).round())


def cut_windows(image: np.ndarray, side: int) -> tuple[np.ndarray, WindowPlacement]:
    """Cuts an image [h, w, c] into the fewest evenly spaced windows [n, side, side, c] that cover all of it.

    Neighbouring windows overlap by at least a quarter of their side; an image smaller than a window is reflected at the
    bottom and the right. The placement puts predictions for the windows together again, see `join_windows`.
    """
    height, width = image.shape[:2]
    padded, _ = pad_to(image, None, side, side)
    tops, lefts = _origins(padded.shape[0], side), _origins(padded.shape[1], side)
    placement = WindowPlacement(height, width, side, tops, lefts)
    windows = np.stack([padded[top : top + side, left : left + side] for top, left in placement.origins])
    return windows, placement


def window_weight(side: int) -> np.ndarray:
    """Weight of a window's pixels, float32 [side, side], where windows overlap.

    It falls linearly from the centre of a window to its border, where a network sees least of the surroundings: no
    border shows in the result.
    """
    ramp = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32) + 0.5
    return np.outer(ramp, ramp)


def join_windows(probabilities: np.ndarray, placement: WindowPlacement) -> np.ndarray:
    """Puts windows [n, side, side, c] float32 together to [h, w, c] float32; where they overlap, their weighted mean.

    The weights are those of `window_weight`.
    Raises ValueError if the shape does not fit the placement.
    """
    side, origins = placement.side, placement.origins
    if probabilities.ndim != 4 or probabilities.shape[:3] != (len(origins), side, side):
        raise ValueError(f"expected windows [{len(origins)}, {side}, {side}, c], not {list(probabilities.shape)}")
    size = (placement.tops[-1] + side, placement.lefts[-1] + side)
    total = np.zeros((*size, probabilities.shape[3]), np.float32)
    weights = np.zeros((*size, 1), np.float32)
    weight = window_weight(side)[..., None]
    for window, (top, left) in zip(probabilities, origins, strict=True):
        total[top : top + side, left : left + side] += weight * window
        weights[top : top + side, left : left + side] += weight
    total /= weights
    return total[: placement.height, : placement.width]
