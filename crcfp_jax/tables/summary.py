"""What the runs of a grid add up to: mean and standard deviation per cell, and where the runs differ."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crcfp_jax.common.files import read_json
from crcfp_jax.common.words import METRICS
from crcfp_jax.tables.definitions import STEPS, SYSTEMS, TABLES, Table
from crcfp_jax.tables.folder import GridFolder
from crcfp_jax.tables.paper import PaperFigure, PaperRow, find_row
from data_pipelines.recipes import unit_name

# The facts that are no versions.
SETTINGS = ("data fingerprint", "steps", "selection", "split unit", "dtype of activations")


@dataclass(frozen=True)
class Cell:
    """The runs of one system at one fraction and one value of the sweep, seed by seed.

    Attributes:
        figures: metric -> seed -> percent, of the finished runs.
        missing: seeds that were asked for and are not finished.
        failed: those whose last attempt failed.
        paper: the row of the paper that stands beside it, or None.
    """

    fraction: str
    system: str
    value: int | None
    seeds: tuple[int, ...]
    figures: Mapping[str, Mapping[int, float | None]]
    missing: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    paper: PaperRow | None = None

    def values(self, metric: str) -> list[float]:
        """A metric's figures in percent, by seed."""
        return [value for _, value in sorted(self.figures[metric].items()) if value is not None]

    def mean(self, metric: str) -> float | None:
        """In percent; None without a finished run."""
        return statistics.fmean(values) if (values := self.values(metric)) else None

    def deviation(self, metric: str) -> float | None:
        """Sample standard deviation over seeds, in percent; None below two runs."""
        return statistics.stdev(values) if len(values := self.values(metric)) > 1 else None

    def published(self, metric: str) -> PaperFigure | None:
        """The paper's figure; None where it has none."""
        return self.paper.figures.get(metric) if self.paper else None


@dataclass(frozen=True)
class Summary:
    """A grid's cells in the order of the rows, and what its runs have in common.

    Attributes:
        description: what grid.json holds.
        facts: name of a fact -> its value -> names of the runs that it holds for, of the runs that have begun.
    """

    description: Mapping[str, Any]
    cells: tuple[Cell, ...]
    facts: Mapping[str, Mapping[str, Sequence[str]]]

    @property
    def table(self) -> Table:
        return TABLES[self.description["table"]]

    def fact(self, name: str) -> str:
        """The value that all runs share."""
        values = list(self.facts.get(name, ()))
        return values[0] if len(values) == 1 else "differs between the runs, see below" if values else "not known yet"

    @property
    def differing(self) -> dict[str, Mapping[str, Sequence[str]]]:
        """Facts that differ between the runs."""
        return {name: values for name, values in self.facts.items() if len(values) > 1}


def summarise(folder: GridFolder) -> Summary:
    """Reads a grid's folder.

    Raises:
        UserError: grid.json or a result.json is damaged.
    """
    description = folder.read()
    results = {row["name"]: folder.result(row["name"]) for row in description["runs"]}
    facts: dict[str, dict[str, list[str]]] = {}
    for name, result in results.items():
        for fact, value in _facts(folder, name, result).items():
            facts.setdefault(fact, {}).setdefault(value, []).append(name)
    sweep = TABLES[description["table"]].sweep
    if sweep and sweep.key == STEPS:
        facts.pop("steps", None)  # every row says its own
    grouped: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in sorted(description["runs"], key=_order):
        grouped.setdefault((row["fraction"], row["system"], row["value"]), []).append(row)
    where = (description["table"], description["data"], facts.get("split unit", {}))
    cells = [_cell(rows, folder, results, find_row(*where, *key)) for key, rows in grouped.items()]
    return Summary(description, tuple(cells), facts)


def _order(row: Mapping[str, Any]) -> tuple:
    """Smaller fractions first; systems as in SYSTEMS."""
    part, whole = map(int, row["fraction"].split("/"))
    return part / whole, list(SYSTEMS).index(row["system"]), row["value"] or 0, row["seed"]


def _cell(
    rows: Sequence[Mapping[str, Any]],
    folder: GridFolder,
    results: Mapping[str, Mapping[str, Any] | None],
    paper: PaperRow | None,
) -> Cell:
    finished = {row["seed"]: results[row["name"]] for row in rows if results[row["name"]] is not None}
    open_rows = [row for row in rows if row["seed"] not in finished]
    failed = tuple(row["seed"] for row in open_rows if folder.failure(row["name"]).is_file())
    return Cell(
        rows[0]["fraction"],
        rows[0]["system"],
        rows[0]["value"],
        tuple(row["seed"] for row in rows),
        {metric: {seed: result[metric] for seed, result in finished.items()} for metric in METRICS},
        tuple(row["seed"] for row in open_rows if row["seed"] not in failed),
        failed,
        paper,
    )


def _facts(folder: GridFolder, name: str, result: Mapping[str, Any] | None) -> dict[str, str]:
    """What must be equal between runs that are compared, as far as it is known."""
    path = folder.run(name) / "config.json"
    if not path.is_file():
        return {}
    config = read_json(path)
    unit = unit_name(config["data"]["name"], config["data"]["split_unit"])
    dtype = config["model"]["dtype"]
    values = (config["data_fingerprint"], str(config["train"]["steps"]), config["evaluation"]["selection"], unit, dtype)
    facts = dict(zip(SETTINGS, values, strict=True))
    if result is not None:
        facts |= result["versions"]
    return facts
