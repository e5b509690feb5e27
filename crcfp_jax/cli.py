"""What every command does with an error: one plain line where the user can mend it, a traceback for a defect."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from crcfp_jax.files import describe_os_error, mendable
from data_pipelines.errors import UserError

INTERRUPTED = 130  # the shell's code for a process ended by Ctrl-C


def run_main(main: Callable[[], Any]) -> NoReturn:
    """Runs `main` and exits: with its return value, or with 1 after one line on stderr for a `UserError`.

    A full disk, a used-up quota, a missing permission and a read-only file system are told in one line too, wherever
    in the chain of causes they stand, since libraries wrap them. Everything else escapes with its traceback.
    """
    try:
        code = main()
    except KeyboardInterrupt:
        sys.stdout.flush()
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        line = user_line(error)
        if line is None:
            if not _several_processes():
                raise
            traceback.print_exc()
            line = "this is a defect of crcfp-jax; its traceback is above"
        sys.stdout.flush()
        print(f"error: {line}", file=sys.stderr)
        code = 1
    if code and _several_processes():
        # An orderly exit would wait for the other processes, which wait for this one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _several_processes() -> bool:
    return "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized()


def user_line(error: BaseException) -> str | None:
    """The one line for an error that the user can mend; None for a defect."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return " ".join(str(cause).split())
        if isinstance(cause, OSError) and mendable(cause):
            return describe_os_error(cause)
        # TensorStore, below Orbax, passes the operating system's text on in a ValueError or RuntimeError.
        if "No space left on device" in str(cause):
            return f"the disk is full: free some space or choose another folder ({_shortened(str(cause))})"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _shortened(text: str, length: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."
