"""The flag --config: a file of settings, and faults in it told with their line."""

import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from crcfp_jax.common.command import causes
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error
from crcfp_jax.common.words import one_line


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
        if (line := _fault(file, error)) is None:
            raise
        raise UserError(line) from error
    if rest:
        raise UserError(f"command line: {rest[0]!r} is not a flag; settings are written --config.key=value")
    config = values["config"].value
    kind = type(config).__name__
    of_error = kind == "_ErrorConfig"  # in which ml_collections keeps an OSError
    if config is None or (of_error and not file):
        raise UserError("command line: --config is missing, e.g. --config configs/quickstart.py")
    if of_error:
        raise UserError(f"{file} can't be read, or opens a file that can't be: {_kept_error(config)}")
    if not isinstance(config, ConfigDict):
        raise UserError(f"{file}: get_config() gives {kind}, not the ConfigDict that crcfp_jax.config.default() gives")


def _fault(file: str, error: Exception) -> str | None:
    """What is wrong with a command line or its config file; None for a defect of this project."""
    for cause in causes(error):  # ml_collections raises some of them anew
        if (line := _line_of(file, cause)) is not None:
            return f"{file}, line {line}: {type(cause).__name__}: {one_line(_text(cause), 300)}"
        if file and isinstance(cause, TypeError) and str(cause).startswith("get_config()"):  # which is called there
            return f"{file}: {cause}: no variant, or another one, is to be given after ':'"
    if file and isinstance(error, AttributeError) and "get_config" in str(error):
        return f"{file} has no function get_config(), which gives the settings"
    if isinstance(error, KeyError):
        return f"command line: unknown key of config: {_text(error)}"
    anew = str(error).startswith("Error whilst parsing config file")  # a defect, with its traceback
    usual = isinstance(error, flags.Error | AttributeError | TypeError | ValueError | OSError)
    return f"command line: {error}" if usual and not anew else None


def _text(error: BaseException) -> Any:
    """What an error says; a KeyError's own text is a representation."""
    return error.args[0] if isinstance(error, KeyError) and error.args else error


def _kept_error(config: Any) -> str:
    try:
        return str(config.model)  # any attribute raises it
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
