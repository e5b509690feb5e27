"""classes.toml: the classes of a study, where their names alone don't say everything.

    background = "stroma"              # what no annotation covers inside a frame; by default "background"
    unclassified = "tumour"            # what annotations without a class are; by default they are refused
    ignored = ["artefact", "fold"]     # annotated, and of no class: unknown

    [[class]]
    name = "tumour"
    colour = "#c80000"                 # or [200, 0, 0]; also the colour in mask images of colours
    aliases = ["Tumor", "carcinoma"]   # other names that it has in files
    values = [1, 2]                    # its codes in mask images

Where annotations overlap, the class that stands later in the table wins.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error

BACKGROUND = "background"
BACKGROUND_COLOUR = (235, 235, 235)
# For classes without a colour of their own: apart from one another and from the pink and violet of H&E.
COLOURS = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (86, 180, 233), (240, 228, 66), (120, 60, 160),
    (140, 86, 75), (23, 190, 207), (188, 189, 34), (31, 60, 90), (255, 127, 14),
)  # fmt: skip
KEYS = {"class", "background", "unclassified", "ignored"}
CLASS_KEYS = {"name", "colour", "aliases", "values"}
MOST = 200  # classes: a label is a byte, of which 255 is unknown


def is_frame(name: str | None) -> bool:
    """Whether an annotation is QuPath's `Region*`: inside it everything is annotated."""
    return name is not None and name.casefold() == "region*"


def is_ignored(name: str | None) -> bool:
    """Whether it is QuPath's `Ignore*`, of no class."""
    return name is not None and name.casefold() == "ignore*"


def same_name(name: str) -> str:
    """What names have in common that mean one class: letters of either case, spaces as they come."""
    return " ".join(name.split()).casefold()


@dataclass(frozen=True)
class ClassRow:
    """A class of the table."""

    name: str
    colour: tuple[int, int, int] | None
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

    def find(self, name: str) -> int | None:
        """The row of a name or alias, IGNORED for an ignored one, None for an unknown one."""
        wanted = same_name(name)
        for number, row in enumerate(self.rows):
            if wanted in map(same_name, (row.name, *row.aliases)):
                return number
        return IGNORED if wanted in map(same_name, self.ignored) else None

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
        value = tomllib.loads(path.read_text(encoding="utf-8"))
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
    rows = tuple(_row(number, entry) for number, entry in enumerate(entries, 1))
    if len(rows) > MOST:
        raise ValueError(f"{len(rows)} classes are more than {MOST}")
    ignored, background = _names(value.get("ignored", []), "ignored"), value.get("background", BACKGROUND)
    unclassified = value.get("unclassified", "")
    for key, name in (("background", background), ("unclassified", unclassified)):
        if not isinstance(name, str) or (key in value and not name.strip()):
            raise ValueError(f"{key} is no name")
    seen: set[str] = set()
    for name in [name for row in rows for name in (row.name, *row.aliases)] + list(ignored):
        if same_name(name) in seen:
            raise ValueError(f"the name {name!r} is there twice: leave one out")
        seen.add(same_name(name))
    codes: set[int] = set()
    for row in rows:
        if twice := codes.intersection(row.values):
            raise ValueError(f"the value {min(twice)} belongs to two classes: leave one out")
        codes.update(row.values)
    table = ClassTable(path, rows, ignored, background.strip(), unclassified.strip())
    if unclassified and table.find(unclassified) is None:
        raise ValueError(f"unclassified is {unclassified!r}, which is none of {table.known}")
    return table


def _row(number: int, entry: dict[str, Any]) -> ClassRow:
    place = f"class {number}"
    if unknown := sorted(entry.keys() - CLASS_KEYS):
        raise ValueError(f"{place} has {unknown[0]!r}; known are name, colour, aliases and values")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{place} has no name")
    values = entry.get("values", [])
    if not isinstance(values, list) or not all(type(each) is int and each >= 0 for each in values):
        raise ValueError(f"{place}: values should be a list of whole numbers, such as [1, 2]")
    aliases = _names(entry.get("aliases", []), f"{place}: aliases")
    return ClassRow(name.strip(), _colour(entry.get("colour"), place), aliases, tuple(values))


def _names(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
        raise ValueError(f'{place} should be a list of names, such as ["Tumor"]')
    return tuple(each.strip() for each in value)


def _colour(value: Any, place: str) -> tuple[int, int, int] | None:
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return tuple(int(value[i : i + 2], 16) for i in (1, 3, 5))
    if isinstance(value, list) and len(value) == 3 and all(type(each) is int and 0 <= each <= 255 for each in value):
        return tuple(value)
    raise ValueError(f'{place}: colour should be "#c80000" or [200, 0, 0]')


def choose_classes(
    drawn: Mapping[str, tuple[int, int, int] | None], table: ClassTable | None, needed: Sequence[str] = ()
) -> tuple[tuple[ClassInfo, ...], tuple[str, ...]]:
    """The classes of a study, and notes.

    Those of the table in its order; else `needed` ones first and then all that are drawn, by name. Names that differ in
    case or spaces only are one class. `needed` ones that a table lacks come before it.

    Args:
        drawn: names in files, in the order in which they come, and colours where these tell.
        table: classes.toml.
        needed: names that are not drawn: of what annotations leave free.
    """
    notes = []
    if table is not None:
        rows = [(row.name, row.colour or _drawn_colour(drawn, row)) for row in table.rows]
        first = [(name, None) for name in needed if table.find(name) is None]
        chosen = first + rows
    else:
        spellings: dict[str, list[str]] = {}
        for name in drawn:
            spellings.setdefault(same_name(name), []).append(name)
        notes = [f"taken for one class: {', '.join(names)}" for names in spellings.values() if len(names) > 1]
        free = [name for name in dict.fromkeys(needed) if same_name(name) not in spellings]
        ordered = sorted(spellings, key=lambda key: (key != BACKGROUND, key))
        chosen = [(name, None) for name in free]
        chosen += [
            (spellings[key][0], next((drawn[name] for name in spellings[key] if drawn[name]), None)) for key in ordered
        ]
    spare = iter(COLOURS * (len(chosen) // len(COLOURS) + 1))
    return tuple(
        ClassInfo(name, colour or (BACKGROUND_COLOUR if same_name(name) == BACKGROUND else next(spare)))
        for name, colour in chosen
    ), tuple(notes)


def _drawn_colour(drawn: Mapping[str, tuple[int, int, int] | None], row: ClassRow) -> tuple[int, int, int] | None:
    names = set(map(same_name, (row.name, *row.aliases)))
    return next((colour for name, colour in drawn.items() if colour and same_name(name) in names), None)
