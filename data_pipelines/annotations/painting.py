"""Annotations painted as labels: each pixel by what covers its centre."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float64, UInt8

from crcfp_jax.common.classes import IGNORED


@dataclass(frozen=True)
class Painted:
    """An area with its label. `rank`: who wins where areas overlap, the greater."""

    area: shapely.Geometry  # Polygon or MultiPolygon, valid, in pixels of the image
    label: int
    rank: int = 0


class Painting:
    """The label of an image, window by window.

    From the bottom to the top: `elsewhere`; the inside of frames; areas by rank, of equal ranks the larger before the
    smaller, so that what is drawn inside something else shows, and of equal areas the earlier before the later.
    """

    def __init__(
        self,
        areas: Sequence[Painted],
        frames: Sequence[shapely.Geometry] = (),
        *,
        inside_frames: int = IGNORED,
        elsewhere: int = IGNORED,
    ):
        order = sorted(range(len(areas)), key=lambda place: (areas[place].rank, -areas[place].area.area, place))
        ordered = [areas[place] for place in order]
        self._shapes = [*frames, *(area.area for area in ordered)]
        self._labels = [inside_frames] * len(frames) + [area.label for area in ordered]
        self._elsewhere = elsewhere
        self._tree = shapely.STRtree(self._shapes)

    @property
    def boxes(self) -> Float64[np.ndarray, "n 4"]:
        """Left, top, right and bottom of every frame and area."""
        return shapely.bounds(np.array(self._shapes, object)).reshape(-1, 4)

    def paint(
        self, top: int, left: int, height: int, width: int, scale: tuple[float, float] = (1.0, 1.0)
    ) -> UInt8[np.ndarray, "{height} {width}"]:
        """The label of a window.

        Args:
            top: first row, in pixels of the label.
            left: first column.
            height: rows.
            width: columns.
            scale: image pixels per label pixel, down and across.
        """
        label = np.full((height, width), self._elsewhere, np.uint8)
        down, across = scale
        window = shapely.box(left * across, top * down, (left + width) * across, (top + height) * down)
        for number in np.sort(self._tree.query(window)):
            _fill(label, self._shapes[number], self._labels[number], top, left, scale)
        return label


def _fill(
    label: UInt8[np.ndarray, "h w"],
    area: shapely.Geometry,
    value: int,
    top: int,
    left: int,
    scale: tuple[float, float],
) -> None:
    """Sets the pixels of a window whose centres lie in an area."""
    height, width = label.shape
    across, down = scale[1], scale[0]
    x0, y0, x1, y1 = area.bounds
    first_column, last_column = max(0, math.floor(x0 / across) - left), min(width, math.ceil(x1 / across) - left)
    first_row, last_row = max(0, math.floor(y0 / down) - top), min(height, math.ceil(y1 / down) - top)
    if first_column < last_column and first_row < last_row:
        shape = (last_row - first_row, last_column - first_column)
        part = label[first_row:last_row, first_column:last_column]
        part[inside(area, top + first_row, left + first_column, *shape, scale)] = value


def inside(
    area: shapely.Geometry, top: int, left: int, height: int, width: int, scale: tuple[float, float] = (1.0, 1.0)
) -> Bool[np.ndarray, "{height} {width}"]:
    """Which pixels of a window have their centre in an area.

    Along each row of centres, every side of the outline that crosses it changes inside to outside or back: the pixel
    right of the crossing is where that happens, and the running parity tells the rest. A side has its upper end and not
    its lower one, so a vertex between two sides counts once; a centre on the outline belongs to what is right of it.
    Crossings are computed from the side alone, not from the window: windows fit together, and so do neighbours along a
    common side.
    """
    points, is_last = _rings(area)
    # Centres are whole numbers; rows and columns are those of the whole label, so that rounding is the same everywhere.
    x, y = points[:, 0] / scale[1] - 0.5, points[:, 1] / scale[0] - 0.5
    starts = np.flatnonzero(~is_last)  # the last point of a ring begins no side
    down = y[starts] <= y[starts + 1]
    upper, lower = np.where(down, starts, starts + 1), np.where(down, starts + 1, starts)
    first = np.clip(np.ceil(y[upper]), top, top + height).astype(np.int64)
    last = np.clip(np.ceil(y[lower]), top, top + height).astype(np.int64)  # of which the row itself is not crossed
    count = last - first
    crossed = np.flatnonzero(count)
    upper, lower, first, count = upper[crossed], lower[crossed], first[crossed], count[crossed]
    row = np.arange(count.sum()) + np.repeat(first - (np.cumsum(count) - count), count)
    slope = (x[lower] - x[upper]) / (y[lower] - y[upper])
    crossing = np.repeat(x[upper], count) + (row - np.repeat(y[upper], count)) * np.repeat(slope, count)
    column = np.clip(np.ceil(crossing) - left, 0, width).astype(np.int64)
    changes = np.bincount((row - top) * (width + 1) + column, minlength=height * (width + 1))
    parity = (changes & 1).astype(np.uint8).reshape(height, width + 1)[:, :width]
    return np.bitwise_xor.accumulate(parity, axis=1).astype(bool)


def _rings(area: shapely.Geometry) -> tuple[Float64[np.ndarray, "n 2"], Bool[np.ndarray, "n"]]:
    """Points of all rings, each closed, and which of them end a ring."""
    rings = shapely.get_rings(shapely.get_parts(area))
    points, owner = shapely.get_coordinates(rings, return_index=True)
    return points, np.diff(owner, append=-1) != 0
