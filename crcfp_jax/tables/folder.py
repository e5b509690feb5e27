"""A grid's folder: where everything lies, what state each run is in, and the locks that keep processes apart."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json, user_error_on_write, write_json_atomic
from crcfp_jax.common.lock import Lock
from crcfp_jax.config import CHANGEABLE
from crcfp_jax.tables.grid import Grid, Run

# A run may be resumed with another value of these, but runs of one table must agree on them.
SHARED = {"train.steps", "model.pretrained", "evaluation.every"}
FINISHED, RESUMABLE, FAILED, TO_DO = "finished", "resumable", "failed before", "to do"


class GridFolder:
    """The paths below `workdir`, and what they hold. Nothing is made before it is written."""

    def __init__(self, workdir: Path):
        self.workdir = workdir
        self.description = workdir / "grid.json"
        self.durations = workdir / "durations.jsonl"

    def run(self, name: str) -> Path:
        return self.workdir / "runs" / name

    def log(self, name: str) -> Path:
        return self.workdir / "logs" / f"{name}.log"

    def failure(self, name: str) -> Path:
        return self.workdir / "failures" / f"{name}.json"

    def result(self, name: str) -> dict[str, Any] | None:
        """What result.json of a finished run holds; None for any other."""
        path = self.run(name) / "result.json"
        return read_json(path) if path.is_file() else None

    def state(self, name: str) -> str:
        """FINISHED, FAILED, RESUMABLE or TO_DO."""
        if (self.run(name) / "result.json").is_file():
            return FINISHED
        if self.failure(name).is_file():
            return FAILED
        return RESUMABLE if self.checkpoint(name) else TO_DO

    def checkpoint(self, name: str) -> int:
        """The step of the newest checkpoint; 0 where there is none."""
        saved = self.run(name) / "checkpoints"
        return max((int(path.name) for path in saved.glob("*") if path.name.isdigit()), default=0)

    def step(self, name: str) -> int:
        """The step of the last whole line of metrics.jsonl; 0 where there is none."""
        with suppress(OSError), open(self.run(name) / "metrics.jsonl", "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65536))
            for line in reversed(file.read().split(b"\n")[:-1]):
                with suppress(ValueError, TypeError, KeyError):
                    return int(json.loads(line)["step"])
        return 0

    def add_duration(self, run: Run, seconds: float) -> None:
        """Notes how long a sitting of `run` took."""
        line = json.dumps({"name": run.name, "seconds": round(seconds, 1)}) + "\n"
        with user_error_on_write(self.durations), open(self.durations, "a") as file:
            file.write(line)

    def sittings(self) -> dict[str, float]:
        """Name of a run -> seconds that its noted sittings took together."""
        seconds: dict[str, float] = {}
        if self.durations.is_file():
            for text in self.durations.read_text().splitlines():
                with suppress(ValueError, TypeError, KeyError):  # a line cut short by a full disk or a kill
                    line = json.loads(text)
                    seconds[line["name"]] = seconds.get(line["name"], 0.0) + line["seconds"]
        return seconds

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
        keys = {"table": int, "data": str, "scale": str, "settings": list, "runs": list}
        if not isinstance(stored, dict) or any(not isinstance(stored.get(key), kind) for key, kind in keys.items()):
            raise UserError(f"{self.description} describes no grid: delete or restore it")
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

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keeps other processes from changing what all shards share."""
        with Lock(self.workdir / ".lock") as lock:
            while not lock.take():
                time.sleep(0.05)
            yield


def setting_words(grid: Grid) -> list[str]:
    """The user's settings as words of a command line, sorted."""
    return sorted(f"--config.{key}={value}" for key, value in grid.settings.items())


def _shared(words: Sequence[str]) -> Mapping[str, str]:
    pairs = dict(word.removeprefix("--config.").partition("=")[::2] for word in words)
    return {key: value for key, value in pairs.items() if key not in CHANGEABLE or key in SHARED}
