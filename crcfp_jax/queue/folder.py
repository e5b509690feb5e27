"""A queue's folder: where each run lies, what state it is in, and how long it took."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json, user_error_on_write
from crcfp_jax.common.lock import Lock
from crcfp_jax.queue.task import Task

# A run may be resumed with another value of these, but runs that are compared must agree on them.
SHARED = {"train.steps", "model.pretrained", "evaluation.every"}
FINISHED, RESUMABLE, FAILED, TO_DO = "finished", "resumable", "failed before", "to do"


class QueueFolder:
    """The paths below `workdir`, and what they hold. Nothing is made before it is written."""

    def __init__(self, workdir: Path, runs: str = ""):
        """`runs`: name of the folder within `workdir` that the run folders lie in; '': they lie in it themselves."""
        self.workdir = workdir
        self.durations = workdir / "durations.jsonl"
        self._runs = workdir / runs

    def run(self, name: str) -> Path:
        return self._runs / name

    def log(self, name: str) -> Path:
        return self.workdir / "logs" / f"{name}.log"

    def failure(self, name: str) -> Path:
        return self.workdir / "failures" / f"{name}.json"

    def lock(self, name: str) -> Path:
        return self.workdir / ".locks" / name

    def result(self, name: str) -> dict[str, Any] | None:
        """What result.json of a finished run holds; None for any other."""
        path = self.run(name) / "result.json"
        return read_json(path) if path.is_file() else None

    def finished(self, name: str) -> bool:
        """Whether a run has ended in order."""
        return (self.run(name) / "result.json").is_file()

    def state(self, name: str) -> str:
        """FINISHED, FAILED, RESUMABLE or TO_DO."""
        if self.finished(name):
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

    def settled(self, tasks: Iterable[Task]) -> list[str]:
        """Words for the command of every run: what config.model.dtype=auto came to in the first that has begun.

        Runs that are compared then compute alike, also where other machines do some of them.
        """
        for task in tasks:
            with suppress(UserError, KeyError, TypeError):  # not begun; a damaged one is told where it goes on
                return [f"--config.model.dtype={read_json(self.run(task.name) / 'config.json')['model']['dtype']}"]
        return []

    def add_duration(self, task: Task, seconds: float) -> None:
        """Notes how long a sitting of a run took."""
        line = json.dumps({"name": task.name, "seconds": round(seconds, 1)}) + "\n"
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

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keeps other processes from changing what all that work here share."""
        with Lock(self.workdir / ".lock") as lock:
            while not lock.take():
                time.sleep(0.05)
            yield
