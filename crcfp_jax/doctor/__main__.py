"""Examines runs, finished or not.

python -m crcfp_jax.doctor W [W ...]
"""

from collections.abc import Sequence
from pathlib import Path

from crcfp_jax.common.command import ArgumentParser, run_main
from crcfp_jax.doctor.folder import diagnose
from crcfp_jax.doctor.render import show


def main(arguments: Sequence[str] | None = None) -> None:
    """Shows what runs learned from their unlabelled images over time, and warns of what looks wrong."""
    parser = ArgumentParser(prog="python -m crcfp_jax.doctor", description=main.__doc__)
    parser.add_argument("workdir", type=Path, nargs="+", help="run folder")
    workdirs = parser.parse_args(arguments).workdir
    for workdir, (diagnosis, title, result) in [(workdir, diagnose(workdir)) for workdir in workdirs]:
        show(diagnosis, f"{workdir}: {title}", result)


if __name__ == "__main__":
    run_main(main)
