"""Slides of the vendors that OpenSlide knows, read in a process beside this one: see `vendor_server`."""

import atexit
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from crcfp_jax.common.errors import UserError
from data_pipelines.reading.slide import ReaderError, Slide
from data_pipelines.reading.vendor_server import receive, send

PATIENCE = 600  # seconds for one region
START = "import sys; sys.path[:] = {path!r}; from data_pipelines.reading.vendor_server import main; main()"


class ReaderProcess:
    """A process that reads one slide at a time, asked from any number of threads."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what ends it is told in one line
        )
        self._numbers = itertools.count()
        self._waiting: dict[int, Future] = {}
        self._sending = threading.Lock()
        self._answers = threading.Thread(target=self._receive, daemon=True, name="answers of OpenSlide")
        self._answers.start()

    def ask(self, *request: Any) -> Any:
        """What the server's operation returns: (name, arguments).

        Raises:
            ReaderError: it raised an error, the process has ended, or takes longer than any reading does.
            MemoryError: there is not enough memory for it, here or there.
        """
        future: Future = Future()
        with self._sending:  # the server counts the requests likewise
            self._waiting[next(self._numbers)] = future
            try:
                send(self._process.stdin, *request)
            except (OSError, ValueError):  # its end of the pipe is closed, or this one
                self._fail()
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            self.end()
            remedy = "the file is damaged, or its disk does not answer: copy it to another"
            raise ReaderError(f"no answer for {PATIENCE} s", remedy) from None

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self._answers.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # of what was not yet sent
                pipe.close()

    def _receive(self) -> None:
        while True:
            try:
                number, error, value = receive(self._process.stdout)
            except EOFError:  # also of a message that a dying process left unfinished
                self._fail()
                return
            except Exception as error:  # whatever is wrong with an answer, those who wait must hear of it
                self._process.kill()
                self._fail(error)
                return
            future = self._waiting.pop(number)
            if error is None:
                future.set_result(value)
            else:
                of_memory, reason = error
                future.set_exception(MemoryError(reason) if of_memory else ReaderError(reason))

    def _fail(self, error: Exception | None = None) -> None:
        code = self._process.wait()
        for number in list(self._waiting):
            if (future := self._waiting.pop(number, None)) is not None:
                future.set_exception(error or _ended(code))


def _ended(code: int) -> ReaderError:
    """Why a process that ended could not answer."""
    if code >= 0:
        return ReaderError(f"OpenSlide's process ended with status {code}")
    if code == -signal.SIGKILL:
        remedy = "memory has run out, or the file is damaged: free some, or copy the file again"
        return ReaderError("OpenSlide's process was killed", remedy)
    return ReaderError(f"OpenSlide's process ended by {signal.Signals(-code).name}")


_idle: list[ReaderProcess] = []


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end()


def _take() -> ReaderProcess:
    """One that is at no slide; starting it takes half a second, so they are kept."""
    while _idle:
        if (reader := _idle.pop()).alive:
            return reader
        reader.end()
    return ReaderProcess()


def open_vendor(path: Path) -> "VendorSlide | None":
    """The slide; None where its file is of no vendor that OpenSlide knows.

    Raises:
        UserError: the file is damaged, or ends OpenSlide's process.
    """
    try:
        reader = _take()
    except OSError as error:
        raise UserError(f"{path}: no process for OpenSlide can be started ({error.strerror})") from error
    try:
        known = reader.ask("open", os.fspath(path))
    except ReaderError as error:
        reader.end()
        raise UserError(f"{path} cannot be opened ({error}): {error.remedy}") from error
    except BaseException:
        reader.end()
        raise
    if known is None:
        _idle.append(reader)
        return None
    try:
        return VendorSlide(path, reader, known)
    except BaseException:
        reader.end()
        raise


class VendorSlide(Slide):
    """A slide through OpenSlide, cropped to its bounds as in QuPath where a scanner saved a larger, empty canvas."""

    def __init__(self, path: Path, reader: ReaderProcess, known: dict[str, Any]):
        levels = tuple((height, width) for height, width in known["levels"])
        origin = (known["origin"][0], known["origin"][1])
        super().__init__(path, levels, known["microns_per_pixel"], tuple(known["notes"]), origin)
        self._reader = reader

    def _read(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        return self._reader.ask("read", level, top, left, height, width)

    def close(self) -> None:
        try:
            self._reader.ask("close")
        except ReaderError:
            self._reader.end()
        else:
            _idle.append(self._reader)
