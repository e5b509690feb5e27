"""What labels are given to: the split units of a data set, shares of them, and lists of the labelled ones.

As JSON, which is what `splits.json` in a built data set's folder holds and may be edited to:

    {"source": "where the lists are from", "default": "hospital",
     "units": {"hospital": {"field": "hospital", "fractions": {"1/8": 1, "1/1": 8},
                            "training": ["A1", ...], "labelled": {"1": {"1/8": ["A1"]}}}}}

`field`, `training` and `labelled` may be left out.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crcfp_jax.common import rules
from crcfp_jax.common.errors import UserError

FIELDS = {"hospital": "hospital", "patient": "patient", "image": "image", "crop": "id"}  # field -> Record's attribute
DEFAULT = "default"  # stands for the first unit


@dataclass(frozen=True)
class Unit:
    """Tiles that are labelled together, or not at all: those that agree in `field`.

    Attributes:
        name: what `config.data.split_unit` calls it.
        fractions: share of the training units, such as '1/8' -> how many are labelled where they are drawn.
        field: of FIELDS, by which tiles are grouped; '': that of the unit's name.
        training: units that are drawn from; (): those of all annotated training tiles.
        labelled: seed -> fraction -> the labelled units; they are drawn where there is no such list.
    """

    name: str
    fractions: Mapping[str, int]
    field: str = ""
    training: Sequence[str] = ()
    labelled: Mapping[str, Mapping[str, Sequence[str]]] = dataclasses.field(default_factory=dict)

    def of(self, record: Any) -> str:
        """Name of the unit that a `Record` belongs to."""
        return getattr(record, FIELDS[self.field or self.name])


@dataclass(frozen=True)
class Splits:
    """The split units of a data set, the default one first, and where their lists are from."""

    units: tuple[Unit, ...] = ()
    source: str = ""

    def find(self, unit: str, data_set: str) -> Unit:
        """The unit of a name, the first for 'default'; raises UserError where data set `data_set` has none."""
        for known in self.units:
            if unit in (known.name, DEFAULT):
                return known
        names = ", ".join([DEFAULT, *(known.name for known in self.units)])
        raise UserError(f"unknown split unit {unit!r} for {data_set}; known: {names}")


def splits_to_json(splits: Splits) -> dict[str, Any]:
    """As `parse_splits` takes them."""
    units = {}
    for unit in splits.units:
        units[unit.name] = {"field": unit.field or unit.name, "fractions": dict(unit.fractions)}
        if unit.training:
            units[unit.name]["training"] = list(unit.training)
        if unit.labelled:
            lists = {seed: {key: list(names) for key, names in row.items()} for seed, row in unit.labelled.items()}
            units[unit.name]["labelled"] = lists
    return {"source": splits.source, "default": splits.units[0].name, "units": units}


def parse_splits(value: Any) -> Splits:
    """Reads what JSON gave; see the module's docstring.

    Raises:
        ValueError: another form; the message names the entry.
    """
    if unknown := sorted(_typed(value, dict, "it").keys() - {"source", "default", "units"}):
        raise ValueError(f"it has {unknown[0]!r}; known are source, default and units")
    entries = _typed(value.get("units"), dict, "units")
    units = {name: _parse_unit(name, entry) for name, entry in entries.items()}
    default = _typed(value.get("default"), str, "default")
    if default not in units:
        raise ValueError(f"default is {default!r}, and units has {', '.join(units) or 'none'}")
    ordered = (units.pop(default), *units.values())
    return Splits(ordered, _typed(value.get("source", ""), str, "source"))


def _parse_unit(name: str, value: Any) -> Unit:
    place = f"units.{name}"
    entry = _typed(value, dict, place)
    if unknown := sorted(entry.keys() - {"field", "fractions", "training", "labelled"}):
        raise ValueError(f"{place} has {unknown[0]!r}; known are field, fractions, training and labelled")
    if name == DEFAULT:
        raise ValueError(f"{place}: a unit can't be called {DEFAULT!r}")
    group = _typed(entry.get("field", name), str, f"{place}.field")
    if group not in FIELDS:
        raise ValueError(f"{place}.field is {group!r}; known are {', '.join(FIELDS)}")
    fractions = _typed(entry.get("fractions"), dict, f"{place}.fractions")
    for fraction, count in fractions.items():
        if rules.fraction(fraction):
            raise ValueError(f"{place}.fractions has {fraction!r}: write a fraction as 1/8")
        if type(count) is not int or count < 1:
            raise ValueError(f"{place}.fractions has {count!r} for {fraction}: give a number of units, 1 or more")
    if not fractions:
        raise ValueError(f"{place}.fractions is empty")
    labelled = {}
    for seed, by_fraction in _typed(entry.get("labelled", {}), dict, f"{place}.labelled").items():
        if not re.fullmatch(r"0|[1-9]\d*", seed):
            raise ValueError(f"{place}.labelled has {seed!r}, which is no seed")
        rows = _typed(by_fraction, dict, f"{place}.labelled.{seed}")
        if unknown := sorted(rows.keys() - fractions.keys()):
            raise ValueError(f"{place}.labelled.{seed} has {unknown[0]!r}, which is not in {place}.fractions")
        labelled[seed] = {key: _names(names, f"{place}.labelled.{seed}.{key}") for key, names in rows.items()}
        for key, names in labelled[seed].items():
            if len(names) != fractions[key]:
                raise ValueError(f"{place}.labelled.{seed}.{key} has {len(names)} names, and {key} is {fractions[key]}")
    training = _names(entry["training"], f"{place}.training") if "training" in entry else ()
    return Unit(name, fractions, group, training, labelled)


def _names(value: Any, place: str) -> tuple[str, ...]:
    names = _typed(value, list, place)
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{place} is no list of names")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{place} names {twice[0]!r} twice")
    return tuple(names)


def _typed(value: Any, kind: type, place: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{place} is {'missing' if value is None else 'of another form'}")
    return value
