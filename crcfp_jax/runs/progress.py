"""What a run shows while it trains: a live display on a terminal, a plain line now and then elsewhere."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from crcfp_jax.common.progress import Display
from crcfp_jax.common.words import duration

MEASURED = 20  # updates that the rate is averaged over


class TrainingProgress(Display):
    """Step, rate, time left, every loss and the last mIoU.

    Where there is no terminal, a line is printed at the updates that bring losses, at most one in `every` steps. With
    `enabled=False` (every process but the first) nothing is shown.
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
        super().__init__(console=console, enabled=enabled)
        self._bar = self.add_bar("training", total, done=step)
        self._total, self._every, self._clock = total, every, clock
        self._losses: dict[str, float] = {}
        self._mean_iou: float | None = None
        self._printed = self._step = step
        self._times: deque[tuple[int, float]] = deque(maxlen=MEASURED)
        self.note(self.status())

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
        if self.live:
            self.update_bar(self._bar, completed=step)
            self.note(self.status())
        elif losses is not None and (step - self._printed >= self._every or step == self._total):
            self._printed = step
            self.message(f"step {step}/{self._total}  {self.status()}")

    def score(self, mean_iou: float | None) -> None:
        """Sets the mIoU, in percent, of the last evaluation."""
        self._mean_iou = mean_iou

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


def _rate(steps_per_second: float) -> str:
    return f"{steps_per_second:.2f} steps/s" if steps_per_second >= 1 else f"{1 / steps_per_second:.2f} s/step"
