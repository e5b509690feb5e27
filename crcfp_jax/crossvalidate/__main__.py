"""How good a method is on patients that it has not seen: trains and tests fold by fold; the same command goes on.

python -m crcfp_jax.crossvalidate --config C --workdir V [--methods A,B] [--folds 5] [--final] [--config.key=value ...]
"""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from crcfp_jax.common.command import ArgumentParser, comma_separated_words, run_main
from crcfp_jax.crossvalidate.plan import Plan, choose_methods, read_settings


def _whole(least: int, what: str):
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}: give a whole number from {least}")
        return int(text)

    return read


def make_parser() -> ArgumentParser:
    """The command line of `python -m crcfp_jax.crossvalidate`."""
    parser = ArgumentParser(
        prog="python -m crcfp_jax.crossvalidate",
        description="Deals the annotated patients out into folds, trains each method without one fold after the other, "
        "tests it on that, and writes crossvalidation.md and crossvalidation.json into V. Finished runs are skipped, "
        "interrupted ones resumed, failed ones tried again.",
        epilog="--config.key=value changes a setting of every run; crcfp_jax/config.py lists them all.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="C", help="config file, e.g. configs/own.py")
    parser.add_argument("--workdir", type=Path, required=True, metavar="V", help="folder of the cross-validation")
    parser.add_argument(
        "--methods", type=comma_separated_words, metavar="A,B", help="to compare; default: the config's own alone"
    )
    folds = "default 5, or one a patient where there are fewer"
    parser.add_argument("--folds", type=_whole(2, "a number of folds"), metavar="N", help=folds)
    parser.add_argument("--seed", type=_whole(0, "a seed"), default=1, help="of folds and runs; default %(default)s")
    parser.add_argument("--final", action="store_true", help="then train each method on everything, for export")
    return parser


def command_line(options: argparse.Namespace, user: Mapping[str, str]) -> str:
    """The command as others would give it, without this machine's folders."""
    file, *variant = options.config.split(":", 1)
    config = ":".join(["configs/" + Path(file).name if Path(file).is_absolute() else file, *variant])
    words = ["python", "-m", "crcfp_jax.crossvalidate", "--config", config, "--workdir", "V"]
    if options.methods:
        words += ["--methods", ",".join(options.methods)]
    if options.folds:
        words += ["--folds", str(options.folds)]
    words += ["--seed", str(options.seed)] if options.seed != 1 else []
    words += ["--final"] if options.final else []
    for key, value in user.items():
        if key != "data.dir":
            words.append(f"--config.{key}={Path(value).name if os.path.isabs(value) else value}")
    return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options, rest = make_parser().parse_known_args(arguments)
    user = read_settings(rest)
    methods = choose_methods(options.methods, user) if options.methods else None

    # Importing JAX takes seconds: not before the command line is right.
    from crcfp_jax.crossvalidate.check import check_runs, number_of_folds, open_data
    from crcfp_jax.crossvalidate.folder import CrossValidationFolder
    from crcfp_jax.crossvalidate.output import write_tables
    from crcfp_jax.crossvalidate.render import lines
    from crcfp_jax.queue.check import load_config
    from crcfp_jax.queue.runner import do_runs

    config = load_config(options.config, user)
    folds, notes = number_of_folds(open_data(config), options.folds)
    if options.final and config.evaluation.selection != "last":
        notes.append("final: trained on everything, so that its last model counts (evaluation.selection=last)")
    for note in notes:
        print(f"note: {note}")
    plan = Plan(options.config, user, methods or {config.method: {}}, folds, options.seed, options.final)
    folder = CrossValidationFolder(options.workdir)
    steps, description = check_runs(plan, folder)

    def before() -> None:
        folder.add(plan, command_line(options, user), description)
        write_tables(folder)

    code = do_runs(
        plan.runs,
        folder,
        lambda run: plan.command(run, folder.run(run.name)) + folder.settled(plan.runs),
        steps,
        known=plan.runs,
        lock=".lock-runs",
        before=before,
        after_each=lambda: write_tables(folder),
        outcome=folder.table,
    )
    for line in lines(write_tables(folder)):
        print(line)
    return code


if __name__ == "__main__":
    run_main(main)
