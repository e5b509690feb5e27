"""The classes of a study: of its table, or of all that is drawn in it."""

import colorsys
import re
from collections.abc import Iterator, Mapping, Sequence

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.table import BACKGROUND, MOST, ClassRow, ClassTable, Colour, same_name

BACKGROUND_COLOUR = (235, 235, 235)
# For classes without a colour of their own: apart from one another and from the pink and violet of H&E.
PALETTE = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (86, 180, 233), (240, 228, 66), (120, 60, 160),
    (140, 86, 75), (23, 190, 207), (188, 189, 34), (31, 60, 90), (255, 127, 14),
)  # fmt: skip
GOLDEN = 0.618033988749895  # turns of the hue, which never come back to the same


def choose_classes(
    drawn: Mapping[str, Colour | None], table: ClassTable | None, needed: Sequence[str] = ()
) -> tuple[tuple[ClassInfo, ...], tuple[str, ...]]:
    """The classes of a study, and notes. The order in which names are drawn changes nothing.

    Those of the table in its order; else 'background' and other `needed` ones first and then all that are drawn, by
    name. Names that differ in case or spaces only are one class. `needed` ones that a table lacks come before it.

    Args:
        drawn: names in files, and colours where these tell.
        table: classes.toml.
        needed: names that are not drawn: of what annotations leave free.

    Raises:
        UserError: more classes than a label has numbers for.
    """
    spellings: dict[str, list[str]] = {}
    for name in sorted(drawn):
        spellings.setdefault(same_name(name), []).append(name)
    colours = {key: next(filter(None, map(drawn.get, names)), None) for key, names in spellings.items()}
    free: dict[str, str] = {}
    for name in needed:
        free.setdefault(same_name(name), name)
    if table is not None:
        chosen = [(name, None) for name in free.values() if table.find(name) is None]
        chosen += [(row.name, row.colour or _drawn_colour(colours, row)) for row in table.rows]
        notes = ()
    else:
        first = [key for key in free if key not in spellings]
        rest = sorted(spellings, key=_in_order)
        keys = sorted([*first, *rest], key=lambda key: key != BACKGROUND)  # which comes first, drawn or not
        chosen = [(spellings.get(key, [free.get(key)])[0], colours.get(key)) for key in keys]
        notes = tuple(f"taken for one class: {', '.join(names)}" for names in spellings.values() if len(names) > 1)
    if len(chosen) > MOST:
        raise UserError(
            f"there are {len(chosen)} classes, more than {MOST} (such as {chosen[0][0]!r} and {chosen[-1][0]!r}): "
            "collect them in classes.toml under aliases or ignored"
        )
    spare = _spare_colours({colour for _, colour in chosen})
    return tuple(
        ClassInfo(name, colour or (BACKGROUND_COLOUR if same_name(name) == BACKGROUND else next(spare)))
        for name, colour in chosen
    ), notes


def _in_order(key: str) -> list[tuple[int, int, str]]:
    """By letters, and by numbers where these stand: 'class 2' before 'class 10'."""
    parts = re.split(r"([0-9]+)", key)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _drawn_colour(colours: Mapping[str, Colour | None], row: ClassRow) -> Colour | None:
    return next(filter(None, (colours.get(same_name(name)) for name in (row.name, *row.aliases))), None)


def _spare_colours(used: set[Colour | None]) -> Iterator[Colour]:
    """Colours that are not used: the palette's, then others without end."""
    yield from (colour for colour in PALETTE if colour not in used)
    number = 0
    while True:
        number += 1
        saturation, value = 0.9 - 0.3 * (number % 2), 0.9 - 0.25 * (number // 2 % 2)
        colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number * GOLDEN % 1, saturation, value))
        if colour not in used:
            yield colour
