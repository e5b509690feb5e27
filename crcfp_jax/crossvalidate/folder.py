"""A cross-validation's folder: the plan that it was begun with, and the runs of every method."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crcfp_jax.common.files import read_json, write_json_atomic
from crcfp_jax.common.json_form import check_form
from crcfp_jax.crossvalidate.plan import FINAL, Plan
from crcfp_jax.queue.check import check_settings
from crcfp_jax.queue.folder import QueueFolder

FORM = {  # of plan.json
    "config": str, "data": str, "folds": int, "seed": int, "methods": [str], "commands": [str], "patients": [[str]],
    "classes": [str], "settings": {},
}  # fmt: skip


class CrossValidationFolder(QueueFolder):
    """A queue's folder with plan.json; runs lie in METHOD/fold0 and so on, and METHOD/final."""

    def __init__(self, workdir: Path):
        super().__init__(workdir)
        self.plan = workdir / "plan.json"

    @property
    def table(self) -> Path:
        return self.workdir / "crossvalidation.md"

    def finished(self, name: str) -> bool:
        """Whether a run has ended: a final one leaves no result where the data has no test images of its own."""
        if super().finished(name) or not name.endswith(f"/{FINAL}"):
            return super().finished(name)
        folder = self.run(name)
        if not (folder / "report.md").is_file():  # written last
            return False
        return self.checkpoint(name) >= read_json(folder / "config.json")["train"]["steps"]

    def check(self, current: Mapping[str, Any]) -> None:
        """Raises UserError where the folder holds a cross-validation with other settings than `current`."""
        if self.plan.is_file():
            check_settings(self.read()["settings"], current, self.workdir, "cross-validation")

    def read(self) -> dict[str, Any]:
        """What plan.json holds.

        Raises:
            UserError: it is missing or damaged.
        """
        stored = read_json(self.plan)
        check_form(self.plan, stored, FORM)
        return stored

    def add(self, plan: Plan, command: str, description: Mapping[str, Any]) -> None:
        """Adds a command and its methods to those ever given in this folder; `description`: of data and settings."""
        with self.changing():
            stored = self.read() if self.plan.is_file() else {"methods": [], "commands": []}
            content = {
                "methods": list(dict.fromkeys([*stored["methods"], *plan.methods])),
                "commands": list(dict.fromkeys([*stored["commands"], command])),
            }
            write_json_atomic(self.plan, dict(description) | content)
