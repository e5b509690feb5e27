"""How long the rest of a grid will take, from the runs that have finished."""

import statistics
from collections.abc import Iterable, Mapping

from crcfp_jax.tables.folder import FINISHED, GridFolder
from crcfp_jax.tables.grid import Run


def known_durations(folder: GridFolder, runs: Iterable[Run]) -> dict[Run, float]:
    """Finished run -> seconds of wall time, over all sittings; as far as no sitting was lost, start-up included."""
    sittings = folder.sittings()
    durations = {}
    for run in runs:
        if folder.state(run.name) == FINISHED:
            durations[run] = max(sittings.get(run.name, 0.0), folder.result(run.name)["seconds"])
    return durations


def expected_seconds(run: Run, durations: Mapping[Run, float]) -> float | None:
    """What a run will take: the mean of the same system's runs with the same value, else of the same system's, else of
    all; None before any has finished.
    """
    same_system = {other: seconds for other, seconds in durations.items() if other.system == run.system}
    same_value = [seconds for other, seconds in same_system.items() if other.value == run.value]
    found = same_value or list(same_system.values()) or list(durations.values())
    return statistics.fmean(found) if found else None


def seconds_left(shares: Mapping[Run, float], durations: Mapping[Run, float]) -> float | None:
    """What the open runs will take together; None before any has finished.

    Args:
        shares: open run -> share of its steps that is done.
        durations: finished run -> seconds.
    """
    if not durations:
        return None if shares else 0.0
    return sum((1 - share) * expected_seconds(run, durations) for run, share in shares.items())
