"""The way of canvases through the network: reading, devices and writing overlap, from one canvas to the next too.

Threads of a pool read ahead; the calling thread cuts windows and starts the devices, which blend; one thread waits for
the devices; one brings finished rows to the host and hands them on. Each works on another part at the same time.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from crcfp_jax.blending.batches import Batches, Forward
from crcfp_jax.blending.blender import Blender, Rows
from crcfp_jax.slides.strips import Canvas, read_strips
from data_pipelines.tiling import Tiling, Window

AHEAD = 2  # batches on the devices: one at work, one that follows at once
BEHIND = 2  # blocks of rows that may wait to be handed on

# Gets how many rows come next, and what there is of them, on the host: as `programs.settler` gives it, of the output's
# width; None where no window touches them.
Sink = Callable[[int, Mapping[str, np.ndarray] | None], None]


@dataclass(frozen=True)
class Job:
    """What is wanted of a canvas.

    Attributes:
        canvas: what is looked at.
        tiling: of the canvas.
        windows: those wanted, for each row of windows (`tiling.choose_windows`).
        output: height, width of the rows that `sink` gets in all.
        channels: of each result of the network that is blended.
        gives: what is made of them, as `programs.settler` has it.
        sink: is called in a thread of its own, one call at a time.
        slab_height: canvas rows read at a time.
        advance: called with the number of windows that are done, in a thread of its own.
    """

    canvas: Canvas
    tiling: Tiling
    windows: Sequence[Sequence[Window]]
    output: tuple[int, int]
    channels: Mapping[str, int]
    gives: tuple[str, ...]
    sink: Sink
    slab_height: int
    advance: Callable[[int], None] = lambda count: None


@dataclass
class Timing:
    """What a canvas took."""

    windows: int
    seconds: float  # in all
    compiling: float  # seconds of these; 0 where every shape was known
    busy: float  # share of the other seconds in which the devices had a batch to work on


class Engine:
    """Sends canvases through the network, one after the other; use it as a context manager.

    Neither the batch size, nor the number of devices, nor the slab height changes a result beyond rounding.
    """

    def __init__(self, forward: Forward, *, mesh: Mesh, side: int, batch_size: int, pool: Executor):
        """Args:
        forward: starts a batch on the devices. It gets full batches, the last one of a stream padded; where there are
            fewer windows, one that is no larger than it need be.
        mesh: the devices, of `programs.window_mesh`; they share a batch evenly.
        side: pixels of a window.
        batch_size: windows a batch on each device.
        pool: reads the canvases.
        """
        self._clock = _Clock()
        self._mesh, self._pool = mesh, pool
        self._size = batch_size * mesh.size
        self._batches = Batches(
            lambda windows: self._clock.call(forward, windows),
            side=side, size=self._size, least=mesh.size, started=self._started,
        )  # fmt: skip
        self._owners: dict[Blender, _Passage] = {}
        self._on_devices: deque[Future] = deque()
        self._behind: deque[Future] = deque()
        self._waiter, self._hander = ThreadPoolExecutor(1, "wait"), ThreadPoolExecutor(1, "rows")

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:  # after a failure nothing that has not begun is begun
        for passage in list(self._owners.values()):
            passage.timing.cancel()
        self._waiter.shutdown(cancel_futures=True)
        self._hander.shutdown(cancel_futures=True)

    def send(self, job: Job) -> "Future[Timing]":
        """Reads a canvas and starts its windows; the last ones may wait for those of another (`flush`).

        Returns:
            What tells when the last row has been handed on, or which error of the devices or the sink ended it.

        Raises:
            Exception: of the canvas, of the network or of the sink, which then gets no more rows.
        """
        total = sum(map(len, job.windows))
        passage = _Passage(job, self._clock.lap(total))
        blender = Blender(
            job.tiling, job.output, job.channels, job.gives, lambda rows: self._hand_on(passage, rows),
            mesh=self._mesh, batch=self._size, windows=job.windows,
        )  # fmt: skip
        self._owners[blender] = passage
        passage.timing.add_done_callback(lambda _: self._owners.pop(blender, None))
        try:
            with closing(
                read_strips(job.canvas, job.tiling, job.windows, self._pool, height=job.slab_height)
            ) as strips:
                for row in job.windows:
                    strip = next(strips) if row else None
                    for window in row:
                        self._batches.push(blender, window, strip[:, window.left : window.left + job.tiling.side])
                        passage.check()
            self._batches.end(blender)
        except BaseException as error:
            passage.fail(error)
            raise
        return passage.timing

    def flush(self) -> None:
        """Starts what is waiting for more windows."""
        self._batches.flush()

    def _started(self, results: Mapping[str, Any], counts: Mapping[Blender, int]) -> None:
        passages = {self._owners[blender]: count for blender, count in counts.items() if blender in self._owners}
        self._on_devices.append(self._waiter.submit(self._wait, results, passages))
        while len(self._on_devices) > AHEAD:
            self._on_devices.popleft().result()

    def _wait(self, results: Mapping[str, Any], passages: "Mapping[_Passage, int]") -> None:
        try:
            self._clock.wait(results)
        except Exception as error:  # of the computation: all whose windows it held
            for passage in passages:
                passage.fail(error)
        else:
            for passage, count in passages.items():
                passage.job.advance(count)

    def _hand_on(self, passage: "_Passage", rows: Rows) -> None:
        while len(self._behind) > BEHIND:
            self._behind.popleft().result()
        self._behind.append(self._hander.submit(passage.hand_on, rows))


class _Passage:
    """A canvas on its way."""

    def __init__(self, job: Job, lap: Callable[[], Timing]):
        self.job, self._lap = job, lap
        self.timing: Future[Timing] = Future()
        self._handed = 0  # rows

    def check(self) -> None:
        """Raises the error that has ended it."""
        if self.timing.done():
            self.timing.result()

    def fail(self, error: BaseException) -> None:
        """Ends it, unless it has ended."""
        if not self.timing.done():
            self.timing.set_exception(error)

    def hand_on(self, rows: Rows) -> None:
        """Brings rows to the host and hands them on."""
        if self.timing.done():  # rows would be missing
            return
        try:
            arrays = rows.arrays
            if arrays is not None:
                arrays = {name: np.asarray(a)[: rows.count, : self.job.output[1]] for name, a in arrays.items()}
            self.job.sink(rows.count, arrays)
        except BaseException as error:
            self.fail(error)
            return
        self._handed += rows.count
        if self._handed == self.job.output[0] and not self.timing.done():
            self.timing.set_result(self._lap())


class _Clock:
    """Measures how long the devices are at work."""

    def __init__(self):
        self._started: deque[float] = deque()  # of the batches under way, in their order
        self._free = time.perf_counter()  # since when the devices have nothing to do
        self._busy = self._compiling = 0.0
        self._shapes: set[tuple[int, ...]] = set()

    def call(self, forward: Forward, windows: np.ndarray) -> Mapping[str, Any]:
        """Starts a batch."""
        before = time.perf_counter()
        outputs = forward(windows)  # compiles what it has not seen before it returns
        now = time.perf_counter()
        if windows.shape not in self._shapes:
            self._shapes.add(windows.shape)
            self._compiling += now - before
        self._started.append(now)
        return outputs

    def wait(self, outputs: Mapping[str, Any]) -> None:
        """Waits for the oldest batch."""
        jax.block_until_ready(outputs)
        now = time.perf_counter()
        self._busy += now - max(self._started.popleft(), self._free)
        self._free = now

    def lap(self, windows: int) -> Callable[[], Timing]:
        """Begins to measure a canvas of so many windows; the function ends it."""
        started, busy, compiling = time.perf_counter(), self._busy, self._compiling

        def end() -> Timing:
            seconds, spent = time.perf_counter() - started, self._compiling - compiling
            # Windows of the canvas before may have shared its time.
            share = min(1.0, (self._busy - busy) / max(seconds - spent, 1e-9))
            return Timing(windows, seconds, spent, share)

        return end
