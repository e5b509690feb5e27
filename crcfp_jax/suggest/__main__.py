"""Suggests where to annotate next, as rectangles for QuPath.

python -m crcfp_jax.suggest --model M --output S INPUT... [--regions 10]
"""

import math
from collections.abc import Sequence
from pathlib import Path

from crcfp_jax.common.command import ArgumentParser, run_main
from crcfp_jax.common.errors import UserError
from crcfp_jax.predict import check_packages

LARGEST = 50  # regions


def make_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(
        prog="python -m crcfp_jax.suggest",
        description="Ranks places of slides that a model is unsure of and that are unlike what it knows.",
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="model folder, made by python -m crcfp_jax.export")
    add("--output", type=Path, required=True, help="folder for the suggestions")
    add("inputs", nargs="+", metavar="INPUT", help="image or slide, a pattern in quotes, or a folder of them")
    add("--regions", type=int, default=10, help="places to suggest, over all inputs (default: 10)")
    add("--size", type=float, help="µm of a place's side, about (default: the extent of the model's window)")
    pixels = parser.add_mutually_exclusive_group()
    pixels.add_argument("--mpp", type=float, help="µm per pixel of the inputs whose files don't say")
    pixels.add_argument("--force_mpp", type=float, help="µm per pixel of all inputs, whatever their files say")
    add("--overwrite", action="store_true", help="replace suggestions that are there")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Looks at every input and writes the suggestions; 1 where an input could not be read."""
    given = make_parser().parse_args(arguments)
    if not 1 <= given.regions <= LARGEST:
        raise UserError(f"--regions {given.regions}: give a number from 1 to {LARGEST}")
    if given.size is not None and not 0 < given.size < math.inf:
        raise UserError(f"--size {given.size:g}: give µm of a place's side, more than 0")
    check_packages()

    from crcfp_jax.suggest.run import run

    return run(given)


if __name__ == "__main__":
    run_main(main)
