"""What every command shares: its command line, and what it does with an error.

One plain line where the user can mend it, a traceback for a defect.
"""

import argparse
import inspect
import io
import itertools
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from absl import flags
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import OF_THE_DISK, describe_os_error, is_user_fixable, told_by_a_library
from crcfp_jax.common.words import shown

_in_command = _at_once = False
_depth = 0  # of blocks that are silent
_spoken: tuple | None = None  # hooks and level of logging from before `silent_threads`, while it is silent
INTERRUPTED = 130  # the shell's code for a process ended by Ctrl-C


def run_main(main: Callable[[], Any]) -> NoReturn:
    """Runs `main` and exits: with its return value, or with 1 after one line on stderr for a `UserError`.

    A full disk, a used-up quota, a missing permission and a read-only file system are told in one line too, wherever
    in the chain of causes they stand, since libraries wrap them. Everything else escapes with its traceback.
    """
    global _in_command
    _in_command = True
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names and µ must not end a command where a terminal can't show them
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except KeyboardInterrupt:
        sys.stdout.flush()
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        line = user_line(error)
        if line is None:
            if not (_several_processes() or _at_once):
                raise
            traceback.print_exc()
            line = "this is a defect of crcfp-jax; its traceback is above"
        sys.stdout.flush()
        print(f"error: {shown(line)}", file=sys.stderr)
        code = 1
    if code and (_several_processes() or _at_once):
        # An orderly exit would wait for the other processes, which wait for this one.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


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
    sys.excepthook = sys.unraisablehook = threading.excepthook = lambda *_: None
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
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, OSError) and is_user_fixable(cause):
            return describe_os_error(cause)
        # TensorStore, below Orbax, passes the operating system's text on in a ValueError or RuntimeError.
        if (advice := told_by_a_library(str(cause), OF_THE_DISK)) is not None:
            return f"{advice} ({_shortened(str(cause))})"
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


def parse_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Reads `arguments` into `values`, which define a flag 'config'; with --help, prints what there is and exits.

    Raises:
        UserError: an unknown flag or config key, a value of the wrong type, a config file that can't be read, or none.
    """
    if {"-h", "--help"} & set(arguments):
        print(inspect.cleandoc(sys.modules["__main__"].__doc__ or ""), values.get_help(), sep="\n\n")
        print("\n--config.KEY=VALUE changes a setting; crcfp_jax/config.py lists them all.")
        sys.exit(0)
    file = _config_file(arguments)
    try:
        rest = values(["", *arguments])[1:]
    except UserError:
        raise
    except Exception as error:
        for cause in _chain(error):  # ml_collections raises some of them anew
            if (line := _line_of(file, cause)) is not None:
                told = _shortened(str(_text(cause)))
                raise UserError(f"{file}, line {line}: {type(cause).__name__}: {told}") from error
            if file and isinstance(cause, TypeError) and str(cause).startswith("get_config()"):  # which is called there
                raise UserError(f"{file}: {cause}: no variant, or another one, is to be given after ':'") from error
        if file and isinstance(error, AttributeError) and "get_config" in str(error):
            raise UserError(f"{file} has no function get_config(), which gives the settings") from error
        if isinstance(error, KeyError):
            raise UserError(f"command line: unknown key of config: {_text(error)}") from error
        anew = str(error).startswith("Error whilst parsing config file")  # a defect, with its traceback
        if isinstance(error, flags.Error | AttributeError | TypeError | ValueError | OSError) and not anew:
            raise UserError(f"command line: {error}") from error
        raise
    if rest:
        raise UserError(f"command line: {rest[0]!r} is not a flag; settings are written --config.key=value")
    if values["config"].value is None or not file:
        raise UserError("command line: --config is missing, e.g. --config configs/quickstart.py")
    if not isinstance(values["config"].value, ConfigDict):
        kind = type(values["config"].value).__name__
        if kind == "_ErrorConfig":  # in which ml_collections keeps an OSError
            raise UserError(f"{file} can't be read, or opens a file that can't be: {_config_error(values)}")
        raise UserError(f"{file}: get_config() gives {kind}, not the ConfigDict that crcfp_jax.config.default() gives")


def _text(error: BaseException) -> Any:
    """What an error says; a KeyError's own text is a representation."""
    return error.args[0] if isinstance(error, KeyError) and error.args else error


def _config_error(values: flags.FlagValues) -> str:
    try:
        return str(values["config"].value.model)  # any attribute raises it
    except OSError as error:
        return describe_os_error(error)


def _config_file(arguments: Sequence[str]) -> str:
    """The file of --config; '' for none.

    Raises:
        UserError: it is not there; ml_collections says so later, and at length.
    """
    for word, following in itertools.pairwise([*arguments, ""]):
        flag, _, value = word.partition("=")
        if flag in ("--config", "-config"):
            file = (value or following).partition(":")[0]
            if file and not file.startswith("-") and not os.path.isfile(file):
                raise UserError(
                    f"command line: there is no config file {file}: its path counts from the folder you are in, "
                    "e.g. configs/bcss.py"
                )
            return file
    return ""


def _line_of(file: str, error: BaseException) -> int | None:
    """The line of a config file that an error comes from; None: from elsewhere, or a defect of this project."""
    if not file:
        return None
    path = os.path.abspath(file)
    if isinstance(error, SyntaxError) and error.filename and os.path.abspath(error.filename) == path:
        return error.lineno or 1
    places = traceback.extract_tb(error.__traceback__)
    if places and os.path.abspath(places[-1].filename) != path and _is_ours(places[-1].filename):
        return None
    return next((place.lineno for place in reversed(places) if os.path.abspath(place.filename) == path), None)


def _is_ours(file: str) -> bool:
    return os.path.abspath(file).startswith(os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep)
