"""Connected regions of a class map that comes row by row: the corners of each, given out as soon as it is complete."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
        self._last_regions = np.zeros(1, np.int32)  # open region of each run there; any number where none is wanted
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
        points = _find_points(np.concatenate([self._last[None], classes]))
        self._rows, self._last = top + len(classes), classes[-1].copy()
        runs = points.south_east[points.starts]  # classes of the runs of these rows
        if not opened + len(runs):
            self._last_regions = np.zeros(1, np.int32)
            return np.empty(0, np.int32), np.empty(0, np.int64)

        # Number the regions: first those open so far, then those of these rows, by class.
        number = np.concatenate([self._last_regions, np.arange(opened, opened + len(runs), dtype=np.int32)])
        goes_on = np.flatnonzero((points.north_east == points.south_east) & self._wanted[points.south_east])
        above, below = number[points.run_above[goes_on]], number[points.run_below[goes_on]]
        joined, count = _join(opened + len(runs), above, below)
        joined = _by_class(joined, count, opened, runs)
        number = joined[number]

        padded_last = np.pad(self._last, 1, constant_values=NOT_ANALYSED)
        starts = np.append(0, np.flatnonzero(padded_last[1:] != padded_last[:-1]) + 1)
        last_regions, reaches = number[len(number) - len(starts) :], self._wanted[padded_last[starts]]
        closed = np.ones(count, bool)
        closed[last_regions[reaches]] = False
        self._last_regions = (np.cumsum(~closed, dtype=np.int32) - 1)[last_regions]
        run, corners = points.corners(self._wanted, top)
        return self._sort_out(joined[:opened], closed, number[run], corners)

    def _sort_out(
        self,
        joined: Int32[np.ndarray, "..."],
        closed: Bool[np.ndarray, "regions"],
        region: Int32[np.ndarray, "n"],
        corners: Int64[np.ndarray, "n"],
    ) -> Corners:
        """Keeps the corners of open regions; returns those of closed ones, with what was kept of them before."""
        ends = closed[region]
        ended, kept = np.flatnonzero(ends), np.flatnonzero(~ends)
        complete = []
        still_open: dict[int, list[np.ndarray]] = {int(number): [] for number in np.flatnonzero(~closed)}
        for number, pieces in zip(joined.tolist(), self._open, strict=True):
            if closed[number]:
                complete += [(np.full(len(piece), number, np.int32), piece) for piece in pieces]
            else:
                still_open[number] += pieces
        complete.append((region[ended], corners[ended]))
        kept = kept[np.argsort(region[kept], kind="stable")]
        region, corners = region[kept], corners[kept]
        starts = np.flatnonzero(np.diff(region, prepend=-1))
        for number, piece in zip(region[starts].tolist(), np.split(corners, starts[1:]), strict=False):
            still_open[number].append(piece)
        self._open = list(still_open.values())
        return np.concatenate([part for part, _ in complete]), np.concatenate([part for _, part in complete])


@dataclass(frozen=True, eq=False)
class _Points:
    """Points between pixels where a run begins above or below them, row by row.

    A run is pixels of one class side by side; runs are numbered row by row from 0, which is what lies left of the
    picture. They are few, and all that regions are made of: pixels are looked at once.
    """

    place: Int64[np.ndarray, "n"]  # from 0, on a grid of width + 2 columns
    width: int  # of a row
    north_west: UInt8[np.ndarray, "n"]  # classes of the pixels around each point
    north_east: UInt8[np.ndarray, "n"]
    south_west: UInt8[np.ndarray, "n"]
    south_east: UInt8[np.ndarray, "n"]
    starts_above: Bool[np.ndarray, "n"]  # whether the pixel north-east of the point is the first of a run
    starts: Bool[np.ndarray, "n"]  # whether the one south-east is
    run_above: Int32[np.ndarray, "n"]  # of the pixel north-east
    run_below: Int32[np.ndarray, "n"]  # of the pixel south-east

    def corners(self, wanted: Bool[np.ndarray, "256"], top: int) -> Corners:
        """Run of the pixel of each corner, and the corners, sorted; `top`: the row of the first points."""
        turns = np.flatnonzero((self.north_west != self.south_west) | (self.north_east != self.south_east))
        a, b, c, d = (pixels[turns] for pixels in (self.north_west, self.north_east, self.south_west, self.south_east))
        ab, cd, ac, bd, ad, bc = a == b, c == d, a == c, b == d, a == d, b == c
        # By place. Convex where both neighbours differ; concave where both are the same and the one across differs.
        sides = ((c, cd, ac, bc), (a, ab, ac, ad), (d, cd, bd, ad), (b, ab, bd, bc))
        chosen = [(beside == below) & ~(beside & across) & wanted[pixel] for pixel, beside, below, across in sides]
        found = np.flatnonzero(np.stack(chosen, 1))
        above, below = self.run_above[turns], self.run_below[turns]
        runs = [below - self.starts[turns], above - self.starts_above[turns], below, above]
        y, x = np.divmod(self.place[turns], self.width + 2)
        point = ((y + top) << ROW) | ((x - 1) << COLUMN)
        pixel = np.stack([c, a, d, b], 1).reshape(-1)[found].astype(np.int64)
        return np.stack(runs, 1).reshape(-1)[found], point[found >> 2] | pixel << CLASS | found & 3


def _find_points(classes: UInt8[np.ndarray, "rows width"]) -> _Points:
    """The points between these rows."""
    pixels = np.pad(classes, ((0, 0), (1, 1)), constant_values=NOT_ANALYSED).reshape(-1)
    row = classes.shape[1] + 2
    edges = np.empty(len(pixels), bool)  # rows begin and end alike: none is between them
    edges[0] = False
    np.not_equal(pixels[1:], pixels[:-1], out=edges[1:])
    above, below = edges[:-row], edges[row:]
    place = np.flatnonzero(above | below)
    starts_above, starts = above[place], below[place]
    return _Points(
        place=place,
        width=classes.shape[1],
        north_west=pixels[place - 1],
        north_east=pixels[place],
        south_west=pixels[row - 1 :][place],
        south_east=pixels[row:][place],
        starts_above=starts_above,
        starts=starts,
        run_above=np.cumsum(starts_above, dtype=np.int32),
        run_below=np.cumsum(starts, dtype=np.int32) + np.int32(np.count_nonzero(edges[:row])),
    )


def _join(
    count: int, above: Int32[np.ndarray, "n"], below: Int32[np.ndarray, "n"]
) -> tuple[Int32[np.ndarray, "{count}"], int]:
    """New numbers of `count` parts of which some pairs are one, `below` sorted and greater; and how many there are.

    They are numbered by their first parts.
    """
    # Most parts hang on one other: these make trees, whose roots are found by halving all ways to them at once.
    first = np.diff(below, prepend=-1) > 0
    root = np.arange(count, dtype=np.int32)
    root[below[first]] = above[first]
    while not np.array_equal(further := root[root], root):
        root = further
    roots = root == np.arange(count)
    number = np.cumsum(roots, dtype=np.int32) - 1
    pairs = [number[root[ends[~first]]] for ends in (above, below)]
    shape = (int(number[-1]) + 1,) * 2
    graph = coo_array((np.ones(len(pairs[0]), np.int8), tuple(pairs)), shape=shape)
    count, joined = connected_components(graph, directed=False)
    return joined.astype(np.int32)[number[root]], count


def _by_class(
    joined: Int32[np.ndarray, "n"], count: int, opened: int, classes: UInt8[np.ndarray, "..."]
) -> Int32[np.ndarray, "n"]:
    """Numbers regions that `_join` found anew: the first `opened` parts', then the others', by class."""
    known = int(joined[:opened].max(initial=-1)) + 1
    kind = np.empty(count, np.uint8)
    kind[joined[opened:]] = classes
    number = np.arange(count, dtype=np.int32)
    number[known + np.argsort(kind[known:], kind="stable")] = np.arange(known, count, dtype=np.int32)
    return number[joined]
