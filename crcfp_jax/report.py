"""The figures of a run: metrics.jsonl and TensorBoard while it trains, a table per class at its end."""

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tensorboardX import summary as tensorboard_summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from crcfp_jax.files import plain, read_metrics, told_plainly, write_atomic
from data_pipelines.records import ClassInfo

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class MetricWriter:
    """Appends scalars to `metrics.jsonl`, and scalars and pictures to TensorBoard events, in the run folder.

    Opening it takes the run back to `step`, the one that training goes on from (0 for a new run): later lines of
    metrics.jsonl and a line that a killed process left half written are dropped, and TensorBoard hides later points.
    Everything is on disk when a call returns. With `enabled=False` (every process but the first) nothing is written.

    Raises:
      UserError: in any method, when the disk is full or the folder unwritable.
    """

    def __init__(self, workdir: str | os.PathLike, *, step: int = 0, enabled: bool = True):
        self._enabled = enabled
        self._lines = self._events = None
        self._path, self._folder = Path(workdir) / "metrics.jsonl", Path(workdir)
        if not enabled:
            return
        with told_plainly(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            kept = [line for line in read_metrics(self._path) if line["step"] <= step]
            write_atomic(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        with told_plainly(self._path):
            self._lines = open(self._path, "ab", buffering=0)  # noqa: SIM115  # closed in close()
        with told_plainly(self._folder):
            # Not SummaryWriter: its thread dies of a full disk in silence, and a later call then waits for ever.
            # The process number keeps runs apart that begin in the same second.
            self._events = EventsWriter(str(self._folder / "events"), f".{os.getpid()}")
            if step:
                self._events.write_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes one line, {"step": step, name: value, ...}; NaN and infinity become null there."""
        if not self._enabled:
            return
        values = {name: float(value) for name, value in scalars.items()}
        line = json.dumps(plain({"step": step, **values}), allow_nan=False) + "\n"
        with told_plainly(self._path):
            self._lines.write(line.encode())
        self._write_events(step, [tensorboard_summary.scalar(name, value) for name, value in values.items()])

    def write_image(self, step: int, name: str, image: UInt8[np.ndarray, "_ _ 3"]) -> None:
        """Adds a picture to TensorBoard."""
        if self._enabled:
            self._write_events(step, [tensorboard_summary.image(name, image, dataformats="HWC")])

    def _write_events(self, step: int, summaries: list) -> None:
        with told_plainly(self._folder):
            for item in summaries:
                self._events.write_event(Event(step=step, wall_time=time.time(), summary=item))
            self._events.flush()

    def close(self) -> None:
        """Closes the files; further calls do nothing."""
        self._enabled = False
        lines, events, self._lines, self._events = self._lines, self._events, None, None
        with told_plainly(self._folder), ExitStack() as both:
            for file in (lines, events):
                if file is not None:
                    both.callback(file.close)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def result_table(result: Mapping[str, Any], classes: Sequence[ClassInfo] = (), *, title: str = "") -> Table:
    """IoU, Dice, precision and recall per class, in percent, of a dict as in result.json, with means last."""
    colours = {info.name: info.colour for info in classes}
    caption = f"all in percent; accuracy {_figure(result['accuracy'])}"
    table = Table(title=title or None, caption=caption, show_footer=True)
    table.add_column("class", footer="mean")
    for name, mean in (("IoU", "mean_iou"), ("Dice", "mean_dice"), ("precision", None), ("recall", None)):
        table.add_column(name, justify="right", footer=_figure(result[mean]) if mean else "")
    total = sum(row["support"] for row in result["per_class"].values())
    table.add_column("share of pixels", justify="right")
    for name, row in result["per_class"].items():
        swatch = Text.assemble(("■ ", "rgb({},{},{})".format(*colours[name])) if name in colours else "", name)
        figures = [_figure(row[key]) for key in ("iou", "dice", "precision", "recall")]
        table.add_row(swatch, *figures, _figure(100 * row["support"] / total if total else None))
    return table


def print_result(result: Mapping[str, Any], classes: Sequence[ClassInfo] = (), *, title: str = "") -> None:
    """Prints `result_table` to stdout."""
    Console().print(result_table(result, classes, title=title))


def compare_results(result: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    """One line that says whether an evaluation repeats the stored one, and where not, by how much."""
    if result["confusion_matrix"] == stored.get("confusion_matrix"):
        return "the same figures as result.json, to the pixel"
    names = {"mean_iou": "mIoU", "mean_dice": "Dice", "accuracy": "accuracy"}
    parts = [f"{name} {_figure(result[key], 2)} (stored {_figure(stored.get(key), 2)})" for key, name in names.items()]
    return "differs from result.json: " + ", ".join(parts)


def versions() -> dict[str, str]:
    """Versions of Python, this project and its numerical libraries, and the devices that compute."""
    found = {"python": platform.python_version(), "crcfp-jax": _version("crcfp-jax")}
    found |= {name: _version(name) for name in PACKAGES}
    devices = jax.devices()
    return found | {"platform": devices[0].platform, "device": f"{len(devices)} x {devices[0].device_kind}"}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout


def _figure(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
