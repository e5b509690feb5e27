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
    injection); `named` takes it away. Bytes of a file's name that are no UTF-8 stand as escapes.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode(errors="backslashreplace")


def named(cell: str) -> str:
    """A text as it was before `csv_text` wrote it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = value.replace("\r", "\\r")  # which would end a row: Python quotes a line break alone
    if not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
