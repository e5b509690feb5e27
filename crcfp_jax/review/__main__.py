"""Writes review.html of a finished run: figures, curves, and where model and annotation disagree.

python -m crcfp_jax.review W
"""

from collections.abc import Sequence
from pathlib import Path

from crcfp_jax.common.command import ArgumentParser, run_main


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page and says where it is."""
    parser = ArgumentParser(prog="python -m crcfp_jax.review", description=__doc__.partition("\n")[0])
    parser.add_argument("workdir", type=Path, metavar="W", help="folder of a finished run")
    given = parser.parse_args(arguments)
    from crcfp_jax.review.write import write_review

    print(f"open in a browser: {write_review(given.workdir)}")


if __name__ == "__main__":
    run_main(main)
