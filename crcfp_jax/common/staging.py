"""A folder that appears whole or not at all: made in a hidden one beside it, and put in place by a rename."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import user_error_on_write

LONGEST = 240  # bytes of a name that leave room for an ending: most file systems have 255


@contextmanager
def staged_folder(final: Path, mark: str) -> Iterator[Path]:
    """Gives an empty hidden folder; when the block ends, it takes the place of `final`.

    When the block raises, nothing stays behind and an older `final` is as before. The caller holds a lock, so that no
    other process makes the same folder.

    Args:
        final: the folder; its parents are made.
        mark: name of a file that every complete one has.

    Raises:
        UserError: `final` is a link, or the folder can't be written.
    """
    if final.is_symlink():  # what it leads to would be emptied
        raise UserError(f"{final} is a link: remove it, or give the folder that it leads to")
    part, old = _beside(final)
    recover_staged(final, mark)
    with user_error_on_write(final):
        part.mkdir(parents=True)
    try:
        yield part
        with user_error_on_write(final):
            if final.exists():
                os.rename(final, old)
            os.rename(part, final)
    finally:
        recover_staged(final, mark)


def recover_staged(final: Path, mark: str) -> None:
    """Removes what a process that was killed left of `staged_folder`, and puts a folder back that it had moved away.

    Raises:
        UserError: the folder can't be put back.
    """
    part, old = _beside(final)
    shutil.rmtree(part, ignore_errors=True)
    if not final.exists() and (old / mark).is_file():
        with user_error_on_write(final):
            os.rename(old, final)
    with suppress(OSError):
        (old / mark).unlink()  # first: what is deleted in part must not be taken for complete
    shutil.rmtree(old, ignore_errors=True)


def is_moved_away(final: Path) -> bool:
    """Whether a killed process has moved `final` away without putting another in its place."""
    return not final.exists() and _beside(final)[1].exists()


def _beside(final: Path) -> tuple[Path, Path]:
    name = final.name
    if len(os.fsencode(name)) > LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return final.with_name(f".{name}.part"), final.with_name(f".{name}.old")
