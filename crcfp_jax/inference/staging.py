"""A folder that appears whole or not at all: made in a hidden one beside it, and put in place by a rename."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crcfp_jax.files import told_plainly
from crcfp_jax.inference.card import CARD
from data_pipelines.errors import UserError


def check_output(output: Path, *, overwrite: bool) -> None:
    """Raises UserError where something is in the way that must not be replaced."""
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir() or (any(output.iterdir()) and not (output / CARD).is_file()):
        raise UserError(f"{output} is in the way and is not a model folder: give another --output")
    if any(output.iterdir()) and not overwrite:
        raise UserError(f"{output} holds a model: give --overwrite to replace it, or another --output")


@contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """Gives an empty hidden folder to make `output` in; when the block ends, the folder takes its place.

    When the block raises, nothing stays behind. What a killed process left is removed by the next one.

    Raises:
        UserError: the folder can't be written, or another process is making the same one.
    """
    staging, old = (output.with_name(f".{output.name}.{part}") for part in ("exporting", "replaced"))
    with told_plainly(output):
        staging.mkdir(parents=True, exist_ok=True)
        lock = os.open(staging, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{output} is being exported by another process: wait for it") from error
        try:
            with told_plainly(output):
                shutil.rmtree(old, ignore_errors=True)
                for leftover in staging.iterdir():
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield staging
            with told_plainly(output):
                if output.exists():
                    os.rename(output, old)
                os.rename(staging, output)
                shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    finally:
        os.close(lock)
