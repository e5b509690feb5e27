"""The error that a user can mend."""


class UserError(Exception):
    """A fault in the input, told in one plain line.

    The message names the file, key or value at fault and says what to do. Command-line entry points print it without
    a traceback and exit with a code other than 0; everything else that escapes is a defect of this project.
    """
