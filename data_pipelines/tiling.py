"""Windows over a canvas of any size, and the blending of what a network says of them.

Evaluation, figures and slides all see pictures this way, so that a run's figures hold for what its model is used for.
Whole networks are blended on the devices (`crcfp_jax.blending`), small maps in memory here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from data_pipelines.geometry import pad_to

OVERLAP = 0.25  # share of a window's side that neighbours have in common, at least


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


def blend_windows(windows: Float32[np.ndarray, "n side side c"], tiling: Tiling) -> Float32[np.ndarray, "_ _ c"]:
    """Puts what was found for all windows of a tiling, in the order of `cut_windows`, together to the canvas.

    Raises:
        ValueError: other windows than the tiling's.
    """
    tops, lefts, side = tiling.tops, tiling.lefts, tiling.side
    expected = (len(tops) * len(lefts), side, side)
    if windows.shape[:3] != expected:
        raise ValueError(f"expected windows {[*expected, 'c']}, not {list(windows.shape)}")
    weight = blending_weight(side)[..., None]
    size = max(tiling.height, side), max(tiling.width, side)  # a window may reach beyond a small canvas
    total, weights = np.zeros((*size, windows.shape[3]), np.float32), np.zeros((*size, 1), np.float32)
    places = ((top, left) for top in tops for left in lefts)
    for (top, left), window in zip(places, windows, strict=True):
        place = np.s_[top : top + side, left : left + side]
        total[place] += weight * window
        weights[place] += weight
    return (total / weights)[: tiling.height, : tiling.width]
