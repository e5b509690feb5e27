"""Finished runs, and which of them are put side by side."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.config import default
from crcfp_jax.methods.systems.registry import by_rank, find_variant, systems
from crcfp_jax.runs.settings import check_scheme
from crcfp_jax.tables.folder import GridFolder

SYSTEMS = tuple(systems())  # in the order in which figures show them
SUPERVISED = by_rank(supervised=True)  # the first that is there is the reference
SEMI_SUPERVISED = by_rank(supervised=False)  # likewise, to set against it


class MissingRuns(Exception):
    """These runs don't give the figure; says in one line what is missing."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its folder, its settings (config.json) and its figures of merit (result.json)."""

    folder: Path
    settings: dict[str, Any]
    result: dict[str, Any]

    @property
    def system(self) -> str:
        """One of `SYSTEMS`: the method, and for supervised training its augmentation and its statistics.

        A method that this version doesn't know stands under its own name.
        """
        variant = find_variant(self.settings)
        return self.settings["method"] if variant is None else variant.name

    @property
    def fraction(self) -> str:
        """Share of the labels, such as '1/8'."""
        return self.settings["fraction"]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.settings["seed"]

    @property
    def negatives(self) -> int:
        """Features pushed into the bank a step."""
        return self.settings["contrastive"]["negatives"]

    @property
    def classifiers(self) -> int:
        """Auxiliary classifiers per perturbation, the paper's K."""
        return self.settings["cross_consistency"]["classifiers"]

    @property
    def steps(self) -> int:
        """Of its training."""
        return self.settings["train"]["steps"]


@dataclass(frozen=True)
class Comparison:
    """Runs of the same labels and the same seed, one a system, in the order of `SYSTEMS`."""

    fraction: str
    seed: int
    runs: dict[str, Run]

    def first(self, systems: Iterable[str], kind: str) -> Run:
        """The run of the first of these systems that is there.

        Raises:
            MissingRuns: none of them is; `kind` names them.
        """
        for system in systems:
            if system in self.runs:
                return self.runs[system]
        raise MissingRuns(f"needs a finished {kind} run with fraction {self.fraction} and seed {self.seed}")


def find_runs(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Reads the finished runs of grid folders (with grid.json or runs/) and run folders.

    Returns:
        The finished runs and the names of the unfinished ones.

    Raises:
        UserError: a path is neither, a file is damaged, no run is finished, or the runs can't be put together: of
            several data sets, or two of the same system, labels and seed.
    """
    folders = list(dict.fromkeys(folder for path in paths for folder in _run_folders(path)))
    finished = [_read(folder) for folder in folders if (folder / "result.json").is_file()]
    unfinished = [folder.name for folder in folders if not (folder / "result.json").is_file()]
    if not finished:
        raise UserError(f"{', '.join(map(str, paths))}: no run is finished (none has a result.json): train first")
    _check_together(finished)
    return sorted(finished, key=_order), unfinished


def _run_folders(path: Path) -> list[Path]:
    if (path / "grid.json").is_file():
        return [path / "runs" / entry["name"] for entry in GridFolder(path).read()["runs"]]
    if (path / "config.json").is_file():
        return [path]
    found = sorted(file.parent for file in path.glob("runs/*/config.json"))
    if not found:
        raise UserError(
            f"{path} holds no run: give the --workdir of a training run or of a grid of `python -m crcfp_jax.tables`"
        )
    return found


def _read(folder: Path) -> Run:
    settings, result = read_json(folder / "config.json"), read_json(folder / "result.json")
    check_scheme(settings, folder)
    try:
        run = Run(folder, settings, result)
        _order(run)  # reads every setting used here
        _ = [row["iou"] for row in result["per_class"].values()], result["mean_iou"], settings["data"]["split_unit"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder}: config.json or result.json is not of a run of this project ({error!r})") from error
    return run


def _order(run: Run) -> tuple:
    system = SYSTEMS.index(run.system) if run.system in SYSTEMS else len(SYSTEMS)
    return system, run.system, Fraction(run.fraction), run.seed, run.negatives, run.classifiers, run.steps


def _check_together(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for key in ("name", "split_unit"):
            one, other = first.settings["data"][key], run.settings["data"][key]
            if one != other:
                raise UserError(
                    f"config.data.{key} is {one!r} in {first.folder} and {other!r} in {run.folder}: give runs of one"
                )
    for one, other in itertools.combinations(runs, 2):
        if _order(one) == _order(other):
            raise UserError(
                f"{one.folder} and {other.folder} are both {one.system}, {one.fraction}, seed {one.seed}: leave one out"
            )


def compare(runs: Sequence[Run], fraction: str | None = None, seed: int | None = None) -> Comparison:
    """Chooses what to put side by side: the smallest fraction, then the smallest seed, that all systems have.

    Where no fraction and seed is common to all, those that most systems have. Of runs that differ in a number that a
    table sweeps, the one nearest to the paper is taken, of one length of training where there is one (`of_one_length`).

    Args:
        runs: finished runs.
        fraction: only this one, such as '1/8'.
        seed: only this one.

    Raises:
        UserError: no run has this fraction and seed.
    """
    asked_for = [run for run in runs if fraction in (None, run.fraction) and seed in (None, run.seed)]
    if not asked_for:
        known = sorted({(Fraction(run.fraction), run.fraction, run.seed) for run in runs})
        asked = " and ".join(
            f"{key} {value}" for key, value in (("fraction", fraction), ("seed", seed)) if value is not None
        )
        listed = ", ".join(f"{name} seed {number}" for _, name, number in known)
        raise UserError(f"no finished run has {asked}; finished are {listed}")
    groups: dict[tuple[Fraction, int], dict[str, Run]] = {}
    # The nearest to the paper's comes last and stays.
    for run in sorted(of_one_length(asked_for), key=_departure, reverse=True):
        groups.setdefault((Fraction(run.fraction), run.seed), {})[run.system] = run
    key = min(groups, key=lambda key: (-len(groups[key]), key))
    chosen = sorted(groups[key].values(), key=_order)
    return Comparison(chosen[0].fraction, chosen[0].seed, {run.system: run for run in chosen})


def of_one_length(runs: Sequence[Run]) -> list[Run]:
    """The runs of one number of training steps: that of most of them, else the nearest to the paper's.

    A longer training is worth points by itself. A system that has no run of that length keeps all it has.
    """
    lengths: dict[int, list[Run]] = {}
    for run in runs:
        lengths.setdefault(run.steps, []).append(run)

    def covered(steps: int) -> int:
        return len({(run.system, run.fraction, run.seed) for run in lengths[steps]})

    paper = default().train.steps
    common = min(lengths, key=lambda steps: (-covered(steps), abs(steps - paper)))
    having = {run.system for run in lengths[common]}
    return [run for run in runs if run.steps == common or run.system not in having]


def nearest_to_paper(runs: Sequence[Run]) -> list[Run]:
    """Of each system's runs with a share of the labels, those least far from the paper in what tables sweep.

    They are of one length of training where there is one; see `of_one_length`.
    """
    runs = of_one_length(runs)
    least: dict[tuple[str, str], tuple[int, ...]] = {}
    for run in runs:
        key = run.system, run.fraction
        least[key] = min(_departure(run), least.get(key, _departure(run)))
    return [run for run in runs if _departure(run) == least[run.system, run.fraction]]


def _departure(run: Run) -> tuple[int, ...]:
    paper = default()
    return (
        abs(run.classifiers - paper.cross_consistency.classifiers),
        abs(run.negatives - paper.contrastive.negatives),
        abs(run.steps - paper.train.steps),
    )
