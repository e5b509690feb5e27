"""What a user sees of a batch of pictures: progress, a line for each, and a table and summary.csv at the end."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.csv_text import csv_text
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import visible_files, write_atomic
from crcfp_jax.common.progress import progress_bar
from crcfp_jax.common.words import duration, shown
from crcfp_jax.slides.inputs import SUMMARY, SUMMARY_BY_REGION, Input
from crcfp_jax.slides.result import RESULT, read_result

MOST_ROWS = 50  # of the table on the terminal; summary.csv holds all
MOST_REGIONS = 10  # of a picture there; areas_by_region.csv holds all
MINUTE = 60.0  # seconds between two lines on a picture, where there is no bar
MANY_WINDOWS = 500  # that are told before the work on a picture
LOG_WIDTH = 160  # characters, where the output is no terminal, which would be taken for a narrow one


@dataclass(frozen=True)
class Row:
    """A picture of the summary."""

    name: str
    state: str  # 'done', 'done before', 'busy' or 'failed'
    result: dict[str, Any] | None = None
    error: str = ""


class Summary:
    """The pictures of one command, as they come. Use it as a context manager: its end prints and writes the summary.

    Pictures have numbers in the order in which they are first named, though a later one may be done before.

    summary.csv holds the other results below the output too, since other commands may have made them; where any has
    regions, summary_by_region.csv holds these.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[ClassInfo],
        count: int,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._clock = clock
        self._output, self._classes, self._count = output, classes, count
        self._console = console or Console()
        if not self._console.is_terminal:
            self._console.width = max(self._console.width, LOG_WIDTH)
        self._rows: list[Row] = []  # of this command
        self._numbers: dict[str, int] = {}  # of its pictures, from 1

    def __enter__(self) -> "Summary":
        return self

    def __exit__(self, *_: object) -> None:
        self._rows = sorted(map(self._now, self._rows), key=lambda row: self._numbers[row.name])
        self._print_table()
        for row in self._rows:
            if row.state == "failed":
                told = shown(f"failed: {row.name}: {row.error}")
                self._console.print(told, style="red", highlight=False, markup=False, soft_wrap=True)
        if not self._rows:
            return
        rows = [*self._rows, *self._others()]  # last: a full disk must not hide what was told
        write_atomic(self._output / SUMMARY, self._csv(rows))
        if any(_regions(row) for row in rows):
            write_atomic(self._output / SUMMARY_BY_REGION, self._csv_by_region(rows))

    @property
    def exit_code(self) -> int:
        """1 where a picture failed."""
        return int(any(row.state == "failed" for row in self._rows))

    @contextmanager
    def progress(self, picture: Input) -> Iterator[Callable[[int, int], None]]:
        """A bar on a terminal, else a line a minute; yields a function of the windows just done and all windows."""
        name = f"{self._number(picture.name)}{shown(picture.name)}"
        columns = (TextColumn("windows"), TimeRemainingColumn())
        started = told = self._clock()
        seen = 0
        with progress_bar(name, None, *columns, console=self._console, transient=True) as advance:

            def go_on(done: int, total: int) -> None:
                nonlocal seen, told
                advance(done, total=total)
                seen, now = seen + done, self._clock()
                if self._console.is_terminal:
                    return
                if seen == 0 and total >= MANY_WINDOWS:
                    self._say(f"{name}: {total} windows")
                elif 0 < seen < total and now - told >= MINUTE:
                    told = now
                    left = duration((now - started) / seen * (total - seen))
                    self._say(f"{name}: {seen} of {total} windows, about {left} left")

            yield go_on

    def done(self, picture: Input, result: dict[str, Any]) -> None:
        """A picture has been predicted."""
        timing = result["timing"]
        self._add(
            Row(picture.name, "done", result),
            f"{duration(timing['seconds'])}, {timing['megapixels_per_second']:.2f} megapixels/s, "
            f"device busy {100 * timing['device_busy']:.0f} %",
        )
        for note in result["input"]["notes"]:
            self.note(note)

    def note(self, told: str) -> None:
        """Something a user should know that is no failure."""
        self._console.print(f"  note: {told}", style="yellow", highlight=False, markup=False, soft_wrap=True)

    def skipped(self, picture: Input, result: dict[str, Any]) -> None:
        """A picture was predicted before."""
        self._add(Row(picture.name, "done before", result), "done before")

    def busy(self, picture: Input) -> None:
        """Another process is predicting a picture."""
        self._add(Row(picture.name, "busy"), "left to the other process that is at it")

    def failed(self, picture: Input, reason: str) -> None:
        """A picture could not be predicted."""
        self._add(Row(picture.name, "failed", error=reason), "failed")

    def _number(self, name: str) -> str:
        return f"[{self._numbers.setdefault(name, len(self._numbers) + 1)}/{self._count}] "

    def _add(self, row: Row, told: str) -> None:
        self._say(f"{self._number(row.name)}{shown(row.name)}: {told}")
        self._rows.append(row)

    def _say(self, line: str) -> None:
        self._console.print(shown(line), highlight=False, markup=False, soft_wrap=True)

    def _print_table(self) -> None:
        rows = [row for row in self._rows if row.result is not None]
        if not rows:
            return
        table = Table(
            Column("input", overflow="fold"), "pixels", "µm/px", "tissue", box=None, header_style="bold", pad_edge=False
        )
        for name in (*(info.name for info in self._classes), "mm²", "time"):
            table.add_column(Text(name), justify="right", overflow="fold")
        for row in rows[:MOST_ROWS]:
            result = row.result
            height, width = result["input"]["size"]
            tissue = result["tissue_share"]
            table.add_row(
                Text(shown(row.name)),
                f"{width} x {height}",
                f"{result['input']['microns_per_pixel']:.3g}",
                "-" if tissue is None else f"{100 * tissue:.0f} %",
                *self._shares(result["areas"]),
                duration(result["timing"]["seconds"]) if row.state == "done" else row.state,
            )
            regions = _regions(row)
            for region in regions[:MOST_REGIONS]:
                table.add_row(Text(f"  {_region_name(region)}"), "", "", "", *self._shares(region["areas"]), "")
            if len(regions) > MOST_REGIONS:
                table.add_row(f"  and {len(regions) - MOST_REGIONS} more in areas_by_region.csv")
        self._console.print(table)
        if len(rows) > MOST_ROWS:
            self._console.print(f"and {len(rows) - MOST_ROWS} more in {self._output / 'summary.csv'}", markup=False)

    def _shares(self, areas: Mapping[str, Mapping[str, int | float]]) -> list[str]:
        """The cells of each class and of the area analysed."""
        analysed = sum(areas[info.name]["mm2"] for info in self._classes)
        return [*(f"{100 * areas[info.name]['share']:.1f} %" for info in self._classes), f"{analysed:.3g}"]

    def _now(self, row: Row) -> Row:
        """The row of a picture that another process was at, with its result if that is there by now."""
        path = self._output / row.name / RESULT
        if row.state == "busy" and path.is_file():
            with suppress(UserError):
                return Row(row.name, "done before", read_result(path))
        return row

    def _others(self) -> Iterator[Row]:
        """The results below the output that this command has not named."""
        named = {row.name for row in self._rows}
        for path in visible_files(self._output):
            name = path.parent.relative_to(self._output).as_posix()
            if path.name == RESULT and name not in named:
                with suppress(UserError):  # another process may be replacing it, or it is not of this project
                    yield Row(name, "done before", read_result(path))

    def _csv(self, rows: Sequence[Row]) -> bytes:
        columns = ["input", "state", "height", "width", "microns_per_pixel", "tissue_share", *self._area_columns()]
        columns += ["seconds", "megapixels_per_second", "error"]
        return _csv_text(
            columns,
            (
                {"input": row.name, "state": row.state, "error": row.error}
                | ({} if row.result is None else _figures(row.result) | self._areas(row.result["areas"]))
                for row in rows
            ),
        )

    def _csv_by_region(self, rows: Sequence[Row]) -> bytes:
        columns = ["input", "region", "name", *self._area_columns(), "not_analysed_mm2"]
        return _csv_text(
            columns,
            (
                {"input": row.name, "region": region["region"], "name": region["name"]}
                | self._areas(region["areas"])
                | {"not_analysed_mm2": region["not_analysed"]["mm2"]}
                for row in rows
                for region in _regions(row)
            ),
        )

    def _area_columns(self) -> list[str]:
        return ["analysed_mm2", *(f"{info.name}_{key}" for key in ("mm2", "share") for info in self._classes)]

    def _areas(self, areas: Mapping[str, Mapping[str, int | float]]) -> dict[str, int | float]:
        """The cells of areas; those of a class that they haven't are left empty."""
        return {"analysed_mm2": sum(area["mm2"] for area in areas.values())} | {
            f"{info.name}_{key}": areas[info.name][key]
            for info in self._classes
            if info.name in areas
            for key in ("mm2", "share")
        }


def _csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    return csv_text([columns, *([row.get(column, "") for column in columns] for row in rows)])


def _regions(row: Row) -> list[dict[str, Any]]:
    """Of a picture; none where it has no result, or one of an earlier version."""
    return [] if row.result is None else row.result.get("regions", [])


def _region_name(region: Mapping[str, Any]) -> str:
    return f"region {region['region']}" + (f": {region['name']}" if region["name"] else "")


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    timing = result["timing"]
    height, width = result["input"]["size"]
    return {
        "height": height,
        "width": width,
        "microns_per_pixel": result["input"]["microns_per_pixel"],
        "tissue_share": result["tissue_share"],
        "seconds": round(timing["seconds"], 2),
        "megapixels_per_second": round(timing["megapixels_per_second"], 4),
    }
