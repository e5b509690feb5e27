"""How much of a training the devices spend idle, for want of a batch."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax


class InputWait:
    """Takes batches from a loader and measures for how long the devices stood idle meanwhile.

    A step runs on after its call has returned, so the time in `next` is no loss by itself: the part of it that lies
    after the end of the step before is. A thread notes when that end comes. What is not seen: loader threads that take
    processor time from a step on a CPU, and the loaders of other processes, for which the step itself waits.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """`clock`: seconds."""
        self._clock = clock
        self._watcher = ThreadPoolExecutor(1, "input-wait")
        self._running: Future[float] | None = None  # seconds on the clock at which the step under way ends
        self._taken = self._waited = self._elapsed = 0.0

    def take(self, loader: Iterator) -> Any:
        """The loader's next batch."""
        start = self._clock()
        batch = next(loader)
        end = self._clock()
        if self._running is not None:
            self._elapsed += end - self._taken
            if self._running.done():
                self._waited += end - max(start, self._running.result())
        self._taken = end
        return batch

    def started(self, outputs: Any) -> None:
        """Tells what the step that has been started will give: arrays that come to be when it ends."""
        self._running = self._watcher.submit(self._end_of, outputs)

    def pause(self) -> None:
        """Leaves out the time until the next batch: it goes to a compilation, a validation or a checkpoint."""
        self._running = None

    def share(self) -> float | None:
        """Idle time from 0 to 1 of the time since the last call; None where no time has been measured."""
        waited, elapsed = self._waited, self._elapsed
        self._waited = self._elapsed = 0.0
        return waited / elapsed if elapsed else None

    def _end_of(self, outputs: Any) -> float:
        jax.block_until_ready(outputs)
        return self._clock()
