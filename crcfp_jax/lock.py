"""A lock that keeps processes apart which work in the same folder."""

import fcntl
from pathlib import Path

from crcfp_jax.files import told_plainly


class Lock:
    """A file that one process at a time may hold; the system lets go of it when the last holder ends."""

    def __init__(self, path: Path):
        with told_plainly(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab")  # noqa: SIM115  # closed in close()
        self.works = True  # False once a file system without locks has been met: nothing can be kept apart there

    def take(self) -> bool:
        """Takes it if nobody else holds it; says whether it did, or could not know."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            self.works = False
        return True

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
