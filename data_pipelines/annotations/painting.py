"""Annotations painted as labels: each pixel by what covers its centre."""

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
    bounds = np.array(area.bounds) / (scale[1], scale[0], scale[1], scale[0]) - (left, top, left, top)
    first_column, first_row = (max(0, int(np.floor(place))) for place in bounds[:2])
    last_column, last_row = (
        min(size, int(np.ceil(place))) for size, place in zip(label.shape[::-1], bounds[2:], strict=True)
    )
    if first_column >= last_column or first_row >= last_row:
        return
    shape = (last_row - first_row, last_column - first_column)
    part = label[first_row:last_row, first_column:last_column]
    part[inside(area, top + first_row, left + first_column, *shape, scale)] = value


def inside(
    area: shapely.Geometry, top: int, left: int, height: int, width: int, scale: tuple[float, float] = (1.0, 1.0)
) -> Bool[np.ndarray, "{height} {width}"]:
    """Which pixels of a window have their centre in an area.

    Along each row of centres, every side of the outline that crosses it changes inside to outside or back: the pixel
    right of the crossing is where that happens, and the running parity tells the rest. A side has its upper end and not
    its lower one, so a vertex between two sides counts once.
    """
    points, starts = _rings(area)
    x, y = points[:, 0] / scale[1] - left - 0.5, points[:, 1] / scale[0] - top - 0.5  # centres are whole numbers
    ends = np.ones(len(points), bool)
    ends[starts[1:] - 1] = False  # the last point of a ring begins no side
    places = np.flatnonzero(ends)
    x0, y0, x1, y1 = x[places], y[places], x[places + 1], y[places + 1]
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    first = np.clip(np.ceil(low), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high), 0, height).astype(np.int64)  # row `high` itself is not crossed
    count = last - first
    side = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    slope = (x1 - x0)[side] / (y1 - y0)[side]
    crossing = x0[side] + (row - y0[side]) * slope
    column = np.clip(np.ceil(crossing), 0, width).astype(np.int64)
    changes = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    return np.cumsum(changes.reshape(height, width + 1)[:, :width], axis=1) % 2 == 1


def _rings(area: shapely.Geometry) -> tuple[Float64[np.ndarray, "n 2"], np.ndarray]:
    """Points of all rings, each closed, and where each ring begins, with the end."""
    rings = shapely.get_rings(shapely.get_parts(area))
    points, owner = shapely.get_coordinates(rings, return_index=True)
    return points, np.append(np.flatnonzero(np.diff(owner, prepend=-1)), len(points))
