"""Scale, crop, pad and flip images together with their labels; NumPy arrays in and out."""

import cv2
import numpy as np

from crcfp_jax.common.classes import IGNORED


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


def crop_mirrored(image: np.ndarray, top: int, left: int, height: int, width: int, *, vertical: bool) -> np.ndarray:
    """The window at (top, left) of the image as it is or, if `vertical`, mirrored top to bottom; see `crop`.

    The window alone is mirrored, which is all that is seen: a tile has many times its pixels.
    """
    if vertical:
        top = image.shape[0] - top - height
    return flip(crop(image, None, top, left, height, width)[0], horizontal=False, vertical=vertical)


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
