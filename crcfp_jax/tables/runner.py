"""Does the runs of a grid one after the other, whatever happens to a single one, and keeps the table up to date."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import write_json_atomic
from crcfp_jax.common.lock import Lock
from crcfp_jax.tables.child import Child
from crcfp_jax.tables.display import GridDisplay
from crcfp_jax.tables.estimate import known_durations, seconds_left
from crcfp_jax.tables.folder import FAILED, FINISHED, RESUMABLE, TO_DO, GridFolder
from crcfp_jax.tables.grid import Grid, Run
from crcfp_jax.tables.render import write_tables
from crcfp_jax.tables.stop import Stop

POLL = 1.0  # seconds between two looks at a run


def shard_of(grid: Grid, shard: tuple[int, int]) -> tuple[Run, ...]:
    """The runs of shard (i, n): one of every n, another place each time.

    Were it always the same place, a shard could get all runs of the slowest system.
    """
    index, count = shard
    return tuple(run for place, run in enumerate(grid.runs) if (place + place // count) % count == index - 1)


def dry_run(grid: Grid, folder: GridFolder, shard: tuple[int, int]) -> None:
    """Prints every run's state and command, and how many there are of each state."""
    runs = shard_of(grid, shard)
    counts = dict.fromkeys((FINISHED, RESUMABLE, FAILED, TO_DO), 0)
    for run in runs:
        state = folder.state(run.name)
        counts[state] += 1
        print(f"{state:13} {shlex.join(grid.command(run, folder.run(run.name)))}")
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    print(f"{len(runs)} runs: {states or 'none in this shard'}")


def run_grid(grid: Grid, folder: GridFolder, steps: Mapping[str, int], shard: tuple[int, int], command: str) -> int:
    """Does the runs of a shard that are not finished, and writes the tables after each.

    Args:
        steps: name of a run -> the steps it takes.
        command: that the user gave, for the table's head.

    Returns:
        0; 1 where a run failed; 128 + the signal where one stopped the grid.

    Raises:
        UserError: another process is at work on this shard in this folder, or the folder is unwritable.
    """
    runs = shard_of(grid, shard)
    with (
        Lock(folder.workdir / f".lock-{shard[0]}of{shard[1]}") as lock,
        Stop().listening() as stop,
        GridDisplay(len(runs)) as display,
    ):
        if not lock.take():
            raise UserError(
                f"{folder.workdir}: another process is at work on shard {shard[0]}/{shard[1]} there: wait for it or "
                "stop it"
            )
        if not lock.works:
            display.message(f"note: {folder.workdir} is on a file system without locks: start no shard twice")
        folder.add(grid, command)
        write_tables(folder)
        _Work(grid, folder, steps, runs, display, stop).do_all()
    states = {run: folder.state(run.name) for run in runs}
    finished = sum(state == FINISHED for state in states.values())
    table = folder.workdir / "table.md"
    if stop:
        code = f"stopped by {stop.signal.name}"
        print(f"{code}: {finished} of {len(runs)} runs finished; the same command goes on; {table}", file=sys.stderr)
        return 128 + stop.signal
    failed = [run.name for run, state in states.items() if state == FAILED]
    if failed:
        names = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed ({names}): see {folder.log(failed[0]).parent}; the same command "
            "tries them again"
        )
    print(f"{finished} of {len(runs)} runs finished; {table}")
    return 0


class _Work:
    """The runs of one command, in their order."""

    def __init__(
        self,
        grid: Grid,
        folder: GridFolder,
        steps: Mapping[str, int],
        runs: Sequence[Run],
        display: GridDisplay,
        stop: Stop,
    ):
        self._grid, self._folder, self._steps = grid, folder, steps
        self._runs, self._display, self._stop = runs, display, stop
        self._durations = known_durations(folder, grid.runs)
        self._shares = {run: self._share(run) for run in runs if folder.state(run.name) != FINISHED}

    def do_all(self) -> None:
        """Does one after the other until all are done or a signal comes."""
        if done := len(self._runs) - len(self._shares):
            self._display.message(f"{done} of {len(self._runs)} runs were finished before")
        for number, run in enumerate(self._runs, start=1):
            if self._stop:
                return
            if run in self._shares:
                self._do(number, run)
                write_tables(self._folder)

    def _share(self, run: Run) -> float:
        return min(1.0, self._folder.step(run.name) / self._steps[run.name])

    def _do(self, number: int, run: Run) -> None:
        with Lock(self._folder.workdir / ".locks" / run.name) as lock:
            # Its holder may be the run of a grid that was killed, which is saving, or another grid's.
            if not self._wait_for(lock, run):
                return
            if self._folder.state(run.name) == FINISHED:
                del self._shares[run]
                return
            saved = self._folder.checkpoint(run.name)
            self._display.start(number, run.label, f"goes on from step {saved}" if saved else "started")
            started = time.monotonic()
            child = Child(
                self._grid.command(run, self._folder.run(run.name)),
                self._folder.log(run.name),
                lock,
                self._folder.workdir.resolve() / ".jax_cache",
            )
        code = self._watch(child, run)
        self._folder.add_duration(run, time.monotonic() - started)
        outcome = self._outcome(run, code, child)
        self._durations = known_durations(self._folder, self._grid.runs)
        del self._shares[run]
        self._display.end(outcome, seconds_left(self._shares, self._durations))

    def _wait_for(self, lock: Lock, run: Run) -> bool:
        """Takes the lock of a run, however long that takes; False where a signal comes before."""
        if not lock.take():
            self._display.message(f"{run.label}: waiting for another process to end in {self._folder.run(run.name)}")
            while not lock.take():
                time.sleep(POLL)
                if self._stop:
                    return False
        return True

    def _watch(self, child: Child, run: Run) -> int:
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

    def _outcome(self, run: Run, code: int, child: Child) -> str:
        """Notes a failure, or that there is none any more; returns what to tell."""
        failure = self._folder.failure(run.name)
        result = self._folder.result(run.name)
        if result is not None:
            failure.unlink(missing_ok=True)
            return f"mIoU {result['mean_iou']:.1f}" if result["mean_iou"] is not None else "mIoU -"
        if self._stop:
            return f"stopped, saved at step {self._folder.checkpoint(run.name)}"
        line = child.last_line() or "it wrote nothing"
        time_of_day = datetime.now().astimezone().isoformat(timespec="seconds")
        write_json_atomic(failure, {"exit_code": code, "message": line, "time": time_of_day})
        return f"failed with exit code {code} ({line}), log {self._folder.log(run.name)}"
