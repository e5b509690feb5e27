"""The figures of the paper's tables, as paper.json holds them, and which of them stands beside a run."""

import functools
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crcfp_jax.common.words import METRICS

PAPER_JSON = Path(__file__).with_name("paper.json")
# How far from the paper's number of negatives a run's may lie: it is the nearest that can be drawn evenly.
NEAR = 0.05


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper in percent.

    Attributes:
        printed: 'mean (standard deviation)', digit for digit.
        slip: the paper prints the mean as the standard deviation too.
    """

    printed: str
    slip: bool = False

    @property
    def mean(self) -> float:
        """Over the paper's three seeds, in percent."""
        return self._numbers[0]

    @property
    def deviation(self) -> float:
        """The standard deviation that is printed, in percent."""
        return self._numbers[1]

    @property
    def _numbers(self) -> tuple[float, float]:
        mean, deviation = re.fullmatch(r"([\d.]+) \(([\d.]+)\)", self.printed).groups()
        return float(mean), float(deviation)


@dataclass(frozen=True)
class PaperRow:
    """A row of a table of the paper.

    Attributes:
        table: its number.
        data: data set, as in `config.data.name`.
        split_unit: what the labels are a share of.
        fraction: share of the labels.
        system: a key of `SYSTEMS`.
        value: what the table's sweep takes, or None.
        figures: metric -> figure, of the metrics that the table has.
    """

    table: int
    data: str
    split_unit: str
    fraction: str
    system: str
    value: int | None
    figures: Mapping[str, PaperFigure]


@functools.cache
def _content() -> Mapping[str, Any]:
    return json.loads(PAPER_JSON.read_text())


def source() -> str:
    """What to cite."""
    return _content()["source"]


@functools.cache
def paper_rows() -> tuple[PaperRow, ...]:
    """All rows, in the paper's order."""
    rows = []
    for entry in _content()["figures"]:
        slips = entry.get("slip", ())
        figures = {metric: PaperFigure(entry[metric], metric in slips) for metric in METRICS if metric in entry}
        place = {key: entry[key] for key in ("table", "data", "split_unit", "fraction", "system", "value")}
        rows.append(PaperRow(**place, figures=figures))
    return tuple(rows)


def find_row(
    table: int, data: str, units: Collection[str], fraction: str, system: str, value: int | None
) -> PaperRow | None:
    """The row that stands beside runs of these settings; None where the paper has none.

    Args:
        units: split units of the runs, none before one has begun: figures for another split can't be compared.
        value: what the table's sweep takes in the runs; the paper's may lie within `NEAR` of it.
    """
    for row in paper_rows():
        same = (row.table, row.data, row.fraction, row.system) == (table, data, fraction, system)
        if same and set(units) == {row.split_unit} and _near(row.value, value):
            return row
    return None


def _near(printed: int | None, value: int | None) -> bool:
    if printed is None or value is None:
        return printed is value
    return abs(value - printed) <= NEAR * printed
