"""Which class the values of mask images mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.masks import UNKNOWN, Mask
from data_pipelines.annotations.table import BACKGROUND, ClassTable, same_name

MOST_CODES = 32  # different values of a mask that is not of instances
SHOWN = 8  # values in a message
FOREGROUND, OBJECT = "foreground", "object"  # classes of masks that name none
INSTANCES = "instances"
BINARY = ({0, 1}, {0, IGNORED})


@dataclass(frozen=True)
class Naming:
    """Which value of a mask means which class; None: of none, unknown. `rest`: values above 0 that are not listed."""

    names: Mapping[int, str | None]
    rest: str | None = None

    def of(self, value: int) -> str | None:
        """The class of a value; KeyError where it has none."""
        if value not in self.names and self.rest is not None and value > 0:
            return self.rest
        return self.names[value]


def name_values(
    masks: Mapping[Path, Mapping[int, int]], *, colours: bool, table: ClassTable | None, kind: str
) -> Naming:
    """What the values of all masks of a study mean, which are all of colours, or none.

    Args:
        masks: pixels of each value, per mask.
        colours: whether the values are colours.
        table: classes.toml.
        kind: 'instances', where values above 0 number objects of one class; or 'auto'.

    Raises:
        UserError: a value that means nothing that is known; the message says how to tell.
    """
    first = next(iter(masks))
    if kind == INSTANCES:
        if colours:
            raise UserError(f"{first} is a mask of colours: --mask instances takes whole numbers")
        ground = BACKGROUND if table is None else table.class_of(table.background)
        return Naming({0: ground, UNKNOWN: None}, rest=_object(table))
    if colours:
        return _by_table(masks, table, {} if table is None else table.by_colour, colours=True)
    if table is not None:
        known = table.by_value
        if known:
            return _by_table(masks, table, {IGNORED: None} | known, colours=False)
        raise UserError(
            f"{first} holds {_listed(_together(masks), colours=False)}, and {table.path} says of no class which value"
            " it has: give classes values = [...], or build with --mask instances"
        )
    codes = _together(masks).keys() - {UNKNOWN}
    if codes in BINARY:
        return Naming({0: BACKGROUND, max(codes): FOREGROUND, UNKNOWN: None})
    codes -= {IGNORED}
    if len(codes) > MOST_CODES or max(codes, default=0) > IGNORED:
        path = max(masks, key=lambda path: len(masks[path]))
        raise UserError(
            f"{path} holds {len(masks[path])} different values: if they number objects of one class, build with --mask"
            " instances; else list them in classes.toml"
        )
    return Naming({code: f"class {code}" if code else BACKGROUND for code in codes} | {IGNORED: None, UNKNOWN: None})


def mask_label(mask: Mask, naming: Naming, labels: Mapping[str, int]) -> UInt8[np.ndarray, "h w"]:
    """The label of a mask; `labels`: of the classes by their names."""
    names = {value: naming.of(value) for value in mask.counts()}
    return mask.label({value: IGNORED if name is None else labels[name] for value, name in names.items()})


def _together(masks: Mapping[Path, Mapping[int, int]]) -> dict[int, int]:
    """Pixels of each value in all masks."""
    found: dict[int, int] = {}
    for counts in masks.values():
        for value, count in counts.items():
            found[value] = found.get(value, 0) + count
    return found


def _by_table(
    masks: Mapping[Path, Mapping[int, int]],
    table: ClassTable | None,
    names: Mapping[int, str | None],
    *,
    colours: bool,
) -> Naming:
    wrong = {value: n for value, n in _together(masks).items() if value not in names and value != UNKNOWN}
    if wrong:
        path = next(path for path, counts in masks.items() if wrong.keys() & counts.keys())
        advice = _snippet(wrong) if table is None else _advice(table, _commonest(wrong)[0], colours=colours)
        raise UserError(f"{path} holds {_listed(wrong, colours=colours)} of no class: {advice}")
    return Naming({**names, UNKNOWN: None})


def _advice(table: ClassTable, value: int, *, colours: bool) -> str:
    shown = f'"{_hex(value)}"' if colours else str(value)
    key = f"colour = {shown}" if colours else f"values = [{shown}]"
    return f"give a class of {table.path} {key}, or write ignored = [{shown}], and so on"


def _snippet(colours: Mapping[int, int]) -> str:
    """A table to begin with, for masks of colours without one."""
    most = _commonest(colours)
    entries = [f'{{name = "class {number}", colour = "{_hex(value)}"}}' for number, value in enumerate(most, 1)]
    more = ", ..." if len(colours) > len(most) else ""
    return f"write a classes.toml into the study's folder, with names of your own: class = [{', '.join(entries)}{more}]"


def _listed(values: Mapping[int, int], *, colours: bool) -> str:
    """The commonest values, for a message."""
    told = [f"{_hex(value) if colours else value} ({values[value]} pixels)" for value in _commonest(values)]
    rest = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return f"the {'colours' if colours else 'values'} {', '.join(told)}{rest}"


def _commonest(values: Mapping[int, int]) -> list[int]:
    return sorted(values, key=lambda value: (-values[value], value))[:SHOWN]


def _hex(colour: int) -> str:
    return f"#{colour:06x}"


def _object(table: ClassTable | None) -> str:
    """The class of objects: the table's, where it has but one beside the background."""
    if table is None:
        return OBJECT
    ground = table.class_of(table.background)
    names = [row.name for row in table.rows if ground is None or same_name(row.name) != same_name(ground)]
    if len(names) != 1:
        raise UserError(
            f"{table.path} has {len(names)} classes beside {table.background!r}: --mask instances numbers the objects"
            " of one"
        )
    return names[0]
