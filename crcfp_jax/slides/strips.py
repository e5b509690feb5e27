"""Strips of a canvas, one for each row of windows, read ahead by a pool of threads."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from data_pipelines.geometry import pad_to
from data_pipelines.tiling import Tiling, Window

BLOCK = 1024  # columns that a thread reads at a time
SLAB_BYTES = 2**27  # of a slab that is read ahead; three are held at a time
SLAB_HEIGHTS = (128, 1024)  # least and greatest: a low slab decodes the tiles of a slide again and again


@runtime_checkable
class Canvas(Protocol):
    """A picture of any size that can be read piece by piece, from several threads at once."""

    size: tuple[int, int]  # height, width in pixels

    def read(self, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
        """The pixels of a rectangle inside the canvas."""


def slab_height(width: int) -> int:
    """Rows of a canvas that are read at a time: as many as SLAB_BYTES holds, within SLAB_HEIGHTS."""
    least, greatest = SLAB_HEIGHTS
    return min(greatest, max(least, SLAB_BYTES // (3 * width)))


def read_strips(
    canvas: Canvas, tiling: Tiling, windows: Sequence[Sequence[Window]], pool: Executor, *, height: int
) -> Iterator[UInt8[np.ndarray, "side _ 3"]]:
    """The canvas rows of each row of windows that has any, in order.

    Slabs of `height` rows are read in blocks, of which those that no window touches stay white; the slab after the one
    in use is under way in the pool. A canvas smaller than a window is continued by reflection.

    Args:
        canvas: what is read.
        tiling: of the canvas.
        windows: those wanted, for each row of windows.
        pool: reads the blocks; an error in there is raised here.
        height: rows of a slab; changes nothing in the result.
    """
    slabs: deque[tuple[int, np.ndarray, list[Future]]] = deque()  # first row, pixels, blocks under way
    starts = iter(range(0, tiling.height, height))

    def start_slab() -> None:
        if (top := next(starts, None)) is None:
            return
        rows = min(height, tiling.height - top)
        pixels = np.full((rows, tiling.width, 3), 255, np.uint8)
        blocks = [
            pool.submit(_read_into, canvas, pixels, top, first, last)
            for first, last in _touched(tiling, windows, top, rows)
        ]
        slabs.append((top, pixels, blocks))

    try:
        start_slab()
        for top, row in zip(tiling.tops, windows, strict=True):
            end = min(top + tiling.side, tiling.height)
            while slabs[0][0] + len(slabs[0][1]) <= top:
                slabs.popleft()
                if not slabs:
                    start_slab()
            while slabs[-1][0] + len(slabs[-1][1]) < end:
                start_slab()
            if slabs[-1][0] < end:  # it is in use: the next one is read meanwhile
                start_slab()
            if not row:
                continue
            parts = []
            for first, pixels, blocks in slabs:
                if first >= end:
                    break
                for block in blocks:
                    block.result()
                parts.append(pixels[max(0, top - first) : end - first])
            strip = parts[0] if len(parts) == 1 else np.concatenate(parts)
            yield pad_to(strip, None, tiling.side, tiling.side)[0]
    finally:  # the canvas may be closed once this has ended
        wait([block for _, _, blocks in slabs for block in blocks if not block.cancel()])


def _touched(tiling: Tiling, windows: Sequence[Sequence[Window]], top: int, rows: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 column of each block of a slab that any window needs."""
    near = [
        window.left
        for first, row in zip(tiling.tops, windows, strict=True)
        if first < top + rows and first + tiling.side > top
        for window in row
    ]
    lefts = np.unique(np.array(near, np.int64))
    for first in range(0, tiling.width, BLOCK):
        last = min(first + BLOCK, tiling.width)
        if np.any((lefts < last) & (lefts + tiling.side > first)):
            yield first, last


def _read_into(canvas: Canvas, pixels: np.ndarray, top: int, first: int, last: int) -> None:
    pixels[:, first:last] = canvas.read(top, first, len(pixels), last - first)
