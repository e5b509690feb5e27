"""Windows over a canvas of any size, and the blending of what a network says of them, row by row of windows.

Evaluation, figures and slides all see pictures this way, so that a run's figures hold for what its model is used for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipelines.geometry import pad_to

OVERLAP = 0.25  # share of a window's side that neighbours have in common, at least
ROWS_AT_A_TIME = 64  # handed on together: bounds the copies made on the way to the files


@dataclass(frozen=True)
class Window:
    """A window's place on the canvas, in pixels."""

    top: int
    left: int


@dataclass(frozen=True)
class Tiling:
    """Windows of `side` pixels, `step` pixels apart, over a canvas of height x width pixels.

    The last window of a row or column is moved back to end with the canvas; on a canvas smaller than a window, the one
    window reaches beyond it.
    """

    height: int
    width: int
    side: int
    step: int

    @property
    def tops(self) -> tuple[int, ...]:
        """First rows of the rows of windows, ascending."""
        return _origins(self.height, self.side, self.step)

    @property
    def lefts(self) -> tuple[int, ...]:
        """First columns of the columns of windows, ascending."""
        return _origins(self.width, self.side, self.step)


def window_step(side: int, overlap: float) -> int:
    """Pixels between neighbouring windows that share `overlap` (0 <= overlap < 1) of their side; at least 1."""
    return max(1, side - round(overlap * side))


def _origins(length: int, side: int, step: int) -> tuple[int, ...]:
    last = max(0, length - side)
    return (*range(0, last, step), last)


def choose_windows(tiling: Tiling, wanted: Callable[[int, int], bool]) -> list[list[Window]]:
    """The windows for which `wanted(top, left)` holds, one list for each row of windows."""
    return [[Window(top, left) for left in tiling.lefts if wanted(top, left)] for top in tiling.tops]


def cut_windows(
    canvas: UInt8[np.ndarray, "height width 3"], side: int, overlap: float = OVERLAP
) -> tuple[UInt8[np.ndarray, "n {side} {side} 3"], Tiling]:
    """All windows of a canvas in memory, row by row, and how they lie; see `blend_windows`.

    A canvas smaller than a window is continued by reflection at the bottom and the right.
    """
    tiling = Tiling(*canvas.shape[:2], side, window_step(side, overlap))
    padded, _ = pad_to(canvas, None, side, side)
    windows = [padded[top : top + side, left : left + side] for top in tiling.tops for left in tiling.lefts]
    return np.stack(windows), tiling


def blending_weight(side: int) -> Float32[np.ndarray, "{side} {side}"]:
    """Weight of a window's pixels where windows overlap.

    Along each axis it falls with the square of the distance to the border, where a network sees least of the
    surroundings; so it starts from 0 without a bend. With the distance itself, the border of a window counts 2 % at
    once, and where neighbours disagree that shows: steps of probability across borders were 13 % larger than elsewhere.
    """
    ramp = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32) + 0.5
    return np.square(np.outer(ramp, ramp))


class Blender:
    """Weighted mean of overlapping windows that come row of windows by row of windows.

    It holds one row of windows: memory depends on the canvas's width, not on its height.
    """

    def __init__(self, tiling: Tiling, channels: int):
        self._tiling = tiling
        self._weight = blending_weight(tiling.side)[..., None]
        self._total = np.zeros((tiling.side, tiling.width, channels), np.float32)
        self._weights = np.zeros((tiling.side, tiling.width, 1), np.float32)
        self._scratch = np.empty((tiling.side, tiling.side, channels), np.float32)

    def add(self, window: Window, parts: Sequence[Float32[np.ndarray, "side side _"]]) -> None:
        """Adds what the network says of a window of the current row; its parts follow one another as channels."""
        first = 0
        for part in parts:
            np.multiply(part, self._weight, out=self._scratch[..., first : first + part.shape[-1]])
            first += part.shape[-1]
        columns = slice(window.left, window.left + self._tiling.side)
        width = min(self._tiling.side, self._tiling.width)  # what reaches beyond a small canvas is dropped
        self._total[:, columns] += self._scratch[:, :width]
        self._weights[:, columns] += self._weight[:, :width]

    def finish_row(self, row: int) -> Iterator[Float32[np.ndarray, "rows width channels"]]:
        """Ends a row of windows, by its index: gives the canvas rows that no later window touches, a few at a time.

        Pixels that no window covers are 0.
        """
        tops = self._tiling.tops
        count = (tops[row + 1] if row + 1 < len(tops) else self._tiling.height) - tops[row]
        for first in range(0, count, ROWS_AT_A_TIME):
            rows = slice(first, min(first + ROWS_AT_A_TIME, count))
            weights = self._weights[rows]
            yield self._total[rows] / np.where(weights > 0, weights, 1)
        for buffer in (self._total, self._weights):
            buffer[: len(buffer) - count] = buffer[count:].copy()
            buffer[len(buffer) - count :] = 0


def blend_windows(windows: Float32[np.ndarray, "n side side c"], tiling: Tiling) -> Float32[np.ndarray, "_ _ c"]:
    """Puts what was found for all windows of a tiling, in the order of `cut_windows`, together to the canvas.

    Raises:
        ValueError: other windows than the tiling's.
    """
    tops, lefts, side = tiling.tops, tiling.lefts, tiling.side
    expected = (len(tops) * len(lefts), side, side)
    if windows.shape[:3] != expected:
        raise ValueError(f"expected windows {[*expected, 'c']}, not {list(windows.shape)}")
    blender, rows = Blender(tiling, windows.shape[3]), []
    in_rows = windows.reshape(len(tops), len(lefts), *windows.shape[1:])
    for number, (top, row) in enumerate(zip(tops, in_rows, strict=True)):
        for left, window in zip(lefts, row, strict=True):
            blender.add(Window(top, left), [window])
        rows.extend(blender.finish_row(number))
    return np.concatenate(rows)
