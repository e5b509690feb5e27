"""The way of a canvas through the network: reading, devices and the blending of the results overlap.

Threads of a pool read ahead; the calling thread cuts windows and starts the devices; one thread waits for their
results; one blends these and hands finished rows on. Each works on another part of the canvas at the same time.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from crcfp_jax.inference.strips import Canvas, read_strips
from crcfp_jax.inference.tiles import Blender, Tiling, Window

AHEAD = 2  # batches started before the oldest has been waited for
BEHIND = 2  # batches that may wait to be blended

# Starts a batch of windows, uint8 [n, side, side, 3], on the devices, without waiting for them: 'probabilities' float32
# [n, side, side, c] and, with a model that has it, 'uncertainty' float32 [n, side, side].
Predict = Callable[[UInt8[np.ndarray, "n side side 3"]], Mapping[str, Any]]


@dataclass
class Timing:
    """What a canvas took. `busy`: share of the time in which the devices had a batch to work on."""

    windows: int = 0
    seconds: float = 0.0
    busy: float = 0.0


def predict_canvas(
    canvas: Canvas,
    tiling: Tiling,
    windows: Sequence[Sequence[Window]],
    predict: Predict,
    hand_on: Callable[[Float32[np.ndarray, "rows width channels"]], None],
    *,
    channels: int,
    batch_size: int,
    devices: int = 1,
    pool: Executor,
    band_height: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Timing:
    """Sends the windows through the network and hands the blended rows of the whole canvas on, from top to bottom.

    Neither the batch size, nor the number of devices, nor the band height changes the result beyond rounding.

    Args:
        canvas: what is looked at.
        tiling: of the canvas.
        windows: those wanted, for each row of windows (`tiles.choose_windows`).
        predict: starts a batch. It gets batches of `batch_size` windows for each device, and at the end one that is
            no larger than it need be, so that small images are not padded to a full batch.
        hand_on: gets consecutive rows: probabilities, then the uncertainty where the model has it; 0 where no window
            is wanted. It is called in a thread of its own, one call at a time.
        channels: of a row.
        batch_size: windows a batch on each device.
        devices: that share a batch evenly.
        pool: reads the canvas.
        band_height: canvas rows read at a time.
        advance: called with the number of windows that are done.
    """
    clock = _Clock()
    blending = _Blending(Blender(tiling, channels), hand_on)
    under_way: deque[Future] = deque()

    with ThreadPoolExecutor(1, "wait") as waiter, ThreadPoolExecutor(1, "blend") as blender:

        def start(batch: list[tuple[int, Window]], pixels: list[np.ndarray]) -> None:
            while len(under_way) >= AHEAD + BEHIND:
                under_way.popleft().result()
            while under_way and under_way[0].done():
                under_way.popleft().result()
            clock.windows += len(batch)
            started, outputs = time.perf_counter(), predict(_stack(pixels, batch_size, devices))
            waited = waiter.submit(clock.wait, outputs, started)
            under_way.append(blender.submit(blending.blend, waited, batch, advance))

        batch, pixels = [], []
        strips = read_strips(canvas, tiling, windows, pool, height=band_height)
        for number, row in enumerate(windows):
            strip = next(strips) if row else None
            for window in row:
                batch.append((number, window))
                pixels.append(strip[:, window.left : window.left + tiling.side])
                if len(batch) == batch_size * devices:
                    start(batch, pixels)
                    batch, pixels = [], []
        if batch:
            start(batch, pixels)
        while under_way:
            under_way.popleft().result()
        blender.submit(blending.finish_before, len(windows)).result()
    return clock.timing()


def _stack(pixels: list[np.ndarray], batch_size: int, devices: int) -> UInt8[np.ndarray, "n side side 3"]:
    """Windows in one array: for each device a batch or, where fewer will do, the next power of two."""
    each = -(-len(pixels) // devices)
    size = devices * min(batch_size, 1 << (each - 1).bit_length())
    stacked = np.zeros((size, *pixels[0].shape), np.uint8)
    for place, window in enumerate(pixels):
        stacked[place] = window
    return stacked


class _Clock:
    """Waits for batches in the order in which they were started, and measures how long the devices are at work."""

    def __init__(self):
        self.windows = 0
        self._started = self._free = time.perf_counter()  # free: since when the devices had nothing to do
        self._busy = 0.0

    def wait(self, outputs: Mapping[str, Any], started: float) -> dict[str, np.ndarray]:
        arrays = {name: np.asarray(output) for name, output in outputs.items()}
        now = time.perf_counter()
        self._busy += now - max(started, self._free)
        self._free = now
        return arrays

    def timing(self) -> Timing:
        seconds = time.perf_counter() - self._started
        return Timing(self.windows, seconds, self._busy / seconds)


class _Blending:
    """Blends batches in the order in which they were started, and hands finished rows on."""

    def __init__(self, blender: Blender, hand_on: Callable[[np.ndarray], None]):
        self._blender, self._hand_on = blender, hand_on
        self._row = 0  # of windows, the current one

    def blend(self, waited: Future, batch: list[tuple[int, Window]], advance: Callable[[int], None]) -> None:
        outputs = waited.result()
        for place, (row, window) in enumerate(batch):
            self.finish_before(row)
            parts = [outputs["probabilities"][place]]
            if "uncertainty" in outputs:
                parts.append(outputs["uncertainty"][place][..., None])
            self._blender.add(window, parts)
        advance(len(batch))

    def finish_before(self, row: int) -> None:
        while self._row < row:
            for rows in self._blender.finish_row(self._row):
                self._hand_on(rows)
            self._row += 1
