"""Which runs a table needs, and the command of each."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from crcfp_jax.common.errors import UserError
from crcfp_jax.queue.child import ROOT
from crcfp_jax.tables.definitions import ALIASES, DATA, METHOD_OF, SYSTEMS, TABLES, Data, Sweep, Table
from data_pipelines.splits import ALL

DEFINING = {key for system in SYSTEMS.values() for key in system.settings}
OWN = {"method": "--methods", "fraction": "--fractions", "seed": "--seeds", "data.name": "--data"}


@dataclass(frozen=True)
class Run:
    """One run of a grid; `value` is what the table's sweep takes in it."""

    name: str
    system: str
    fraction: str
    seed: int
    value: int | None = None

    @property
    def label(self) -> str:
        """What a line of progress calls it."""
        sweep = self.name.removeprefix(f"{self.system}-").partition("-")[0] if self.value is not None else ""
        return " ".join(filter(None, (self.system, sweep, self.fraction, f"seed {self.seed}")))

    @property
    def kind(self) -> tuple[str, int | None]:
        """What tells how long it takes."""
        return self.system, self.value

    def row(self) -> dict[str, str | int | None]:
        """As grid.json holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Grid:
    """The runs that one command asks for, in the order in which they are done.

    Attributes:
        number: of the table.
        scale: of `SCALES`.
        settings: dotted key -> value that the user gave for every run.
        runs: seed by seed, so that a first complete column exists early.
    """

    number: int
    data: Data
    scale: str
    settings: Mapping[str, str]
    runs: tuple[Run, ...]

    @property
    def table(self) -> Table:
        return TABLES[self.number]

    @property
    def config_file(self) -> str:
        """Path of the config file, with its variant."""
        return config_file(self.data, self.scale)

    def base_settings(self) -> dict[str, str]:
        """Dotted key -> value, common to all runs."""
        return base_settings(self.table, self.scale, self.settings)

    def run_settings(self, run: Run) -> dict[str, str]:
        """Dotted key -> value: all that `run` changes in the config file."""
        sweep = self.table.sweep
        swept = {sweep.key: str(run.value)} if sweep else {}
        own = {"fraction": run.fraction, "seed": str(run.seed)}
        system = {"method": METHOD_OF[run.system].name} | dict(SYSTEMS[run.system].settings)
        return self.base_settings() | system | swept | own

    def command(self, run: Run, folder: Path) -> list[str]:
        """The command that does `run` in `folder`, or goes on with it."""
        changes = [f"--config.{key}={value}" for key, value in self.run_settings(run).items()]
        start = [sys.executable, "-m", "crcfp_jax.main", "--config", self.config_file, "--workdir", str(folder)]
        return start + changes


def config_file(data: Data, scale: str) -> str:
    """Path of the shipped config file of a data set at a scale, with its variant.

    Raises:
        UserError: there are no configs beside the package.
    """
    folder = ROOT / "configs"
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: run crcfp_jax.tables from a checkout of the project")
    return str(folder / data.variants[scale])


def base_settings(table: Table, scale: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Dotted key -> value of every run of a table: the table's own, then the user's."""
    full = dict(table.full_settings) if scale == "full" else {}
    return dict(table.settings) | full | dict(settings)


def read_settings(words: Sequence[str], table: Table) -> dict[str, str]:
    """The user's `--config.key=value` words as dotted key -> value.

    Raises:
        UserError: a word of another form, or a key that the grid itself sets.
    """
    settings = {}
    for word in words:
        match = re.fullmatch(r"--config\.([^=]+)=(.*)", word, re.DOTALL)
        if match is None:
            raise UserError(f"command line: {word!r} is unknown; settings of all runs are written --config.key=value")
        key, value = match.groups()
        if key in OWN:
            raise UserError(f"command line: config.{key} is set by the grid: use {OWN[key]}")
        if key in DEFINING:
            raise UserError(f"command line: config.{key} is what tells some systems apart: choose them by --methods")
        if key in table.settings or (table.sweep and key == table.sweep.key):
            raise UserError(f"command line: config.{key} is what this table sets itself: leave it out")
        settings[key] = value
    return settings


