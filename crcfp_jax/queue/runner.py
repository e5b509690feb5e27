"""Does the runs of a command in a folder that no other process works in, and says how that ended."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.lock import Lock
from crcfp_jax.queue.display import QueueDisplay
from crcfp_jax.queue.folder import FAILED, FINISHED, QueueFolder
from crcfp_jax.queue.stop import Stop
from crcfp_jax.queue.task import Task
from crcfp_jax.queue.work import Work


def do_runs(
    runs: Sequence[Task],
    folder: QueueFolder,
    command: Callable[[Any], Sequence[str]],
    steps: Mapping[str, int],
    *,
    known: Sequence[Task],
    lock: str,
    part: str = "",
    before: Callable[[], None],
    after_each: Callable[[], None],
    outcome: Path,
) -> int:
    """Does the runs that are not finished.

    Args:
        runs, folder, command, steps, known: see `Work`.
        lock: name of a file in the folder that keeps a second process out of this part of the runs.
        part: which one that is, where there are several.
        before: called once nobody else can be at work.
        after_each: called when a run has ended.
        outcome: file that the user will want to look at.

    Returns:
        0; 128 + the signal where one stopped it.

    Raises:
        UserError: a run failed, another process is at work on this part, or the folder is unwritable.
    """
    with Lock(folder.workdir / lock) as held, Stop().listening() as stop, QueueDisplay(len(runs)) as display:
        if not held.take():
            on = f" on {part}" if part else ""
            raise UserError(f"{folder.workdir}: another process is at work{on} there: wait for it or stop it")
        if not held.works:
            display.message(f"note: {folder.workdir} is on a file system without locks: start no {part or 'run'} twice")
        before()
        Work(runs, folder, command, steps, known, display, stop).do_all(after_each)
    states = {run: folder.state(run.name) for run in runs}
    finished = sum(state == FINISHED for state in states.values())
    if stop:
        code = f"stopped by {stop.signal.name}"
        print(f"{code}: {finished} of {len(runs)} runs finished; the same command goes on; {outcome}", file=sys.stderr)
        return 128 + stop.signal
    failed = [run.name for run, state in states.items() if state == FAILED]
    if failed:
        names = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed ({names}): see {folder.log(failed[0]).parent}; the same command "
            "tries them again"
        )
    print(f"{finished} of {len(runs)} runs finished; {outcome}")
    return 0
