"""Tables for programs and spreadsheets, with names that others have chosen."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

_FORMULA = re.compile(r"[=+\-@\t].", re.DOTALL)


def csv_text(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as CSV in UTF-8, headings first.

    A text that a spreadsheet would run as a formula begins with an apostrophe, which the spreadsheet hides (OWASP, CSV
    injection). Bytes of a file's name that are no UTF-8, and carriage returns, stand as escapes.
    """
    text = io.StringIO()
    cells = ([cell_text(value) if isinstance(value, str) else value for value in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue().encode()


def cell_text(text: str) -> str:
    """What a reader of the table finds in the place of a text."""
    text = text.encode(errors="backslashreplace").decode()
    text = text.replace("\r", "\\r")  # which would end a row: Python quotes a line break alone
    if not _FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
