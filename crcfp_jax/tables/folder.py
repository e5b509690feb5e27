"""A grid's folder: the runs ever asked for in it, and what they share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json, write_json_atomic
from crcfp_jax.common.json_form import check_form
from crcfp_jax.config import CHANGEABLE
from crcfp_jax.queue.folder import SHARED, QueueFolder
from crcfp_jax.tables.grid import Grid

_RUN = {"name": str, "system": str, "fraction": str, "seed": int, "value": (float,)}
FORM = {"table": int, "data": str, "scale": str, "settings": [str], "runs": [_RUN], "commands?": [str]}  # of grid.json


class GridFolder(QueueFolder):
    """A queue's folder with grid.json."""

    def __init__(self, workdir: Path):
        super().__init__(workdir, "runs")
        self.description = workdir / "grid.json"

    def check(self, grid: Grid) -> None:
        """Raises UserError where the folder holds another grid than `grid`."""
        if not self.description.is_file():
            return
        stored = self.read()
        kind = f"table {stored['table']} on {stored['data']} at scale {stored['scale']}"
        if kind != (asked := f"table {grid.number} on {grid.data.name} at scale {grid.scale}"):
            raise UserError(f"{self.workdir} holds {kind}, not {asked}: give another --workdir")
        old, new = (_shared(words) for words in (stored["settings"], setting_words(grid)))
        if old != new:
            default = "as in the config file"
            changes = ", ".join(
                f"config.{key} was {old.get(key, default)}, now {new.get(key, default)}"
                for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key)
            )
            raise UserError(
                f"{self.workdir} holds runs with other settings: {changes}; undo that or give another --workdir"
            )

    def read(self) -> dict[str, Any]:
        """What grid.json holds.

        Raises:
            UserError: it is missing or damaged.
        """
        stored = read_json(self.description)
        check_form(self.description, stored, FORM)
        return stored

    def add(self, grid: Grid, command: str) -> None:
        """Adds the runs of `grid` to those ever asked for in this folder, and the command that asked for them."""
        with self.changing():
            stored = self.read() if self.description.is_file() else {"runs": [], "commands": []}
            rows = {row["name"]: row for row in [*stored["runs"], *(run.row() for run in grid.runs)]}
            commands = dict.fromkeys([*stored.get("commands", []), command])
            content = {
                "table": grid.number,
                "data": grid.data.name,
                "scale": grid.scale,
                "settings": setting_words(grid),
                "runs": list(rows.values()),
                "commands": list(commands),
            }
            write_json_atomic(self.description, content)


def setting_words(grid: Grid) -> list[str]:
    """The user's settings as words of a command line, sorted."""
    return sorted(f"--config.{key}={value}" for key, value in grid.settings.items())


def _shared(words: Sequence[str]) -> Mapping[str, str]:
    pairs = dict(word.removeprefix("--config.").partition("=")[::2] for word in words)
    return {key: value for key, value in pairs.items() if key not in CHANGEABLE or key in SHARED}
