"""The weighted mean of a canvas's overlapping windows, from its top to its bottom, on the devices."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from crcfp_jax.blending.programs import AXIS, adder, empty_band, mover, settler
from data_pipelines.reading.axis import Axis
from data_pipelines.tiling import Tiling, Window

BAND_BYTES = 2**29  # of a band that holds more rows of windows than it has to


@dataclass(frozen=True, eq=False)
class Rows:
    """The next rows of the output, at its full width, still on a device."""

    count: int
    # What the blender gives, of at least `count` rows and the output's columns; None: no window touches these rows.
    arrays: Mapping[str, jax.Array] | None

    def start_copying(self) -> None:
        """Begins to bring them to the host."""
        for array in (self.arrays or {}).values():
            array.copy_to_host_async()


class Blender:
    """A canvas: takes the results of its windows in their order and hands on the output's rows from top to bottom.

    A device holds a band of the canvas; it moves down by a block of rows once no window to come touches these. Memory
    grows with the canvas's width, not with its height. Sizes are rounded up, so that canvases of many sizes share few
    compiled programs.
    """

    def __init__(
        self,
        tiling: Tiling,
        output: tuple[int, int],
        channels: Mapping[str, int],
        gives: tuple[str, ...],
        hand_on: Callable[[Rows], None],
        *,
        mesh: Mesh,
        batch: int,
        windows: Sequence[Sequence[Window]] | None = None,
    ):
        """Args:
        tiling: of the canvas.
        output: height, width that the canvas is brought to: by areas where that is coarser, else bilinearly.
        channels: of each result of the network: 'probabilities', 'uncertainty'.
        gives: as `programs.settler` has it.
        hand_on: gets the rows.
        mesh: the devices, of `window_mesh`.
        batch: windows that are added together.
        windows: those that will come, for each row of windows; None: all.
        """
        self._tiling, self._mesh, self._gives, self._hand_on = tiling, mesh, gives, hand_on
        self._channels = dict(channels)
        self._side = tiling.side
        self._width = rounded_up(max(tiling.width, tiling.side))
        self._block, self._height = self._rows_of_band(batch, windows)
        self._axes = tuple(Axis(*pair) for pair in zip((tiling.height, tiling.width), output, strict=True))
        self._resampled = tuple(output) != (tiling.height, tiling.width)
        self._totals: dict[str, Any] | None = None
        self._kept: dict[str, Any] | None = None
        self._across: Any = None
        self._top = self._returned = self._added = 0  # canvas rows off, output rows handed on, last row added to
        self._touched = np.full(tiling.height, windows is None)  # canvas rows in which there is a window
        for top, row in zip(tiling.tops, windows or (), strict=False):
            self._touched[top : top + tiling.side] |= bool(row)
        if self._resampled:
            down = self._axes[0]
            # Rows above a block of which an output row may consist that is not complete without it.
            self._kept_rows = 2 if down.output > down.source else -(-down.source // down.output) + 1
            self._most = rounded_up(-(-self._block * down.output // down.source) + 1)

    def _rows_of_band(self, batch: int, windows: Sequence[Sequence[Window]] | None) -> tuple[int, int]:
        """Rows of a block and of the band.

        The band holds so many rows of windows that batches are full though windows wait until it moves.
        """
        tiling, step = self._tiling, self._tiling.step
        rows = [len(tiling.lefts)] * len(tiling.tops) if windows is None else [len(row) for row in windows if row]
        whole = rounded_up(max(tiling.height, self._side))
        if sum(rows) <= 2 * batch and self._bytes(whole) <= BAND_BYTES:
            return whole, whole
        each = rounded_up(max(1, -(-batch * len(rows) // max(1, sum(rows)))))
        while each > 1 and self._bytes(self._side + (2 * each - 1) * step) > BAND_BYTES:
            each //= 2
        return each * step, self._side + (2 * each - 1) * step

    def _bytes(self, height: int) -> int:
        return 4 * height * self._width * (sum(self._channels.values()) + 1)

    def _band(self) -> dict[str, Any]:
        return empty_band(self._mesh, self._height, self._width, self._channels)

    def reaches(self, window: Window) -> bool:
        """Whether the band holds the window, which comes next or later."""
        return window.top + self._side <= self._top + self._height

    def touches_block(self, window: Window) -> bool:
        """Whether the window touches the rows that the band takes off next."""
        return window.top < self._top + self._block

    def add(self, results: Mapping[str, Any], windows: Mapping[int, Window]) -> None:
        """Adds windows of a batch.

        Args:
            results: of the whole batch, float32 [n, side, side] or [n, side, side, channels], on the devices.
            windows: of this canvas, by their places in the batch, ascending.
        """
        count = len(next(iter(results.values())))
        places = np.zeros((count, 3), np.int32)
        for number, window in windows.items():
            places[number] = window.top - self._top, window.left, 1
            self._added = max(self._added, window.top + self._side)
        band = self._band() if self._totals is None else self._totals
        wanted = {name: results[name] for name in self._channels}
        self._totals = adder(self._mesh)(band, wanted, self._split(places))

    def finish_block(self) -> None:
        """Takes the first block off the band and hands its rows on; no window that comes may touch it."""
        start = self._top
        self._top += self._block
        stop = min(self._top, self._tiling.height)
        first, last = self._returned, self._axes[0].complete(stop) if self._resampled else stop
        self._returned = last
        rows = Rows(last - first, self._settled(start, stop, first, last))
        if self._totals is not None:  # nothing may have been added below
            below = self._added > self._top
            self._totals = mover(self._mesh, self._block)(self._totals) if below else None
        if rows.count:
            rows.start_copying()
            self._hand_on(rows)

    def _settled(self, start: int, stop: int, first: int, last: int) -> Mapping[str, jax.Array] | None:
        """What is given of the output's rows from `first` to `last`, of the canvas's to `stop`."""
        above = self._kept_rows if self._resampled else 0
        if not self._touched[max(0, start - above) : stop].any():
            self._kept = None
            return None
        down = None
        if self._resampled:
            if self._kept is None:
                shapes = {name: (above, self._width, count) for name, count in self._channels.items()}
                self._kept = {name: self._everywhere(np.zeros(shape, np.float32)) for name, shape in shapes.items()}
            down = self._taps_down(first, last, start - above)
            if self._across is None:
                self._across = self._taps_across()
        band = self._band() if self._totals is None else self._totals
        self._kept, arrays = settler(self._mesh, self._block, self._gives)(band, self._kept, down, self._across)
        return arrays

    def finish(self) -> None:
        """Hands on all rows that are left, after the last window."""
        while self._top < self._tiling.height:
            self.finish_block()
        self._totals = self._kept = None

    def _taps_down(self, first: int, last: int, above: int) -> Any:
        """Of output rows, in a block with the rows kept above it, of which the first is the canvas's row `above`."""
        index, weight = self._axes[0].taps(first, last)
        return self._padded(index - above, weight, self._most, self._kept_rows + self._block)

    def _taps_across(self) -> Any:
        index, weight = self._axes[1].taps(0, self._axes[1].output)
        return self._padded(index, weight, rounded_up(len(index)), self._width)

    def _padded(self, index: np.ndarray, weight: np.ndarray, count: int, source: int) -> Any:
        taps = np.zeros((count, index.shape[1]), np.int32), np.zeros((count, index.shape[1]), np.float32)
        taps[0][: len(index)] = np.clip(index, 0, source - 1)  # beyond is only what has no weight
        taps[1][: len(index)] = weight
        return tuple(map(self._everywhere, taps))

    def _everywhere(self, array: np.ndarray) -> jax.Array:
        return jax.device_put(array, NamedSharding(self._mesh, PartitionSpec()))

    def _split(self, array: np.ndarray) -> jax.Array:
        return jax.device_put(array, NamedSharding(self._mesh, PartitionSpec(AXIS)))


def rounded_up(count: int) -> int:
    """The least of 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24 ... that is no less: at most a quarter more."""
    unit = 1 << max(0, count.bit_length() - 3)
    return -(-count // unit) * unit
