"""What a grid shows while it goes: two bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from crcfp_jax.common.words import duration

EVERY = 60.0  # seconds between the lines of one run


class GridDisplay:
    """Progress of the run that goes and of the whole grid. A context manager: the bars must be taken down.

    The bars are drawn when something is told, not by a thread: a process with threads must not fork.
    """

    def __init__(self, total: int, *, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        self._total, self._console, self._clock = total, console or Console(), clock
        self._live = self._bars = None
        self._label, self._started, self._last_line = "", 0.0, 0.0

    def __enter__(self) -> "GridDisplay":
        if self._console.is_terminal:
            what, note = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
            self._bars = Progress(
                what, BarColumn(), MofNCompleteColumn(), note, console=self._console, auto_refresh=False
            )
            self._run = self._bars.add_task("", total=None, note="")
            self._grid = self._bars.add_task("grid", total=self._total, note="")
            self._live = Live(self._bars, console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def message(self, text: str) -> None:
        """Prints a line, above the bars where there are any."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        self._draw()

    def start(self, number: int, label: str, how: str) -> None:
        """Says that run `number` of the grid starts; `how` says from where."""
        self._label, self._started = f"[{number}/{self._total}] {label}", self._clock()
        self._last_line = self._started
        self.message(f"{self._label}: {how}")

    def step(self, step: int, steps: int, left: float | None, finished: int) -> None:
        """Shows how far the run is, what is left of the grid, in seconds, and how many runs have finished."""
        if self._live is not None:
            elapsed = duration(self._clock() - self._started)
            self._bars.update(self._run, description=self._label, completed=step, total=steps, note=elapsed)
            self._bars.update(self._grid, completed=finished, note=_left(left).removeprefix("; "))
            self._draw()
        elif self._clock() - self._last_line >= EVERY:
            self._last_line = self._clock()
            elapsed = duration(self._last_line - self._started)
            self.message(f"{self._label}: step {step}/{steps}, {elapsed}{_left(left)}")

    def end(self, outcome: str, left: float | None) -> None:
        """Says how the run ended and what is left of the grid, in seconds."""
        self.message(f"{self._label}: {outcome}, {duration(self._clock() - self._started)}{_left(left)}")

    def _draw(self) -> None:
        if self._live is not None:
            self._live.refresh()


def _left(seconds: float | None) -> str:
    if not seconds:
        return ""
    rough = f"{round(seconds / 60)} min" if 90 <= seconds < 3600 else duration(seconds)
    return f"; about {rough} left"
