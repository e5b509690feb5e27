"""A lock that keeps processes apart which work in the same folder."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from crcfp_jax.common.files import user_error_on_write


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)  # a link would have the file that it leads to opened for writing


class Lock:
    """A file that one process at a time may hold; the system lets go of it when the last holder ends."""

    def __init__(self, path: Path):
        self._path = path
        self._file = self._open()
        self.works = True  # False once a file system without locks has been met: nothing can be kept apart there

    def _open(self) -> BinaryIO:
        with user_error_on_write(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return open(self._path, "ab", opener=_no_link)

    def take(self) -> bool:
        """Takes it if nobody else holds it; says whether it did, or could not know."""
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                self.works = False
                return True
            if self._in_place():
                return True
            self._file.close()  # its last holder has removed it: it locks nothing any more
            self._file = self._open()

    def _in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Deletes the file; only its holder may."""
        with suppress(OSError):
            self._path.unlink()

    def fileno(self) -> int:
        """The descriptor, to be passed on to a child that shall hold the lock as long as it lives."""
        return self._file.fileno()

    def close(self) -> None:
        """Lets go of it, unless a child holds it too."""
        self._file.close()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
