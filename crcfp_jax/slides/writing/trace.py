"""Outlines of regions from their corners alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

from crcfp_jax.slides.writing.regions import CLASS, COLUMN, LARGEST, NORTH, ROW, Corners


@dataclass(frozen=True, eq=False)
class Outlines:
    """The rings of some regions along the sides of their pixels: of each region first its exterior, then its holes.

    With x to the right and y as in a mathematical plane, the region lies to the left of each ring.
    """

    points: Int32[np.ndarray, "points 2"]  # x, y of the corners; the first of a ring is not repeated at its end
    rings: Int64[np.ndarray, "ring_offsets"]  # where each begins in `points`, and the end
    regions: Int64[np.ndarray, "region_offsets"]  # where each begins in `rings`, and the end
    classes: UInt8[np.ndarray, "regions"]

    def areas(self) -> Int64[np.ndarray, "regions"]:
        """Pixels of each region."""
        following = np.arange(1, len(self.points) + 1)
        following[self.rings[1:] - 1] = self.rings[:-1]
        x, y = self.points.T.astype(np.int64)
        twice = x * y[following] - x[following] * y  # the region lies to the left: holes count as negative
        return np.add.reduceat(twice, self.rings[self.regions[:-1]]) // 2

    def chosen(self, kept: Bool[np.ndarray, "regions"]) -> "Outlines":
        """Some of the regions."""
        rings_of, points_of = np.diff(self.regions), np.diff(self.rings)
        rings = np.repeat(kept, rings_of)
        return Outlines(
            points=self.points[np.flatnonzero(np.repeat(rings, points_of))],
            rings=np.append(0, np.cumsum(points_of[rings])),
            regions=np.append(0, np.cumsum(rings_of[kept])),
            classes=self.classes[kept],
        )


def trace(corners: Corners) -> Outlines:
    """The outlines of regions, one at least.

    Sorted by row and column, the corners of a region pair off: the first with the second, the third with the fourth
    and so on are the ends of a horizontal side of its border; sorted by column and row, of a vertical one. Where two
    pixels of the region meet diagonally, the order of their two corners lets the border bend around the pixels that are
    not the region's: no ring then meets itself, as validity demands, but two rings may touch there.

    Each ring begins with its topmost side. The result depends on the regions only, not on the order of the corners.
    """
    region, packed = corners
    order = np.argsort(packed, kind="stable")  # quick: most of them are sorted
    order = order[_by_number(region[order])]
    region, packed = region[order], packed[order]
    # Now by column and row, from the south to the north at one point.
    order = np.arange(len(packed), dtype=np.int32)
    twins = np.flatnonzero(
        (packed[1:] ^ packed[:-1] == 3) & (packed[:-1] & 3 == 1 << NORTH) & (region[1:] == region[:-1])
    )
    order[twins], order[twins + 1] = twins + 1, twins
    column = (packed >> COLUMN & LARGEST).astype(np.int32)
    narrow = column.astype(np.uint16) if column.max() < 2**16 else column  # sorted five times as fast
    order = order[np.argsort(narrow, kind="stable")]
    order = order[_by_number(region[order])]
    above_or_below = np.empty(len(packed), np.int32)
    above_or_below[order[0::2]], above_or_below[order[1::2]] = order[1::2], order[0::2]
    del order, narrow

    # A horizontal side runs to the right where the region lies south of it, where y is greater; else to the left.
    tail = np.arange(0, len(packed), 2, dtype=np.int32)
    tail += (packed[0::2] >> NORTH & 1).astype(np.int32)
    head = tail ^ 1
    sides, starts = _cycles(above_or_below[head] >> 1)
    place = packed[np.stack([tail[sides], head[sides]], axis=1).reshape(-1)]

    # Rings come in the order of their first corners, so the exterior is the first of its region.
    first = np.flatnonzero(np.diff(region[tail[sides[starts]]], prepend=-1))
    return Outlines(
        points=np.stack([place >> COLUMN & LARGEST, place >> ROW], axis=1, dtype=np.int32, casting="unsafe"),
        rings=np.append(2 * starts, len(place)),
        regions=np.append(first, len(starts)),
        classes=(place[2 * starts[first]] >> CLASS & 255).astype(np.uint8),
    )


def smooth(
    points: Int32[np.ndarray, "points 2"], rings: Int64[np.ndarray, "ring_offsets"]
) -> tuple[Float64[np.ndarray, "_ 2"], Int64[np.ndarray, "ring_offsets"]]:
    """Straight slanted lines instead of the steps of pixels; makes rings of `Outlines` into rings of fewer points.

    Each corner is cut off half a pixel before and after it, and points on a straight line are left out: of a side one
    pixel long nothing remains where it is a step between sides that go on in one direction, its middle where the border
    goes back. The result is nowhere farther than sqrt(1/8) = 0.354 pixels from the sides of the pixels and nowhere
    nearer to a pixel's centre, so every centre stays on its side; and no two rings touch.
    """
    x, y = points.T
    starts, ends = rings[:-1], rings[1:] - 1
    # Sides are horizontal and vertical in turn: of each the way that it goes along its axis.
    way = np.empty(len(points), np.int32)
    np.subtract(x[1::2], x[0::2], out=way[0::2])
    np.subtract(y[2::2], y[1:-1:2], out=way[1:-1:2])
    way[ends] = y[starts] - y[ends]
    forth = way > 0
    before, after = np.empty_like(forth), np.empty_like(forth)  # of the sides that meet it
    before[1:], after[:-1] = forth[:-1], forth[1:]
    before[starts], after[ends] = forth[ends], forth[starts]
    some = np.empty((len(points), 2), bool)  # which of a side's two points remain
    np.greater(np.abs(way), 1, out=some[:, 1])
    np.logical_or(some[:, 1], before != after, out=some[:, 0])
    kept = np.flatnonzero(some)
    # Both points of each side, in half pixels.
    halves = np.empty((len(points), 2, 2), np.int32)
    np.multiply(points, 2, out=halves[:, 0])
    halves[:-1, 1], halves[ends, 1] = halves[1:, 0], halves[starts, 0]
    step = np.where(forth, np.int32(1), np.int32(-1))
    for first, axis in ((0, 0), (1, 1)):
        halves[first::2, 0, axis] += step[first::2]
        halves[first::2, 1, axis] -= step[first::2]
    return halves.reshape(-1, 2).take(kept, 0) / 2, np.searchsorted(kept, 2 * rings)


def _by_number(numbers: Int32[np.ndarray, "n"]) -> Int32[np.ndarray, "n"]:
    """The order that sorts small whole numbers, and leaves equal ones as they stand."""
    count = len(numbers)
    columns = np.arange(count, dtype=np.int32)
    # Sorting by counting, which a conversion to rows is.
    return coo_array((np.ones(count, np.int8), (numbers, columns))).tocsr().indices


def _cycles(following: Int32[np.ndarray, "n"]) -> tuple[Int32[np.ndarray, "n"], Int64[np.ndarray, "cycles"]]:
    """The cycles of a permutation one after the other, each from its least element, and where each begins there."""
    count = len(following)
    cycles, cycle = connected_components(_graph(following), connection="strong")
    backwards = np.arange(count - 1, -1, -1, dtype=np.int32)
    starts = np.empty(cycles, np.int32)
    starts[cycle[backwards]] = backwards  # the last that is assigned, the least, stays
    starts.sort()
    preceding = np.empty(count, np.int32)
    preceding[following] = np.arange(count, dtype=np.int32)
    path = following.copy()
    path[preceding[starts]] = np.roll(starts, -1)  # the end of each cycle leads to the start of the next
    walked, _ = depth_first_order(_graph(path), 0)
    place = np.empty(count, np.int64)
    place[walked] = np.arange(count)
    return walked, place[starts]


def _graph(following: Int32[np.ndarray, "n"]) -> csr_array:
    ends = np.arange(len(following) + 1, dtype=np.int32)
    return csr_array((np.ones(len(following), np.int8), following, ends))
