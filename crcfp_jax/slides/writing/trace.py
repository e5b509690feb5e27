"""Outlines of regions from their corners alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8
from scipy.sparse import csr_array
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
            points=self.points[np.repeat(rings, points_of)],
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
    order = np.lexsort((packed, region))
    region, packed = region[order], packed[order]
    north = (packed >> NORTH & 1).astype(np.int32)
    order = np.lexsort(((packed >> COLUMN & LARGEST) << ROW | packed >> ROW << 1 | north, region))
    above_or_below = np.empty(len(packed), np.int32)
    above_or_below[order[0::2]], above_or_below[order[1::2]] = order[1::2], order[0::2]
    del order

    # A horizontal side runs to the right where the region lies south of it, where y is greater; else to the left.
    tail = np.arange(0, len(packed), 2, dtype=np.int32) + north[0::2]
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
    starts, ends = rings[:-1], rings[1:] - 1
    following, preceding = np.arange(1, len(points) + 1), np.arange(-1, len(points) - 1)
    following[ends], preceding[starts] = starts, ends
    side = points[following] - points  # from each corner to the next
    length = np.abs(side).sum(1)
    left = side[preceding, 0] * side[:, 1] > side[preceding, 1] * side[:, 0]  # whether the border turns left
    count = np.where(length > 1, 2, (left == left[following]).astype(np.int64))  # points that remain of each side
    place = np.append(0, np.cumsum(count))
    some = count > 0
    half = side[some] / length[some, None] / 2
    smoothed = np.empty((int(place[-1]), 2))
    smoothed[place[:-1][some]] = points[some] + half
    smoothed[place[1:][some] - 1] = points[following[some]] - half
    return smoothed, place[rings]


def _cycles(following: Int32[np.ndarray, "n"]) -> tuple[Int32[np.ndarray, "n"], Int64[np.ndarray, "cycles"]]:
    """The cycles of a permutation one after the other, each from its least element, and where each begins there."""
    count = len(following)
    _, cycle = connected_components(_graph(following), connection="strong")
    starts = np.sort(np.unique(cycle, return_index=True)[1])
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
