"""A slide, or a picture in memory, at another pixel size: the same numbers however the output is cut."""

import cv2
import numpy as np
import scipy.sparse
from jaxtyping import Float32, Shaped, UInt8

from data_pipelines.reading.axis import Axis
from data_pipelines.reading.slide import Slide
from data_pipelines.scale import scaled_size

SAME = 0.02  # a level whose pixels are this close to the wanted size is taken as it is
# Source rows and columns resampled at once: a strip or a row of tiles is decoded once, and processor caches hold it.
BLOCK = (512, 4096)
TRANSPOSABLE = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # bytes of a pixel that cv2.transpose knows


def resample(
    block: Shaped[np.ndarray, "_ _ c"],
    vertical: Axis,
    horizontal: Axis,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> Shaped[np.ndarray, "_ _ c"]:
    """The output pixels of the ranges `rows` and `columns`, each (start, stop), as `block` is: uint8 or float32.

    Args:
        block: [h, w, c], the source pixels of `vertical.source_range(*rows)` and `horizontal.source_range(*columns)`.
        vertical: axis of the rows.
        horizontal: axis of the columns.
        rows: of the output.
        columns: of the output.
    """
    first, last = horizontal.source_range(*columns)
    expected = (vertical.source_range(*rows)[1] - vertical.source_range(*rows)[0], last - first)
    if block.shape[:2] != expected or block.dtype not in (np.uint8, np.float32):
        raise ValueError(f"expected uint8 or float32 {expected}, not {block.dtype} {block.shape[:2]}")
    output = np.empty((rows[1] - rows[0], columns[1] - columns[0], block.shape[2]), block.dtype)
    down = vertical.weights(*rows)
    step = _step(horizontal, BLOCK[1])
    for start in range(columns[0], columns[1], step):
        stop = min(start + step, columns[1])
        left, right = horizontal.source_range(start, stop)
        part = _weighted(down, block[:, left - first : right - first])
        part = _transposed(_weighted(horizontal.weights(start, stop), _transposed(part)))
        if block.dtype == np.uint8:
            part += np.float32(0.5)
        output[:, start - columns[0] : stop - columns[0]] = part
    return output


def canvas_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width of a picture of `size` pixels when a pixel becomes `scale` times as large.

    Its own where its pixels are within `SAME` of those.
    """
    return size if abs(1 / scale - 1) <= SAME else scaled_size(*size, 1 / scale)


def to_canvas(picture: UInt8[np.ndarray, "_ _ 3"], scale: float) -> UInt8[np.ndarray, "_ _ 3"]:
    """A picture in memory as a network sees it: what `View` reads of one without a pyramid.

    Args:
        picture: of uint8.
        scale: picture pixels per canvas pixel.
    """
    return to_size(picture, canvas_size(picture.shape[:2], scale))


def to_size(picture: UInt8[np.ndarray, "_ _ 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "_ _ 3"]:
    """A picture in memory at another height and width; the picture itself where it has these."""
    if picture.shape[:2] == size:
        return picture
    height, width = size
    vertical, horizontal = (Axis(*pair) for pair in zip(picture.shape[:2], size, strict=True))
    return resample(picture, vertical, horizontal, (0, height), (0, width))


def _step(axis: Axis, source: int) -> int:
    return max(1, source * axis.output // axis.source)


def _weighted(weights: scipy.sparse.csr_array, pixels: Shaped[np.ndarray, "n m c"]) -> Float32[np.ndarray, "_ m c"]:
    # Every output row is a sum over source rows in their order, one product at a time: no blocking that depends on the
    # shape, as a matrix product of BLAS has, can change its rounding. The sum is compiled and runs without the GIL.
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    return (weights @ flat).reshape(weights.shape[0], *pixels.shape[1:])


def _transposed(pixels: Float32[np.ndarray, "h w c"]) -> Float32[np.ndarray, "w h c"]:
    if pixels.strides[1] in TRANSPOSABLE:
        return cv2.transpose(pixels).reshape(pixels.shape[1], pixels.shape[0], -1)
    return np.ascontiguousarray(pixels.swapaxes(0, 1))


class View:
    """A slide at another pixel size: a canvas that covers exactly the slide. Safe from several threads at once."""

    def __init__(self, slide: Slide, scale: float):
        """Takes the coarsest level whose pixels are not larger than the canvas's.

        Args:
            slide: stays the caller's to close.
            scale: slide pixels per canvas pixel.
        """
        factors = [(slide.size[0] / height + slide.size[1] / width) / 2 for height, width in slide.levels]
        fitting = [level for level, factor in enumerate(factors) if factor <= scale * (1 + SAME)]
        self._slide = slide
        self._level = max(fitting, key=lambda level: factors[level], default=0)
        level_size = slide.levels[self._level]
        same = abs(factors[self._level] / scale - 1) <= SAME
        # Height, width of the canvas.
        self.size: tuple[int, int] = level_size if same else canvas_size(slide.size, scale)
        self._vertical, self._horizontal = (Axis(*pair) for pair in zip(level_size, self.size, strict=True))

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
        """Pixels of the canvas.

        Raises:
            UserError: the slide is damaged there.
            ValueError: a region that is not within the canvas.
        """
        if min(top, left, height, width) < 0 or top + height > self.size[0] or left + width > self.size[1]:
            raise ValueError(f"the region {(top, left, height, width)} lies outside a canvas of {self.size}")
        if self._slide.levels[self._level] == self.size:
            return self._slide.read(self._level, top, left, height, width)
        output = np.empty((height, width, 3), np.uint8)
        steps = (_step(self._vertical, BLOCK[0]), _step(self._horizontal, BLOCK[1]))
        for y in range(top, top + height, steps[0]):
            rows = (y, min(y + steps[0], top + height))
            above, below = self._vertical.source_range(*rows)
            for x in range(left, left + width, steps[1]):
                columns = (x, min(x + steps[1], left + width))
                start, stop = self._horizontal.source_range(*columns)
                block = self._slide.read(self._level, above, start, below - above, stop - start)
                part = resample(block, self._vertical, self._horizontal, rows, columns)
                output[y - top : rows[1] - top, x - left : columns[1] - left] = part
        return output
