"""Command lines with a config file: errors in one plain line."""

import inspect
import sys
from collections.abc import Sequence

from absl import flags

from data_pipelines.errors import UserError


def parse_flags(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Reads `arguments` into `values`, which define a flag 'config'; with --help, prints what there is and exits.

    Raises:
        UserError: an unknown flag or config key, a value of the wrong type, a config file that can't be read, or none.
    """
    if {"-h", "--help"} & set(arguments):
        print(inspect.cleandoc(sys.modules["__main__"].__doc__ or ""), values.get_help(), sep="\n\n")
        print("\n--config.KEY=VALUE changes a setting; crcfp_jax/config.py lists them all.")
        sys.exit(0)
    try:
        rest = values(["", *arguments])[1:]
    except UserError:
        raise
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"command line: {error}") from error
    if rest:
        raise UserError(f"command line: {rest[0]!r} is not a flag; settings are written --config.key=value")
    if values["config"].value is None:
        raise UserError("command line: --config is missing, e.g. --config configs/quickstart.py")
