"""The way of a canvas through the network: reading, devices and the blending of the results overlap.

Threads of a pool read ahead; the calling thread cuts windows and starts the devices; one thread waits for their
results; one blends these and hands finished rows on. Each works on another part of the canvas at the same time.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from crcfp_jax.slides.strips import Canvas, read_strips
from data_pipelines.tiling import Blender, Tiling, Window

AHEAD = 2  # batches on the devices: one at work, one that follows at once
BEHIND = 2  # batches that may wait to be blended

# Starts a batch of windows, uint8 [n, side, side, 3], on the devices, without waiting for them: 'probabilities' float32
# [n, side, side, c] and, with a model that has it, 'uncertainty' float32 [n, side, side].
Forward = Callable[[UInt8[np.ndarray, "n side side 3"]], Mapping[str, Any]]


@dataclass
class Timing:
    """What a canvas took."""

    windows: int
    seconds: float  # in all
    compiling: float  # seconds of these; 0 where every shape was known
    busy: float  # share of the other seconds in which the devices had a batch to work on


def predict_canvas(
    canvas: Canvas,
    tiling: Tiling,
    windows: Sequence[Sequence[Window]],
    forward: Forward,
    sink: Callable[[Float32[np.ndarray, "rows width channels"]], None],
    *,
    channels: int,
    batch_size: int,
    devices: int = 1,
    pool: Executor,
    slab_height: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Timing:
    """Sends the windows through the network and hands the blended rows of the whole canvas on, from top to bottom.

    Neither the batch size, nor the number of devices, nor the slab height changes the result beyond rounding.

    Args:
        canvas: what is looked at.
        tiling: of the canvas.
        windows: those wanted, for each row of windows (`tiling.choose_windows`).
        forward: starts a batch. It gets batches of `batch_size` windows for each device, the last one padded; for a
            canvas of fewer windows one that is no larger than it need be.
        sink: gets consecutive rows: probabilities, then the uncertainty where the model has it; 0 where no window
            is wanted. It is called in a thread of its own, one call at a time.
        channels: of a row.
        batch_size: windows a batch on each device.
        devices: that share a batch evenly.
        pool: reads the canvas.
        slab_height: canvas rows read at a time.
        advance: called with the number of windows that are done.
    """
    clock = _Clock()
    blending = _Blending(Blender(tiling, channels), sink)
    total = sum(map(len, windows))
    full = min(batch_size, _next_power(-(-total // devices)))  # windows of a batch on each device
    on_devices: deque[Future] = deque()
    under_way: deque[Future] = deque()
    waiter, blender = ThreadPoolExecutor(1, "wait"), ThreadPoolExecutor(1, "blend")

    def start(batch: list[tuple[int, Window]], pixels: list[np.ndarray]) -> None:
        stacked = np.zeros((full * devices, *pixels[0].shape), np.uint8)
        np.stack(pixels, out=stacked[: len(pixels)])
        while len(on_devices) >= AHEAD:
            on_devices.popleft().result()
        while len(under_way) >= AHEAD + BEHIND or (under_way and under_way[0].done()):
            under_way.popleft().result()
        on_devices.append(waiter.submit(clock.wait, *clock.call(forward, stacked)))
        under_way.append(blender.submit(blending.blend, on_devices[-1], batch, advance))

    try:
        batch, pixels = [], []
        with closing(read_strips(canvas, tiling, windows, pool, height=slab_height)) as strips:
            for number, row in enumerate(windows):
                strip = next(strips) if row else None
                for window in row:
                    batch.append((number, window))
                    pixels.append(strip[:, window.left : window.left + tiling.side])
                    if len(batch) == full * devices:
                        start(batch, pixels)
                        batch, pixels = [], []
            if batch:
                start(batch, pixels)
        while under_way:
            under_way.popleft().result()
        blender.submit(blending.finish_before, len(windows)).result()
    finally:  # after a failure nothing that has not begun is begun
        waiter.shutdown(cancel_futures=True)
        blender.shutdown(cancel_futures=True)
    return clock.timing(total)


def _next_power(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


class _Clock:
    """Waits for batches in the order in which they were started, and measures how long the devices are at work."""

    def __init__(self):
        self._started = self._free = time.perf_counter()  # free: since when the devices had nothing to do
        self._busy = self._compiling = 0.0
        self._shapes: set[tuple[int, ...]] = set()

    def call(self, forward: Forward, windows: np.ndarray) -> tuple[Mapping[str, Any], float]:
        """Starts a batch; returns its outputs and when it was started."""
        before = time.perf_counter()
        outputs = forward(windows)  # compiles what it has not seen before it returns
        now = time.perf_counter()
        if windows.shape not in self._shapes:
            self._shapes.add(windows.shape)
            self._compiling += now - before
        return outputs, now

    def wait(self, outputs: Mapping[str, Any], started: float) -> dict[str, np.ndarray]:
        """Brings a batch's outputs to the host."""
        arrays = {name: np.asarray(output) for name, output in outputs.items()}
        now = time.perf_counter()
        self._busy += now - max(started, self._free)
        self._free = now
        return arrays

    def timing(self, windows: int) -> Timing:
        """Of everything so far."""
        seconds = time.perf_counter() - self._started
        return Timing(windows, seconds, self._compiling, self._busy / max(seconds - self._compiling, 1e-9))


class _Blending:
    """Blends batches in the order in which they were started, and hands finished rows on."""

    def __init__(self, blender: Blender, sink: Callable[[np.ndarray], None]):
        self._blender, self._sink = blender, sink
        self._row = 0  # of windows, the current one
        self._failed = False

    def blend(self, waited: Future, batch: list[tuple[int, Window]], advance: Callable[[int], None]) -> None:
        """Blends a batch, once its outputs are there."""
        if self._failed:  # rows would be missing
            return
        self._failed = True
        outputs = waited.result()
        for place, (row, window) in enumerate(batch):
            self.finish_before(row)
            parts = [outputs["probabilities"][place]]
            if "uncertainty" in outputs:
                parts.append(outputs["uncertainty"][place][..., None])
            self._blender.add(window, parts)
        self._failed = False
        advance(len(batch))

    def finish_before(self, row: int) -> None:
        """Hands on what no window of this row of windows, or a later one, touches."""
        while self._row < row:
            for rows in self._blender.finish_row(self._row):
                self._sink(rows)
            self._row += 1
