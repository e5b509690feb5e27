"""Scratch files that hold what comes row by row until it is written in another order."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt


class Spool:
    """Planes of rows on disk: uint8 or uint16 [planes, height, width].

    The file has no name wherever the system can do that, so that nothing is left even by a process that is killed.
    It is read and written plainly: pages of a memory map would count as the process's memory.
    """

    def __init__(self, folder: Path, planes: int, height: int, width: int, dtype: type = np.uint8):
        self.planes, self.height, self.width, self.dtype = planes, height, width, np.dtype(dtype)
        self._file = tempfile.TemporaryFile(prefix=".spool-", dir=folder)  # noqa: SIM115 - open until close

    def write(self, plane: int, top: int, rows: UInt[np.ndarray, "rows {self.width}"]) -> None:
        """Stores rows of a plane."""
        self._seek(plane, top)
        self._file.write(np.ascontiguousarray(rows, self.dtype))

    def read(self, plane: int, top: int, rows: int) -> UInt[np.ndarray, "{rows} {self.width}"]:
        """Rows of a plane that have been written before."""
        pixels = np.empty((rows, self.width), self.dtype)
        self._seek(plane, top)
        if self._file.readinto(pixels) != pixels.nbytes:
            raise ValueError(f"rows {top} to {top + rows} of plane {plane} have not been written")
        return pixels

    def _seek(self, plane: int, top: int) -> None:
        self._file.seek((plane * self.height + top) * self.width * self.dtype.itemsize)

    def close(self) -> None:
        """Removes the file."""
        with suppress(OSError):  # on a full disk; what it held is of no more use
            self._file.close()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_) -> None:
        self.close()
