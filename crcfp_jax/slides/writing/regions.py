"""Connected regions of a class map that comes row by row: the corners of each, given out as soon as it is complete."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from crcfp_jax.slides.writing.band import NOT_ANALYSED

PIXELS = 2**22  # looked at together: bounds the memory for their labels

# A corner is one number: its row and column on the grid of pixel corners, then class and place of the pixel it belongs
# to. Numbers of one region sort by row, then column, then west before east.
ROW, COLUMN, CLASS, EAST, NORTH = 34, 10, 2, 1, 0  # lowest bit of each; EAST and NORTH: the pixel's side of the corner
LARGEST = 2**24 - 1  # rows, columns

Corners = tuple[Int32[np.ndarray, "corners"], Int64[np.ndarray, "corners"]]  # region from 0; packed corner


class Regions:
    """Finds the 4-connected regions of the wanted classes.

    A corner is where the border of a region turns: each convex one, where one pixel of the region meets the point, and
    each concave one, where three do. Two pixels of a region that meet diagonally have a corner each. Regions that reach
    the last row so far are kept; memory grows with their corners and with nothing else.
    """

    def __init__(self, width: int, wanted: Sequence[int]):
        """Args:
        width: pixels of a row.
        wanted: class numbers whose regions are looked for.
        """
        self._wanted = np.zeros(256, bool)
        self._wanted[list(wanted)] = True
        self._rows = 0
        self._last = np.full(width, NOT_ANALYSED, np.uint8)  # classes of the last row
        self._last_regions = np.zeros(width, np.int32)  # open regions there; only where a class is wanted
        self._open: list[list[np.ndarray]] = []  # packed corners of each

    def add(self, classes: UInt8[np.ndarray, "rows width"]) -> Iterator[Corners]:
        """Takes the next rows; gives the corners of the regions that are complete."""
        step = max(1, PIXELS // classes.shape[1])
        for top in range(0, len(classes), step):
            yield self._add(classes[top : top + step])

    def finish(self) -> Corners:
        """Gives the corners of the regions that reach the bottom."""
        return self._add(np.full((1, len(self._last)), NOT_ANALYSED, np.uint8))

    def _add(self, classes: UInt8[np.ndarray, "rows width"]) -> Corners:
        top, opened = self._rows, len(self._open)
        if top + len(classes) > LARGEST or classes.shape[1] > LARGEST:
            raise ValueError(f"no more than {LARGEST} rows and columns")
        padded = np.pad(np.concatenate([self._last[None], classes]), ((0, 0), (1, 1)), constant_values=NOT_ANALYSED)
        y, x, place, number = _find_corners(padded, self._wanted)
        corners = ((y + top) << ROW) | (x << COLUMN) | (number.astype(np.int64) << CLASS) | place

        # Number the regions: first those open so far, then those of these rows.
        row, column = y - (place & 1), x - 1 + (place >> EAST & 1)  # of the pixel; row -1 is the last one so far
        region = np.empty(len(y), np.int32)
        above = row < 0
        region[above] = self._last_regions[column[above]]
        first, last, count = np.zeros_like(self._last_regions), np.zeros_like(self._last_regions), opened
        present = np.zeros(256, bool)
        present[number] = present[classes[0]] = True  # a region without corners here comes from above
        for wanted in np.flatnonzero(self._wanted & present):
            found, labels = cv2.connectedComponents((classes == wanted).view(np.uint8), connectivity=4)
            labels += count - 1
            here = ~above & (number == wanted)
            region[here] = labels[row[here], column[here]]
            np.copyto(first, labels[0], where=classes[0] == wanted)
            np.copyto(last, labels[-1], where=classes[-1] == wanted)
            count += found - 1

        goes_on = self._wanted[self._last] & (self._last == classes[0])
        joined = _join(count, self._last_regions[goes_on], first[goes_on])
        reaches = self._wanted[classes[-1]]
        reaching = joined[last[reaches]]
        closed = np.ones(count, bool)
        closed[reaching] = False
        self._rows, self._last = top + len(classes), classes[-1].copy()
        self._last_regions[reaches] = (np.cumsum(~closed) - 1)[reaching]
        return self._sort_out(joined, closed, joined[region], corners)

    def _sort_out(
        self,
        joined: Int32[np.ndarray, "regions"],
        closed: Bool[np.ndarray, "regions"],
        region: Int32[np.ndarray, "n"],
        corners: Int64[np.ndarray, "n"],
    ) -> Corners:
        """Keeps the corners of open regions; returns those of closed ones, with what was kept of them before."""
        complete = [(region[closed[region]], corners[closed[region]])]
        still_open: dict[int, list[np.ndarray]] = {int(number): [] for number in np.flatnonzero(~closed)}
        for number, pieces in zip(joined.tolist(), self._open, strict=False):
            if closed[number]:
                complete += [(np.full(len(piece), number, np.int32), piece) for piece in pieces]
            else:
                still_open[number] += pieces
        kept = ~closed[region]
        order = np.argsort(region[kept], kind="stable")
        region, corners = region[kept][order], corners[kept][order]
        numbers, starts = np.unique(region, return_index=True)
        for number, piece in zip(numbers.tolist(), np.split(corners, starts[1:]), strict=False):
            still_open[number].append(piece)
        self._open = list(still_open.values())
        return np.concatenate([part for part, _ in complete]), np.concatenate([part for _, part in complete])


def _find_corners(
    padded: UInt8[np.ndarray, "rows columns"], wanted: Bool[np.ndarray, "256"]
) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], UInt8[np.ndarray, "n"]]:
    """Row and column of the corners between pixels, the place of the pixel of each, and its class."""
    north_west, north_east = padded[:-1, :-1], padded[:-1, 1:]
    south_west, south_east = padded[1:, :-1], padded[1:, 1:]
    level = (north_west == north_east) & (south_west == south_east)
    upright = (north_west == south_west) & (north_east == south_east)
    y, x = np.nonzero(~(level | upright))  # elsewhere no border turns
    a, b, c, d = north_west[y, x], north_east[y, x], south_west[y, x], south_east[y, x]
    parts = []
    north, east = 1 << NORTH, 1 << EAST
    for pixel, beside, below, across, place in (
        (a, b, c, d, north),
        (b, a, d, c, north | east),
        (c, d, a, b, 0),
        (d, c, b, a, east),
    ):
        convex = (beside != pixel) & (below != pixel)
        concave = (beside == pixel) & (below == pixel) & (across != pixel)
        chosen = (convex | concave) & wanted[pixel]
        parts.append((y[chosen], x[chosen], np.full(np.count_nonzero(chosen), place), pixel[chosen]))
    y, x, place, number = (np.concatenate(column) for column in zip(*parts, strict=True))
    return y, x, place, number


def _join(count: int, one: Int32[np.ndarray, "n"], other: Int32[np.ndarray, "n"]) -> Int32[np.ndarray, "{count}"]:
    """New numbers of `count` regions of which some pairs are one."""
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int32)
