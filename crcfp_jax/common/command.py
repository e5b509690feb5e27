"""What every command shares: its command line, and what it does with an error.

One plain line where the user can mend it, a traceback for a defect.
"""

import argparse
import atexit
import gc
import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import OF_THE_DISK, describe_os_error, is_user_fixable, told_by_a_library
from crcfp_jax.common.jax_environment import prepare_jax
from crcfp_jax.common.words import one_line, shown

_in_command = _at_once = False
_depth = 0  # of blocks that are silent
_spoken: tuple | None = None  # hooks and level of logging from before `silent_threads`, while it is silent
INTERRUPTED = 130  # the shell's code for a process ended by Ctrl-C
AGAIN = 0.05  # seconds until a Ctrl-C that was ignored comes once more


def end_at_interrupt() -> None:
    """From now on Ctrl-C ends this process at once, in one line, but within `run_main`.

    Imports take seconds, in which a KeyboardInterrupt shows its traceback, or is lost in a library; likewise where the
    interpreter waits for threads at the end. A signal that is ignored (nohup) stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


@contextmanager
def _interrupt_raises() -> Iterator[None]:
    """Within the block Ctrl-C raises KeyboardInterrupt, also after `end_at_interrupt`, and is not lost then."""
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = _unraisable
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _end)


def _unraisable(unraisable: Any) -> None:
    """Raises a KeyboardInterrupt that Python has ignored once more, a little later; shows other exceptions as ever.

    JAX has Python call it whenever garbage is collected, and from there nothing can be raised.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, _raise_again)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    elif _spoken is None:
        sys.__unraisablehook__(unraisable)


def _raise_again(_: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code is _unraisable.__code__:  # where it would be ignored again
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def run_main(main: Callable[[], Any]) -> NoReturn:
    """Runs `main` and exits: with its return value, or with 1 after one line on stderr for a `UserError`.

    A full disk, a used-up quota, a missing permission and a read-only file system are told in one line too, wherever
    in the chain of causes they stand, since libraries wrap them. So do they with Ctrl-C: one that comes while an
    extension module is imported is an ImportError. Everything else escapes with its traceback.
    """
    global _in_command
    _in_command = True
    prepare_jax()
    atexit.register(gc.freeze)  # looking for garbage once more as the process ends would take half a second
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names and µ must not end a command where a terminal can't show them
            stream.reconfigure(errors="backslashreplace")
    try:
        with _interrupt_raises():
            code = main()
        sys.stdout.flush()  # the interpreter would tell in words of its own that this fails
    except (KeyboardInterrupt, Exception) as error:
        code, line = _ending(error)
        if line is None:
            if not (_several_processes() or _at_once):
                raise
            traceback.print_exc()
            line = "error: this is a defect of crcfp-jax; its traceback is above"
        _flush_or_drop(sys.stdout)
        print(shown(line), file=sys.stderr)
    if code and (_several_processes() or _at_once):
        # An orderly exit would wait for the other processes, which wait for this one.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _ending(error: BaseException) -> tuple[int, str | None]:
    """The exit code for what has ended a command, and the line; None for a defect."""
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes(error)):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return 1, "error: nobody reads any more what this prints (a pipe is closed)"
    line = user_line(error)
    return 1, None if line is None else f"error: {line}"


def _flush_or_drop(stream: io.TextIOBase) -> None:
    """Passes on what was printed; what nobody takes is dropped, which the interpreter would try again at its end."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def silent_threads() -> Iterator[None]:
    """Shows nothing of what goes wrong in threads.

    After one failed write TensorStore's threads fail hundreds of times, each with a traceback. When the block fails in
    a command, nothing is shown until its process ends, which is then at once, or until another block goes well, where
    the command does without what failed. A program of someone else's has all as it was.
    """
    global _at_once, _depth, _spoken
    if _spoken is None:
        _spoken = (sys.excepthook, sys.unraisablehook, threading.excepthook), logging.root.manager.disable
    sys.excepthook = threading.excepthook = lambda *_: None
    if sys.unraisablehook is not _unraisable:  # which is silent too
        sys.unraisablehook = lambda *_: None
    logging.disable()
    _at_once = _in_command
    _depth += 1
    failed = True
    try:
        yield
        failed = False
    finally:
        _depth -= 1
        if not _depth and not (failed and _in_command):
            (sys.excepthook, sys.unraisablehook, threading.excepthook), disabled = _spoken
            logging.disable(disabled)
            _at_once, _spoken = False, None


def _several_processes() -> bool:
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def user_line(error: BaseException) -> str | None:
    """The one line for an error that the user can mend; None for a defect."""
    for cause in causes(error):
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, OSError) and is_user_fixable(cause):
            return describe_os_error(cause)
        # TensorStore, below Orbax, passes the operating system's text on in a ValueError or RuntimeError.
        if (advice := told_by_a_library(str(cause), OF_THE_DISK)) is not None:
            return f"{advice} ({one_line(cause, 300)})"
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, the last first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


class ArgumentParser(argparse.ArgumentParser):
    """Tells a fault of the command line in one line, as every fault is told."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"command line: {message}; see {self.prog} --help")


def comma_separated_words(text: str) -> list[str]:
    """The words of an argument, each once; for `type` of an argument that takes several."""
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise argparse.ArgumentTypeError("is empty")
    return words