def choose_systems(table: Table, data: Data, methods: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Names of the systems to compare, in the order of the rows, and lines that the user should see.

    Raises:
        UserError: an unknown system, or one that this data or this table can't be combined with.
    """
    if methods is None:
        return [name for name in table.systems if _takes(name, data)], []
    notes = []
    for name in methods:
        if name not in SYSTEMS and name not in ALIASES:
            raise UserError(f"--methods {name} is unknown; known: {', '.join([*SYSTEMS, *ALIASES])}")
        if name in ALIASES:
            notes.append(
                f"{name} is {ALIASES[name]} under another name (the same loss terms): run once, as {ALIASES[name]}"
            )
    chosen = {ALIASES.get(name, name) for name in methods}
    for name in SYSTEMS:
        if name in chosen and not _takes(name, data):
            classes = METHOD_OF[name].classes
            fitting = [other.name for other in DATA.values() if other.classes == classes]
            raise UserError(
                f"--methods {name}: it takes {'two' if classes == 2 else classes} classes, {data.name} has "
                f"{data.classes}: leave it out" + (f", or give --data {fitting[0]}" if fitting else "")
            )
        if name in chosen and table.sweep and name not in table.sweep.systems:
            raise UserError(
                f"--methods {name}: config.{table.sweep.key}, which this table varies, has no effect on it; "
                f"give some of {', '.join(table.sweep.systems)}"
            )
    return [name for name in SYSTEMS if name in chosen], notes


def _takes(system: str, data: Data) -> bool:
    """Whether a system's method learns as many classes as the data has."""
    return METHOD_OF[system].classes in (None, data.classes)


def choose_fractions(
    table: Table, data: Data, systems: Sequence[str], fractions: Sequence[str] | None
) -> dict[str, list[str]]:
    """Fraction -> the systems compared there.

    Fractions that the user names are for all systems. Where none are named, all labels are for the supervised systems
    alone, as in the paper.
    """
    if fractions is not None:
        return {fraction: list(systems) for fraction in fractions}
    compared = {fraction: list(systems) for fraction in data.fractions[: table.fractions]}
    supervised = [name for name in systems if not METHOD_OF[name].terms]
    return compared | ({ALL: supervised} if table.all_labels and supervised else {})


def allowed_negatives(values: Sequence[int], maps: int, cells: int) -> tuple[list[int], list[str]]:
    """Numbers of negatives that can be drawn evenly from `maps` maps of `cells` cells, nearest to `values`.

    Returns:
        The numbers, each once (of two that are equally near, the smaller), and lines that say what was changed.
    """
    chosen, moved, left_out = [], [], []
    for value in values:
        nearest = max(maps, -(-(2 * value - maps) // (2 * maps)) * maps)
        if value > maps * cells:
            left_out.append(str(value))
        elif nearest not in chosen:
            chosen.append(nearest)
        if value != nearest and value <= maps * cells:
            moved.append(f"{value} becomes {nearest}")
    notes = []
    if moved:
        notes.append(f"negatives: {', '.join(moved)}, the nearest multiple of {maps} (2 x unlabelled batch)")
    if left_out:
        notes.append(
            f"negatives: {', '.join(left_out)} left out: {maps} maps of {cells} cells hold no more than {maps * cells}"
        )
    return chosen, notes


def make_runs(
    sweep: Sweep | None,
    systems: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    values: Sequence[int | None] = (None,),
) -> tuple[Run, ...]:
    """All runs, by seed, then fraction, then system, then value of the sweep; `systems` are those at each fraction."""
    runs = []
    for seed in seeds:
        for fraction, names in systems.items():
            for system in names:
                for value in values:
                    middle = f"-{sweep.word}{value}" if sweep else ""
                    name = f"{system}{middle}-{fraction.replace('/', '_')}-seed{seed}"
                    runs.append(Run(name, system, fraction, seed, value))
    return tuple(runs)
