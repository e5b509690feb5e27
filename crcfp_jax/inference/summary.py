"""What a user sees of a batch of pictures: progress, a line for each, and a table and summary.csv at the end."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from crcfp_jax.files import write_atomic
from crcfp_jax.inference.inputs import Input
from crcfp_jax.progress import duration
from data_pipelines.records import ClassInfo

MOST_ROWS = 50  # of the table on the terminal; summary.csv holds all
LOG_WIDTH = 160  # characters, where the output is no terminal, which would be taken for a narrow one


class Summary:
    """The pictures of one command, as they come. Use it as a context manager: its end prints and writes the summary."""

    def __init__(self, output: Path, classes: Sequence[ClassInfo], count: int, *, console: Console | None = None):
        self._output, self._classes, self._count = output, classes, count
        self._console = console or Console()
        if not self._console.is_terminal:
            self._console.width = max(self._console.width, LOG_WIDTH)
        self._rows: list[tuple[str, str, dict[str, Any]]] = []  # name, state, result
        self._failures: list[tuple[str, str]] = []
        self._told = 0  # pictures

    def __enter__(self) -> "Summary":
        return self

    def __exit__(self, *_: object) -> None:
        if self._rows:
            self._print_table()
        if self._rows or self._failures:
            write_atomic(self._output / "summary.csv", self._csv().encode())
        for name, reason in self._failures:
            self._console.print(f"failed: {name}: {reason}", style="red", highlight=False, markup=False, soft_wrap=True)

    @property
    def exit_code(self) -> int:
        """1 where a picture failed."""
        return 1 if self._failures else 0

    @contextmanager
    def progress(self, picture: Input) -> Iterator[Callable[[int, int], None]]:
        """A bar on a terminal, nothing elsewhere; yields a function of the windows just done and all windows."""
        if not self._console.is_terminal:
            yield lambda done, total: None
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        with Progress(
            *columns, TextColumn("windows"), TimeRemainingColumn(), console=self._console, transient=True
        ) as bar:
            task = bar.add_task(f"{self._number}{picture.name}", total=None)
            yield lambda done, total: bar.update(task, advance=done, total=total)

    def done(self, picture: Input, result: dict[str, Any]) -> None:
        """A picture has been predicted."""
        timing = result["timing"]
        self._line(
            f"{picture.name}: {duration(timing['seconds'])}, {timing['megapixels_per_second']:.2f} megapixels/s, "
            f"device busy {100 * timing['device_busy']:.0f} %"
        )
        for note in result["input"]["notes"]:
            self._console.print(f"  note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
        self._rows.append((picture.name, "done", result))

    def skipped(self, picture: Input, result: dict[str, Any]) -> None:
        """A picture was predicted before."""
        self._line(f"{picture.name}: done before")
        self._rows.append((picture.name, "done before", result))

    def busy(self, picture: Input) -> None:
        """Another process is predicting a picture."""
        self._line(f"{picture.name}: left to the other process that is at it")

    def failed(self, picture: Input, reason: str) -> None:
        """A picture could not be predicted."""
        self._line(f"{picture.name}: failed")
        self._failures.append((picture.name, reason))

    @property
    def _number(self) -> str:
        return f"[{self._told + 1}/{self._count}] "

    def _line(self, text: str) -> None:
        self._console.print(self._number + text, highlight=False, markup=False, soft_wrap=True)
        self._told += 1

    def _print_table(self) -> None:
        table = Table("input", "pixels", "µm/px", "tissue", box=None, header_style="bold", pad_edge=False)
        for name in (*(info.name for info in self._classes), "mm²", "time"):
            table.add_column(name, justify="right")
        for name, state, result in self._rows[:MOST_ROWS]:
            height, width = result["input"]["size"]
            tissue, areas = result["tissue_share"], result["areas"]
            analysed = sum(areas[info.name]["mm2"] for info in self._classes)
            table.add_row(
                name,
                f"{width} x {height}",
                f"{result['input']['microns_per_pixel']:.3g}",
                "-" if tissue is None else f"{100 * tissue:.0f} %",
                *(f"{100 * areas[info.name]['share']:.1f} %" for info in self._classes),
                f"{analysed:.3g}",
                duration(result["timing"]["seconds"]) if state == "done" else state,
            )
        self._console.print(table)
        if len(self._rows) > MOST_ROWS:
            self._console.print(f"and {len(self._rows) - MOST_ROWS} more in {self._output / 'summary.csv'}")

    def _csv(self) -> str:
        text = io.StringIO()
        names = [info.name for info in self._classes]
        columns = ["input", "state", "height", "width", "microns_per_pixel", "tissue_share", "analysed_mm2"]
        columns += [f"{name}_mm2" for name in names] + [f"{name}_share" for name in names]
        columns += ["seconds", "megapixels_per_second", "error"]
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        for name, state, result in self._rows:
            areas, timing = result["areas"], result["timing"]
            row = {"input": name, "state": state, "microns_per_pixel": result["input"]["microns_per_pixel"]}
            row["height"], row["width"] = result["input"]["size"]
            row["tissue_share"] = result["tissue_share"]
            row["analysed_mm2"] = sum(areas[name]["mm2"] for name in names)
            row |= {f"{name}_{key}": areas[name][key] for name in names for key in ("mm2", "share")}
            row["seconds"] = round(timing["seconds"], 2)
            row["megapixels_per_second"] = round(timing["megapixels_per_second"], 4)
            table.writerow(row)
        for name, reason in self._failures:
            table.writerow({"input": name, "state": "failed", "error": reason})
        return text.getvalue()
