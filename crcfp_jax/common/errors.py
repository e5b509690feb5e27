"""The error that a user can mend."""

import re

from crcfp_jax.common.words import shown


class UserError(Exception):
    """A fault in the input, told in one plain line.

    The message names the file, key or value at fault and says what to do. Command-line entry points print it without
    a traceback and exit with a code other than 0; everything else that escapes is a defect of this project.
    What names and damaged bytes bring into it is shown as one line of printable characters.
    """

    def __str__(self) -> str:
        return shown(re.sub(r"\s*[\r\n\t\v\f]\s*", " ", super().__str__()).strip())
