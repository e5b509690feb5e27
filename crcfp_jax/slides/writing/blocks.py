"""Rows that come one after the other, summed over square blocks: what a small picture of a large slide shows."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Shaped


class BlockSums:
    """Sums planes over blocks of factor x factor pixels, as their rows come.

    Attributes:
        factor: pixels of a block's side, the least with which no side has more than `longest` blocks.
        height, width: blocks; the last ones may be cut by the border.
    """

    def __init__(self, height: int, width: int, planes: int, *, longest: int):
        self.factor = -(-max(height, width) // longest)
        self.height, self.width = -(-height // self.factor), -(-width // self.factor)
        self._rows, self._all_rows = 0, height
        self._open = np.zeros((planes, self.width), np.float32)  # the row of blocks that is not complete

    def add(self, planes: Sequence[Shaped[np.ndarray, "rows columns"]]) -> Float32[np.ndarray, "planes n {self.width}"]:
        """Takes the next rows of each plane (bool or float32); returns the rows of blocks that they complete."""
        factor, start, stop = self.factor, self._rows, self._rows + len(planes[0])
        sums = np.zeros((len(planes), -(-stop // factor) - start // factor, self.width), np.float32)
        sums[:, :1] = self._open[:, None]
        # What is left of the block begun before, whole blocks all at once, and what is begun of the next.
        whole, end = -(-start // factor) * factor, stop // factor * factor
        for top, bottom in ((start, min(whole, stop)), (whole, end), (max(whole, end), stop)):
            if top < bottom:
                place, blocks = top // factor - start // factor, max(1, (bottom - top) // factor)
                for number, plane in enumerate(planes):
                    sums[number, place : place + blocks] += self._sum(plane[top - start : bottom - start], blocks)
        self._rows = stop
        if stop % self.factor and stop < self._all_rows:
            self._open = sums[:, -1]
            return sums[:, :-1]
        self._open = np.zeros_like(self._open)
        return sums

    def _sum(
        self, rows: Shaped[np.ndarray, "rows columns"], blocks: int
    ) -> Float32[np.ndarray, "{blocks} {self.width}"]:
        """Sums of as many rows of blocks, each of as many pixel rows."""
        exact = rows.dtype == bool  # whole numbers: the order does not matter
        as_bytes = exact and self.factor < 256  # many at a time
        rows = (rows.view(np.uint8) if as_bytes else rows).reshape(blocks, -1, rows.shape[1])
        columns = rows.sum(1, dtype=np.uint8 if as_bytes else np.float32)
        columns = np.pad(columns, ((0, 0), (0, self.width * self.factor - columns.shape[1])))
        columns = columns.reshape(blocks, self.width, self.factor)
        if exact:
            return columns.astype(np.float32) @ np.ones(self.factor, np.float32)
        return columns.sum(2, dtype=np.float32)
