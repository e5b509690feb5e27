"""Runs the grid behind a table and writes table.md and table.csv; the same command goes on.

python -m crcfp_jax.tables {1|...|8} --workdir W [--data synthetic] [--scale tiny] [--config.key=value ...]
"""

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from crcfp_jax.common.command import ArgumentParser, comma_separated_words, run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.tables.definitions import ALIASES, DATA, SCALES, SYSTEMS, TABLES
from crcfp_jax.tables.grid import Grid, choose_fractions, choose_systems, make_runs, read_settings


def _fractions(text: str) -> list[str]:
    for word in (words := comma_separated_words(text)):
        if not re.fullmatch(r"[1-9]\d*/[1-9]\d*", word):
            raise argparse.ArgumentTypeError(f"{word!r} is not a fraction: write it as 1/8")
    return words


def _seeds(text: str) -> list[int]:
    for word in (words := comma_separated_words(text)):
        if not word.isascii() or not word.isdigit():
            raise argparse.ArgumentTypeError(f"{word!r} is not a seed: give numbers from 0, e.g. 1,2,3")
    return list(dict.fromkeys(map(int, words)))


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard: write the second of four as 2/4")
    return int(match[1]), int(match[2])


def make_parser() -> ArgumentParser:
    """The command line of `python -m crcfp_jax.tables`."""
    tables = "; ".join(f"{number}: {table.title}" for number, table in TABLES.items())
    parser = ArgumentParser(
        prog="python -m crcfp_jax.tables",
        description="Runs the grid behind a table (1 to 6: the paper's) and writes table.md and table.csv into W. "
        "Finished runs are skipped, interrupted ones resumed, failed ones tried again.",
        epilog="--config.key=value changes a setting of every run; crcfp_jax/config.py lists them all.",
        allow_abbrev=False,
    )
    parser.add_argument("table", type=int, choices=TABLES, help=tables)
    parser.add_argument("--workdir", type=Path, required=True, metavar="W", help="folder of the grid")
    parser.add_argument("--data", choices=DATA, help="data set; by default the table's own")
    parser.add_argument("--scale", choices=SCALES, default="full", help="full: the paper's; default %(default)s")
    parser.add_argument(
        "--methods", type=comma_separated_words, metavar="A,B", help=f"some of {', '.join([*SYSTEMS, *ALIASES])}"
    )
    parser.add_argument("--fractions", type=_fractions, metavar="1/8,1/4", help="shares of the labels, for all systems")
    parser.add_argument("--seeds", type=_seeds, default=[1, 2, 3], metavar="1,2,3", help="default 1,2,3")
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="do the I-th of N equal parts")
    parser.add_argument("--dry_run", action="store_true", help="print the runs, their states and commands; do nothing")
    return parser


def command_line(options: argparse.Namespace, user: Mapping[str, str]) -> str:
    """The command as others would give it: without this machine's folders, and the same for every shard."""
    words = ["python", "-m", "crcfp_jax.tables", str(options.table), "--workdir", "W"]
    for name in ("data", "scale"):
        if value := getattr(options, name):
            words += [f"--{name}", value]
    for name in ("methods", "fractions", "seeds"):
        if values := getattr(options, name):
            words += [f"--{name}", ",".join(map(str, values))]
    for key, value in user.items():
        if key != "data.dir":
            words.append(f"--config.{key}={Path(value).name if Path(value).is_absolute() else value}")
    return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options, rest = make_parser().parse_known_args(arguments)
    table = TABLES[options.table]
    data = DATA[options.data or table.data]
    user = read_settings(rest, table)
    if options.scale == "small_pretrained" and "model.backbone" in table.settings:
        raise UserError(
            f"--scale small_pretrained is of one encoder, and table {options.table} is of another: give small or tiny"
        )
    systems, notes = choose_systems(table, data, options.methods)

    # Importing JAX takes seconds: not before the command line is right.
    from crcfp_jax.tables.check import check_runs, sweep_values
    from crcfp_jax.tables.folder import GridFolder
    from crcfp_jax.tables.runner import dry_run, run_grid

    values, more_notes = sweep_values(table, data, options.scale, user)
    compared = choose_fractions(table, data, systems, options.fractions)
    runs = make_runs(table.sweep, compared, options.seeds, values)
    grid = Grid(options.table, data, options.scale, user, runs)
    folder = GridFolder(options.workdir)
    for note in [*notes, *more_notes]:
        print(f"note: {note}")
    folder.check(grid)
    steps = check_runs(grid, folder, build=not options.dry_run)
    if options.dry_run:
        dry_run(grid, folder, options.shard)
        return 0
    return run_grid(grid, folder, steps, options.shard, command_line(options, user))


if __name__ == "__main__":
    run_main(main)
