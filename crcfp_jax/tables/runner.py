"""Does the runs of a grid and keeps the table up to date."""

import shlex
from collections.abc import Mapping

from crcfp_jax.queue.folder import FAILED, FINISHED, RESUMABLE, TO_DO
from crcfp_jax.queue.runner import do_runs
from crcfp_jax.tables.folder import GridFolder
from crcfp_jax.tables.grid import Grid, Run
from crcfp_jax.tables.render import write_tables


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
        print(f"{state:13} {shlex.join(_command(grid, folder, run))}")
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    print(f"{len(runs)} runs: {states or 'none in this shard'}")


def run_grid(grid: Grid, folder: GridFolder, steps: Mapping[str, int], shard: tuple[int, int], command: str) -> int:
    """Does the runs of a shard that are not finished, and writes the tables after each.

    Args:
        steps: name of a run -> the steps it takes.
        command: that the user gave, for the table's head.

    Returns:
        The exit code.

    Raises:
        UserError: see `do_runs`.
    """

    def before() -> None:
        folder.add(grid, command)
        write_tables(folder)

    return do_runs(
        shard_of(grid, shard),
        folder,
        lambda run: _command(grid, folder, run),
        steps,
        known=grid.runs,
        lock=f".lock-{shard[0]}of{shard[1]}",
        part=f"shard {shard[0]}/{shard[1]}",
        before=before,
        after_each=lambda: write_tables(folder),
        outcome=folder.workdir / "table.md",
    )


def _command(grid: Grid, folder: GridFolder, run: Run) -> list[str]:
    return grid.command(run, folder.run(run.name)) + folder.settled(grid.runs)
