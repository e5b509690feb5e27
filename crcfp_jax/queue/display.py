"""What a queue shows while it goes: two bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import TextColumn

from crcfp_jax.common.progress import Display
from crcfp_jax.common.words import duration

EVERY = 60.0  # seconds between the lines of one run


class QueueDisplay(Display):
    """Progress of the run that goes and of the whole queue, drawn when something is told: a queue forks its runs."""

    def __init__(self, total: int, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        super().__init__(TextColumn("{task.fields[time]}"), console=console, transient=True, threaded=False)
        self._run = self.add_bar("", None, time="")
        self._all = self.add_bar("all runs", total, time="")
        self._total, self._clock = total, clock
        self._label, self._started, self._last_line = "", 0.0, 0.0

    def start(self, number: int, label: str, how: str) -> None:
        """Says that run `number` starts; `how` says from where."""
        self._label, self._started = f"[{number}/{self._total}] {label}", self._clock()
        self._last_line = self._started
        self.message(f"{self._label}: {how}")

    def step(self, step: int, steps: int, left: float | None, finished: int) -> None:
        """Shows how far the run is, what is left of all runs, in seconds, and how many runs have finished."""
        if self.live:
            elapsed = duration(self._clock() - self._started)
            self.update_bar(self._run, description=self._label, completed=step, total=steps, time=elapsed)
            self.update_bar(self._all, completed=finished, time=_left(left).removeprefix("; "))
            self.draw()
        elif self._clock() - self._last_line >= EVERY:
            self._last_line = self._clock()
            elapsed = duration(self._last_line - self._started)
            self.message(f"{self._label}: step {step}/{steps}, {elapsed}{_left(left)}")

    def end(self, outcome: str, left: float | None) -> None:
        """Says how the run ended and what is left of all runs, in seconds."""
        self.message(f"{self._label}: {outcome}, {duration(self._clock() - self._started)}{_left(left)}")


def _left(seconds: float | None) -> str:
    if not seconds:
        return ""
    rough = f"{round(seconds / 60)} min" if 90 <= seconds < 3600 else duration(seconds)
    return f"; about {rough} left"
