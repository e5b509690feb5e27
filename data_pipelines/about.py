"""What a built data set's folder says of itself beside its index: `splits.json` and `about.json`, both to be edited."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error, read_text
from data_pipelines.recipes import Recipe
from data_pipelines.units import Splits, parse_splits, splits_to_json

SPLITS_FILE = "splits.json"
ABOUT_FILE = "about.json"


def write_about(folder: Path, splits: Splits, *, description: str, licence: str) -> None:
    """Writes both files.

    Raises:
      ValueError: splits that can't be opened again.
    """
    value = splits_to_json(splits)
    parse_splits(value)
    about = {"description": description, "licence": licence}
    for file, content in ((SPLITS_FILE, value), (ABOUT_FILE, about)):
        (folder / file).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_about(folder: Path, find: Callable[[], Recipe | None], again: Callable[[], str]) -> dict[str, Any]:
    """Splits, description and licence, as the fields of a `DataSet`.

    Args:
      folder: of the data set.
      find: finds the recipe that stands in for missing files, as those of data sets built before there were such.
      again: tells how to build the data set again, for messages.

    Raises:
      UserError: no splits, or a file that is damaged or of another form.
    """
    splits, about = folder / SPLITS_FILE, folder / ABOUT_FILE
    if splits.exists():
        found = {"splits": _parse(splits, parse_splits, again)}
    elif (recipe := find()) is not None:
        found = {"splits": recipe.splits}
    else:
        raise UserError(f"{splits} is missing, without which nothing says what is labelled; {again()}")
    if about.exists():
        return found | _parse(about, _two_texts, again)
    if (recipe := find()) is not None:
        found |= {"description": recipe.description, "licence": recipe.licence}
    return found


def _parse(path: Path, parse: Callable[[Any], Any], again: Callable[[], str]) -> Any:
    try:
        return parse(json.loads(read_text(path)))
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be used ({error}): mend that, or {again()}") from error


def _two_texts(value: Any) -> dict[str, str]:
    entries = [value.get(key, "") for key in ("description", "licence")] if isinstance(value, dict) else [None]
    if not all(isinstance(entry, str) for entry in entries):
        raise ValueError("description and licence should be two texts")
    return dict(zip(("description", "licence"), entries, strict=True))
