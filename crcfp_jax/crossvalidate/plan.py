"""Which runs a cross-validation needs, and the command of each."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crcfp_jax.common.errors import UserError
from crcfp_jax.methods.systems.registry import systems

OWN = {"method": "--methods", "seed": "--seed", "data.folds": "--folds"}
FINAL = "final"


@dataclass(frozen=True)
class FoldRun:
    """One run: a method, tested on a fold; or trained on everything where `fold` is None."""

    method: str
    fold: int | None

    @property
    def name(self) -> str:
        """Of its folder within the workdir."""
        return f"{self.method}/{FINAL if self.fold is None else f'fold{self.fold}'}"

    @property
    def label(self) -> str:
        """What a line of progress calls it."""
        return f"{self.method} {FINAL if self.fold is None else f'fold {self.fold}'}"

    @property
    def kind(self) -> tuple[str]:
        """What tells how long it takes."""
        return (self.method,)


@dataclass(frozen=True)
class Plan:
    """What one command asks for.

    Attributes:
        config_file: path, with its variant.
        settings: dotted key -> value that the user gave for every run.
        methods: name -> dotted key -> value: what makes it.
        folds: how many.
        seed: of the folds and of every run.
        final: train each method on everything, too.
    """

    config_file: str
    settings: Mapping[str, str]
    methods: Mapping[str, Mapping[str, str]]
    folds: int
    seed: int
    final: bool = False

    @property
    def fold_runs(self) -> tuple[FoldRun, ...]:
        """Fold by fold, so that methods can be compared early."""
        return tuple(FoldRun(method, fold) for fold in range(self.folds) for method in self.methods)

    @property
    def runs(self) -> tuple[FoldRun, ...]:
        """All of them, in the order in which they are done."""
        return self.fold_runs + (tuple(FoldRun(method, None) for method in self.methods) if self.final else ())

    def base_settings(self, fold: int | None) -> dict[str, str]:
        """Dotted key -> value of a fold, or of training on everything, whatever the method."""
        folds = {"data.folds": str(self.folds), "data.fold": str(fold)}
        # Nothing is held out where everything is trained on: there is no best model to choose.
        return (
            dict(self.settings)
            | {"seed": str(self.seed)}
            | ({"evaluation.selection": "last"} if fold is None else folds)
        )

    def run_settings(self, run: FoldRun) -> dict[str, str]:
        """Dotted key -> value: all that a run changes in the config file."""
        return self.base_settings(run.fold) | dict(self.methods[run.method])

    def command(self, run: FoldRun, folder: Path) -> list[str]:
        """The command that does a run in `folder`, or goes on with it."""
        changes = [f"--config.{key}={value}" for key, value in self.run_settings(run).items()]
        start = [sys.executable, "-m", "crcfp_jax.main", "--config", self.config_file, "--workdir", str(folder)]
        return start + changes


def read_settings(words: Sequence[str]) -> dict[str, str]:
    """The user's `--config.key=value` words as dotted key -> value.

    Raises:
        UserError: a word of another form, or a key that the cross-validation itself sets.
    """
    settings = {}
    for word in words:
        match = re.fullmatch(r"--config\.([^=]+)=(.*)", word, re.DOTALL)
        if match is None:
            raise UserError(f"command line: {word!r} is unknown; settings of all runs are written --config.key=value")
        key, value = match.groups()
        if key in OWN:
            raise UserError(f"command line: config.{key} is set by the cross-validation: use {OWN[key]}")
        if key == "data.fold":
            raise UserError("command line: config.data.fold is set by the cross-validation, which does all folds")
        settings[key] = value
    return settings


def choose_methods(names: Sequence[str], settings: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Name -> dotted key -> value, of each method that is asked for.

    Raises:
        UserError: an unknown name, or a setting of the user's that one of them is made by.
    """
    known = systems()
    chosen = {}
    for name in names:
        if name not in known:
            raise UserError(f"--methods {name} is unknown; known: {', '.join(known)}")
        method, variant = known[name]
        for key in variant.settings:
            if key in settings:
                raise UserError(f"command line: config.{key} is what makes {name}: leave it out, or --methods {name}")
        chosen[name] = {"method": method.name} | dict(variant.settings)
    return chosen
