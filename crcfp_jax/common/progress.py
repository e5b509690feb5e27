"""What a command shows while it goes: live bars on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text


class Display:
    """Named bars with a line below them, and messages above. Where there is no terminal, the messages alone are shown.

    Use it as a context manager: the bars must be taken down for a traceback to be readable.
    """

    def __init__(
        self,
        *columns: ProgressColumn,
        console: Console | None = None,
        enabled: bool = True,
        transient: bool = False,
        threaded: bool = True,
    ):
        """Args:
        columns: what follows a bar's name, the bar and its count; by default the time that has passed.
        console: by default that of stdout.
        enabled: False: nothing is shown, as by every process but the first.
        transient: the bars vanish at the end.
        threaded: False: `draw` and `message` draw the bars, not a thread, which a process that forks must not have.
        """
        self.console = console or Console()
        self._enabled, self._transient, self._threaded = enabled, transient, threaded
        name = TextColumn("{task.description}", markup=False)  # a file's name may look like markup
        columns = (name, BarColumn(), MofNCompleteColumn(), *(columns or (TimeElapsedColumn(),)))
        self._bars = Progress(*columns, console=self.console)
        self._note = ""
        self._live: Live | None = None

    def __enter__(self) -> "Display":
        if self._enabled and self.console.is_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=self.console,
                auto_refresh=self._threaded,
                refresh_per_second=4,
                transient=self._transient,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def live(self) -> bool:
        """Whether bars are shown."""
        return self._live is not None

    def add_bar(self, name: str, total: int | None, *, done: int = 0, **fields: Any) -> TaskID:
        """Adds a bar; `fields` are for columns of the caller's own."""
        return self._bars.add_task(name, total=total, completed=done, **fields)

    def update_bar(self, bar: TaskID, **changes: Any) -> None:
        """Changes a bar: `description`, `completed`, `advance`, `total` or a field."""
        self._bars.update(bar, **changes)

    def note(self, text: str) -> None:
        """Sets the line below the bars."""
        self._note = text

    def message(self, text: str) -> None:
        """Prints a line, above the bars where there are any."""
        if self._enabled:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
            self.draw()

    def draw(self) -> None:
        """Draws the bars as they are now."""
        if self._live is not None:
            self._live.refresh()

    def _render(self) -> RenderableType:
        return Group(self._bars, Text(self._note, style="dim")) if self._note else self._bars


@contextmanager
def progress_bar(
    name: str,
    total: int | None,
    *columns: ProgressColumn,
    console: Console | None = None,
    enabled: bool = True,
    transient: bool = False,
) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, nothing elsewhere.

    Yields:
        A function to call when one more is done, or as many as its argument says; its keywords `name` and `total`
        change the bar's.
    """
    with Display(*columns, console=console, enabled=enabled, transient=transient) as display:
        bar = display.add_bar(name, total)

        def advance(count: int = 1, *, name: str | None = None, total: int | None = None) -> None:
            display.update_bar(bar, advance=count, description=name, total=total)

        yield advance
