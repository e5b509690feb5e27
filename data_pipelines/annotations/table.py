"""classes.toml: the classes of a study, where their names alone don't say everything.

    background = "stroma"              # what no annotation covers inside a frame; by default "background"
    unclassified = "tumour"            # what annotations without a class are; by default they are refused
    ignored = ["artefact", 7]          # annotated, and of no class: names, and codes or colours in mask images

    [[class]]
    name = "tumour"
    colour = "#c80000"                 # or [200, 0, 0]; also the colour in mask images of colours
    aliases = ["Tumor", "carcinoma"]   # other names that it has in files
    values = [1, 2]                    # its codes in mask images

Where annotations overlap, the class that stands later in the table wins.
"""

import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error, read_text

BACKGROUND = "background"
Colour = tuple[int, int, int]
KEYS = {"class", "background", "unclassified", "ignored"}
CLASS_KEYS = {"name", "colour", "aliases", "values"}
HEX = "#[0-9a-fA-F]{6}"
MOST = 200  # classes: a label is a byte, of which 255 is unknown


def is_frame(name: str | None) -> bool:
    """Whether an annotation is QuPath's `Region*`: inside it everything is annotated."""
    return name is not None and same_name(name) == "region*"


def is_ignored(name: str | None) -> bool:
    """Whether it is QuPath's `Ignore*`, of no class."""
    return name is not None and same_name(name) == "ignore*"


def same_name(name: str) -> str:
    """What names have in common that mean one class: letters of either case, spaces as they come."""
    return " ".join(name.split()).casefold()


@dataclass(frozen=True)
class ClassRow:
    """A class of the table."""

    name: str
    colour: Colour | None
    aliases: tuple[str, ...] = ()
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class ClassTable:
    """The table."""

    path: Path
    rows: tuple[ClassRow, ...]
    ignored: tuple[str, ...] = ()
    background: str = BACKGROUND
    unclassified: str = ""  # '': refused
    ignored_values: tuple[int, ...] = ()  # of mask images of codes
    ignored_colours: tuple[Colour, ...] = ()  # of mask images of colours

    def find(self, name: str) -> int | None:
        """The row of a name or alias, IGNORED for an ignored one, None for an unknown one."""
        return self._numbers.get(same_name(name))

    def class_of(self, name: str) -> str | None:
        """The class that a name or alias means, itself where the table doesn't know it; None for an ignored one."""
        row = self.find(name)
        if row is None:
            return name
        return None if row == IGNORED else self.rows[row].name

    @cached_property
    def _numbers(self) -> dict[str, int]:
        found = {same_name(name): IGNORED for name in self.ignored}
        for number, row in enumerate(self.rows):
            found.update({same_name(name): number for name in (row.name, *row.aliases)})
        return found

    @property
    def by_value(self) -> dict[int, str | None]:
        """Class of each code in mask images that the table knows; None: ignored."""
        found = {value: row.name for row in self.rows for value in row.values}
        return dict.fromkeys(self.ignored_values) | found

    @property
    def by_colour(self) -> dict[int, str | None]:
        """Likewise of each colour, red * 65536 + green * 256 + blue."""
        found = {_packed(row.colour): row.name for row in self.rows if row.colour is not None}
        return dict.fromkeys(map(_packed, self.ignored_colours)) | found

    @property
    def known(self) -> str:
        """All names, for messages."""
        return ", ".join([*(row.name for row in self.rows), *self.ignored])


def read_class_table(path: Path) -> ClassTable:
    """Reads classes.toml.

    Raises:
        UserError: it can't be read, or an entry is unknown, of another form, or there twice.
    """
    try:
        value = tomllib.loads(read_text(path))
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no TOML ({error}): correct it") from error
    try:
        return _parse(path, value)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _parse(path: Path, value: dict[str, Any]) -> ClassTable:
    if unknown := sorted(value.keys() - KEYS):
        raise ValueError(f"{unknown[0]!r} is unknown; known are [[class]], background, unclassified and ignored")
    entries = value.get("class")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("it has no classes: write an entry [[class]] with a name for each")
    if len(entries) > MOST:
        raise ValueError(f"it has {len(entries)} classes, more than {MOST}")
    rows = tuple(_row(number, entry) for number, entry in enumerate(entries, 1))
    background, unclassified = value.get("background", BACKGROUND), value.get("unclassified", "")
    for key, name in (("background", background), ("unclassified", unclassified)):
        if not isinstance(name, str) or (key in value and not name.strip()):
            raise ValueError(f"{key} is no name")
    names, values, colours = _ignored(value.get("ignored", []))
    every = [name for row in rows for name in (row.name, *row.aliases)]
    _check_once("name", [*every, *names], same_name)
    _check_once("value", [*values, *(each for row in rows for each in row.values)])
    _check_once("colour", [*colours, *(row.colour for row in rows if row.colour is not None)])
    table = ClassTable(path, rows, names, background.strip(), unclassified.strip(), values, colours)
    if unclassified and table.find(unclassified) is None:
        raise ValueError(f"unclassified is {unclassified!r}, which is none of {table.known}")
    return table


def _check_once(what: str, items: Iterable[Any], key: Callable[[Any], Any] = lambda item: item) -> None:
    seen = set()
    for item in items:
        if key(item) in seen:
            raise ValueError(f"the {what} {item!r} is there twice: leave one out")
        seen.add(key(item))


def _ignored(value: Any) -> tuple[tuple[str, ...], tuple[int, ...], tuple[Colour, ...]]:
    """Names, codes and colours."""
    if not isinstance(value, list) or not all(
        _is_code(each) or (isinstance(each, str) and each.strip()) for each in value
    ):
        raise ValueError('ignored should be a list of names, codes or colours, such as ["fold", 7, "#000000"]')
    texts = [each.strip() for each in value if isinstance(each, str)]
    colours = [text for text in texts if re.fullmatch(HEX, text)]
    return (
        tuple(text for text in texts if text not in colours),
        tuple(each for each in value if not isinstance(each, str)),
        tuple(_colour(text, "ignored") for text in colours),
    )


def _is_code(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _row(number: int, entry: dict[str, Any]) -> ClassRow:
    place = f"class {number}"
    if unknown := sorted(entry.keys() - CLASS_KEYS):
        raise ValueError(f"{place} has {unknown[0]!r}; known are name, colour, aliases and values")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{place} has no name")
    values = entry.get("values", [])
    if not isinstance(values, list) or not all(map(_is_code, values)):
        raise ValueError(f"{place}: values should be a list of whole numbers, such as [1, 2]")
    aliases = _names(entry.get("aliases", []), f"{place}: aliases")
    return ClassRow(name.strip(), _colour(entry.get("colour"), place), aliases, tuple(values))


def _names(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
        raise ValueError(f'{place} should be a list of names, such as ["Tumor"]')
    return tuple(each.strip() for each in value)


def _colour(value: Any, place: str) -> Colour | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(HEX, value):
        return tuple(int(value[i : i + 2], 16) for i in (1, 3, 5))
    if isinstance(value, list) and len(value) == 3 and all(type(each) is int and 0 <= each <= 255 for each in value):
        return tuple(value)
    raise ValueError(f'{place}: colour should be "#c80000" or [200, 0, 0]')


def _packed(colour: Colour) -> int:
    red, green, blue = colour
    return (red << 16) | (green << 8) | blue
