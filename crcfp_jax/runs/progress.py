"""What a run shows while it goes: a live display on a terminal, a plain line now and then elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from crcfp_jax.common.words import duration

MEASURED = 20  # updates that the rate is averaged over


class TrainingProgress:
    """Step, rate, time left, every loss and the last mIoU.

    On a terminal the display is refreshed at every update; otherwise a line is printed at the updates that bring
    losses, at most one in `every` steps. With `enabled=False` (every process but the first) nothing is shown.
    Use it as a context manager: the display must be taken down for a traceback to be readable.
    """

    def __init__(
        self,
        total: int,
        *,
        step: int = 0,
        every: int = 1,
        enabled: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._every, self._enabled, self._clock = total, every, enabled, clock
        self._console = console or Console()
        self._losses: dict[str, float] = {}
        self._mean_iou: float | None = None
        self._printed = self._step = step
        self._times: deque[tuple[int, float]] = deque(maxlen=MEASURED)
        self._live = self._bar = None

    def __enter__(self) -> "TrainingProgress":
        if self._enabled and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=self._console
            )
            self._task = self._bar.add_task("training", total=self._total, completed=self._step)
            self._live = Live(self._render(), console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, step: int, losses: Mapping[str, Any] | None = None) -> None:
        """Says that `step` steps are done, and what the losses are where they have been fetched.

        The first call starts the clock, so that compilation is no part of the rate; later only calls with losses are
        measured, since the others return before the device has done the step.
        """
        self._step = step
        if losses is not None or not self._times:
            self._times.append((step, self._clock()))
        if losses is not None:
            self._losses = {name: float(value) for name, value in losses.items()}
        if self._live is not None:
            self._bar.update(self._task, completed=step)
            self._live.update(self._render())
        elif self._enabled and losses is not None and (step - self._printed >= self._every or step == self._total):
            self._printed = step
            self._console.print(f"step {step}/{self._total}  {self.status()}", highlight=False, soft_wrap=True)

    def score(self, mean_iou: float | None) -> None:
        """Sets the mIoU, in percent, of the last evaluation."""
        self._mean_iou = mean_iou

    def message(self, text: str) -> None:
        """Prints a line above the display."""
        if self._enabled:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @property
    def steps_per_second(self) -> float | None:
        """Rate over the last updates; None before two have been measured."""
        if len(self._times) < 2:
            return None
        (first_step, first_time), (last_step, last_time) = self._times[0], self._times[-1]
        return (last_step - first_step) / max(last_time - first_time, 1e-9)

    def status(self) -> str:
        """Rate, time left, losses and the last mIoU in one line."""
        rate = self.steps_per_second
        parts = ["rate -" if rate is None else f"{_rate(rate)}, {duration((self._total - self._step) / rate)} left"]
        parts += [f"{name} {value:.4g}" for name, value in self._losses.items()]
        parts.append("mIoU -" if self._mean_iou is None else f"mIoU {self._mean_iou:.1f}")
        return "  ".join(parts)

    def _render(self) -> Group:
        return Group(self._bar, Text(self.status(), style="dim"))


@contextmanager
def evaluation_progress(total: int, *, enabled: bool = True) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, nothing elsewhere; yields a function to call after each image."""
    console = Console()
    bar = Progress(TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console)
    if not (enabled and console.is_terminal):
        yield lambda: None
        return
    with bar:
        task = bar.add_task("evaluating", total=total)
        yield lambda: bar.advance(task)


def _rate(steps_per_second: float) -> str:
    return f"{steps_per_second:.2f} steps/s" if steps_per_second >= 1 else f"{1 / steps_per_second:.2f} s/step"
