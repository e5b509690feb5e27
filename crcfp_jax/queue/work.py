"""Does runs one after the other, whatever happens to a single one."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from crcfp_jax.common.files import write_json_atomic
from crcfp_jax.common.lock import Lock
from crcfp_jax.queue.child import Child
from crcfp_jax.queue.display import QueueDisplay
from crcfp_jax.queue.estimate import known_durations, seconds_left
from crcfp_jax.queue.folder import FINISHED, QueueFolder
from crcfp_jax.queue.stop import Stop
from crcfp_jax.queue.task import Task

POLL = 1.0  # seconds between two looks at a run


class Work:
    """The runs of one command, in their order."""

    def __init__(
        self,
        runs: Sequence[Task],
        folder: QueueFolder,
        command: Callable[[Any], Sequence[str]],
        steps: Mapping[str, int],
        known: Sequence[Task],
        display: QueueDisplay,
        stop: Stop,
    ):
        """
        Args:
            runs: those to do, and those that have been done.
            folder: that they lie in.
            command: gives the command that does a run, or goes on with it.
            steps: name of a run -> the steps it takes.
            known: all that lie in the folder; those that have finished tell how long one takes.
            display: shows what goes on.
            stop: the signal that stops it.
        """
        self._runs, self._folder, self._command, self._steps = runs, folder, command, steps
        self._known, self._display, self._stop = known, display, stop
        self._durations = known_durations(folder, known)
        self._shares = {run: self._share(run) for run in runs if folder.state(run.name) != FINISHED}

    def do_all(self, after_each: Callable[[], None]) -> None:
        """Does one after the other until all are done or a signal comes; calls `after_each` when one has ended."""
        if done := len(self._runs) - len(self._shares):
            self._display.message(f"{done} of {len(self._runs)} runs were finished before")
        for number, run in enumerate(self._runs, start=1):
            if self._stop:
                return
            if run in self._shares:
                self._do(number, run)
                after_each()

    def _share(self, run: Task) -> float:
        return min(1.0, self._folder.step(run.name) / self._steps[run.name])

    def _do(self, number: int, run: Task) -> None:
        with Lock(self._folder.lock(run.name)) as lock:
            # Its holder may be the run of a queue that was killed, which is saving, or another queue's.
            if not self._wait_for(lock, run):
                return
            if self._folder.state(run.name) == FINISHED:
                del self._shares[run]
                return
            saved = self._folder.checkpoint(run.name)
            self._display.start(number, run.label, f"goes on from step {saved}" if saved else "started")
            started = time.monotonic()
            child = Child(self._command(run), self._folder.log(run.name), lock)
        code = self._watch(child, run)
        self._folder.add_duration(run, time.monotonic() - started)
        outcome = self._outcome(run, code, child)
        self._durations = known_durations(self._folder, self._known)
        del self._shares[run]
        self._display.end(outcome, seconds_left(self._shares, self._durations))

    def _wait_for(self, lock: Lock, run: Task) -> bool:
        """Takes the lock of a run, however long that takes; False where a signal comes before."""
        if not lock.take():
            self._display.message(f"{run.label}: waiting for another process to end in {self._folder.run(run.name)}")
            while not lock.take():
                time.sleep(POLL)
                if self._stop:
                    return False
        return True

    def _watch(self, child: Child, run: Task) -> int:
        """Shows a run's progress until it ends; returns its exit code."""
        asked = killed = False
        try:
            while (code := child.wait(POLL)) is None:
                if self._stop and not asked:
                    self._display.message(f"{self._stop.signal.name}: {run.label} saves and stops (Ctrl-C: at once)")
                    child.stop()
                    asked = True
                elif self._stop.at_once and not killed:
                    child.stop(save=False)
                    killed = True
                self._shares[run] = self._share(run)
                left = seconds_left(self._shares, self._durations)
                done = len(self._runs) - len(self._shares)
                self._display.step(self._folder.step(run.name), self._steps[run.name], left, done)
        except BaseException:
            child.stop()
            raise
        return code

    def _outcome(self, run: Task, code: int, child: Child) -> str:
        """Notes a failure, or that there is none any more; returns what to tell."""
        failure = self._folder.failure(run.name)
        if self._folder.finished(run.name):
            failure.unlink(missing_ok=True)
            result = self._folder.result(run.name)
            if result is None:
                return "trained"
            return f"mIoU {result['mean_iou']:.1f}" if result["mean_iou"] is not None else "mIoU -"
        if self._stop:
            return f"stopped, saved at step {self._folder.checkpoint(run.name)}"
        line = child.last_line() or "it wrote nothing"
        time_of_day = datetime.now().astimezone().isoformat(timespec="seconds")
        write_json_atomic(failure, {"exit_code": code, "message": line, "time": time_of_day})
        return f"failed with exit code {code} ({line}), log {self._folder.log(run.name)}"
