"""Which source pixels an output pixel is made of, along one axis, and with what weights."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Float, Float32, Int


@dataclass(frozen=True)
class Axis:
    """One axis of a resampling: `output` pixels that cover exactly `source` pixels.

    Where the output is coarser, a pixel is the mean of the area that it covers; where it is finer, source pixels are
    interpolated linearly between their centres, and the outermost ones go on to the edge. Positions are whole numbers
    of 1 / (2 output) source pixels, so that nothing depends on where a range begins.
    """

    source: int
    output: int

    def source_range(self, start: int, stop: int) -> tuple[int, int]:
        """First source pixel that the output pixels [start, stop) need, and the one after the last."""
        if self.output <= self.source:
            return start * self.source // self.output, -(-stop * self.source // self.output)
        return max(0, self._left_of(start)), min(self.source, self._left_of(stop - 1) + 2)

    def complete(self, available: int) -> int:
        """How many output pixels, from the first, need none but the first `available` source pixels."""
        if available >= self.source:
            return self.output
        if self.output <= self.source:
            return available * self.output // self.source
        return max(0, ((self.output * (2 * available - 1) - 1) // self.source + 1) // 2)

    def taps(self, start: int, stop: int) -> tuple[Int[np.ndarray, "n k"], Float32[np.ndarray, "n k"]]:
        """Source pixels of each output pixel, ascending, and their weights; where a weight is 0, any number."""
        pixels = np.arange(start, stop, dtype=np.int64)[:, None]
        index, weight = self._area(pixels) if self.output <= self.source else self._linear(pixels)
        return index, weight.astype(np.float32)

    def weights(self, start: int, stop: int) -> scipy.sparse.csr_array:
        """Float32 [stop - start, source pixels of `source_range`]; a row holds the weights of an output pixel."""
        index, weight = self.taps(start, stop)
        first, last = self.source_range(start, stop)
        used = weight > 0
        ends = np.concatenate([[0], np.cumsum(used.sum(1))])
        content = (weight[used], index[used] - first, ends)
        return scipy.sparse.csr_array(content, shape=(stop - start, last - first))

    def _left_of(self, pixel: int) -> int:
        """The source pixel whose centre is at or left of the output pixel's centre; -1 beyond the first."""
        return ((2 * pixel + 1) * self.source - self.output) // (2 * self.output)

    def _area(self, pixels: Int[np.ndarray, "n 1"]) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        left, right = pixels * self.source, (pixels + 1) * self.source  # in units of 1 / output source pixels
        index = left // self.output + np.arange(math.ceil(self.source / self.output) + 1)
        overlap = np.minimum(right, (index + 1) * self.output) - np.maximum(left, index * self.output)
        return index, np.maximum(overlap, 0) / self.source

    def _linear(self, pixels: Int[np.ndarray, "n 1"]) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        centre = (2 * pixels + 1) * self.source - self.output  # in units of 1 / (2 output) source pixels
        index = centre // (2 * self.output)
        share = (centre - index * 2 * self.output) / (2 * self.output)
        share = np.where((index < 0) | (index >= self.source - 1), 0, share)
        index = np.maximum(index, 0)
        return np.concatenate([index, index + 1], 1), np.concatenate([1 - share, share], 1)
