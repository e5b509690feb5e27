"""How long the rest of a queue will take, from the runs that have finished."""

import statistics
from collections.abc import Iterable, Mapping

from crcfp_jax.queue.folder import FINISHED, QueueFolder
from crcfp_jax.queue.task import Task


def known_durations(folder: QueueFolder, runs: Iterable[Task]) -> dict[Task, float]:
    """Finished run -> seconds of wall time, over all sittings; as far as no sitting was lost, start-up included."""
    sittings = folder.sittings()
    durations = {}
    for run in runs:
        if folder.state(run.name) == FINISHED:
            trained = (folder.result(run.name) or {}).get("seconds", 0.0)
            durations[run] = max(sittings.get(run.name, 0.0), trained)
    return durations


def expected_seconds(run: Task, durations: Mapping[Task, float]) -> float | None:
    """What a run will take: the mean of those that agree with it in most of its kind; None before any has finished."""
    for length in range(len(run.kind), -1, -1):
        found = [seconds for other, seconds in durations.items() if other.kind[:length] == run.kind[:length]]
        if found:
            return statistics.fmean(found)
    return None


def seconds_left(shares: Mapping[Task, float], durations: Mapping[Task, float]) -> float | None:
    """What the open runs will take together; None before any has finished.

    Args:
        shares: open run -> share of its steps that is done.
        durations: finished run -> seconds.
    """
    if not durations:
        return None if shares else 0.0
    return sum((1 - share) * expected_seconds(run, durations) for run, share in shares.items())
