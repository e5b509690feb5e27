"""The metrics of a run while it trains: metrics.jsonl and TensorBoard events."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tensorboardX import summary as tensorboard_summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from crcfp_jax.common.files import read_metrics, to_json_types, user_error_on_write, write_atomic


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
        with user_error_on_write(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            kept = [line for line in read_metrics(self._path) if line["step"] <= step]
            write_atomic(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        with user_error_on_write(self._path):
            self._lines = open(self._path, "ab", buffering=0)  # noqa: SIM115  # closed in close()
        with user_error_on_write(self._folder):
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
        line = json.dumps(to_json_types({"step": step, **values}), allow_nan=False) + "\n"
        with user_error_on_write(self._path):
            self._lines.write(line.encode())
        self._write_events(step, [tensorboard_summary.scalar(name, value) for name, value in values.items()])

    def write_image(self, step: int, name: str, image: UInt8[np.ndarray, "_ _ 3"]) -> None:
        """Adds a picture to TensorBoard."""
        if self._enabled:
            self._write_events(step, [tensorboard_summary.image(name, image, dataformats="HWC")])

    def _write_events(self, step: int, summaries: list) -> None:
        with user_error_on_write(self._folder):
            for item in summaries:
                self._events.write_event(Event(step=step, wall_time=time.time(), summary=item))
            self._events.flush()

    def close(self) -> None:
        """Closes the files; further calls do nothing."""
        self._enabled = False
        lines, events, self._lines, self._events = self._lines, self._events, None, None
        with user_error_on_write(self._folder), ExitStack() as both:
            for file in (lines, events):
                if file is not None:
                    both.callback(file.close)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
