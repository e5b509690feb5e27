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
        start, stop = self._rows, self._rows + len(planes[0])
        blocks = range(start // self.factor, -(-stop // self.factor))
        sums = np.zeros((len(planes), len(blocks), self.width), np.float32)
        sums[:, :1] = self._open[:, None]
        for number, plane in enumerate(planes):
            if plane.dtype == bool and self.factor < 256:
                plane = plane.view(np.uint8)  # summed as bytes, many at a time
            for place, block in enumerate(blocks):
                rows = plane[max(start, block * self.factor) - start : (block + 1) * self.factor - start]
                columns = rows.sum(0, dtype=plane.dtype if plane.dtype == np.uint8 else np.float32)
                columns = np.pad(columns, (0, self.width * self.factor - len(columns)))
                sums[number, place] += columns.reshape(self.width, self.factor).sum(1, dtype=np.float32)
        self._rows = stop
        if stop % self.factor and stop < self._all_rows:
            self._open = sums[:, -1]
            return sums[:, :-1]
        self._open = np.zeros_like(self._open)
        return sums
