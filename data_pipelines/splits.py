"""Which tiles are labelled, unlabelled, for validation and for testing, by fraction and seed.

Labels are given to whole units: hospitals (bcss, synthetic), crops or images (monuseg). `splits/<data set>.json` names
the training units, the number of labelled ones per fraction, and the lists that the CRCFP authors released for seeds
1 to 3. Where there is no list, the first units of `np.random.default_rng(seed).permutation(sorted training units)` are
labelled, so a smaller fraction's units are among those of a larger one. The fraction 1/1 labels every training unit
that is there.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import DataSet, Record

ALL = "1/1"
VALIDATION_SHARE = 0.1  # of the training units
UNIT_OF_RECORD = {
    "hospital": lambda record: record.hospital,
    "image": lambda record: record.image,
    "crop": lambda record: record.id,
}


@dataclass(frozen=True)
class Split:
    """Tiles by their part in training. All of `labelled`, `validation` and `test` have annotated pixels.

    No tile is in two parts, except that `unlabelled` is all of the training tiles where every unit is labelled.
    """

    labelled: tuple[Record, ...]
    unlabelled: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]


def make_split(data_set: DataSet, fraction: str, seed: int, *, unit: str = "default", validation: bool) -> Split:
    """Divides a data set.

    Tiles without annotation are unlabelled ones, also those of labelled units. With `validation`, a tenth of the
    training units (at least one) are taken out: the first of `np.random.default_rng([seed, 1]).permutation(sorted
    units)`, drawn from the units left unlabelled if they suffice, else from the labelled ones. A data set with a
    validation split of its own (synthetic) uses that, whatever `validation` says. The test split is never drawn from.

    Args:
      data_set: a built data set.
      fraction: share of the training units that are labelled, such as '1/8'.
      seed: 0 or more.
      unit: 'hospital', 'crop' or 'image', or 'default': see the data set's JSON.
      validation: carve a validation part out of training.

    Raises:
      UserError: unknown fraction, unit or data set, or units that the data set lacks.
    """
    units = split_lists(data_set.name, unit)
    if fraction not in units["fractions"]:
        known = ", ".join(units["fractions"])
        raise UserError(f"unknown fraction {fraction!r} for {data_set.name} by {units['name']}; known: {known}")
    if seed < 0:
        raise UserError(f"seed {seed} is negative; use 0 or more")
    unit_of = UNIT_OF_RECORD[units["name"]]
    training = [record for record in data_set.records if record.split == "train"]
    annotated = sorted({unit_of(record) for record in training if record.annotated})
    labelled_units = set(annotated) if fraction == ALL else _listed(units, fraction, seed)
    missing = sorted(labelled_units.difference(annotated))
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise UserError(
            f"fraction {fraction} with seed {seed} labels {units['name']}s of which {data_set.path} has no annotated"
            f" tiles: {names}; build the complete data set, or use fraction {ALL}"
        )
    held_out = [record for record in data_set.records if record.split == "validation" and record.annotated]
    if validation and not held_out:
        units_out = _validation_units(annotated, labelled_units, seed, f"{data_set.path} has {units['name']}s")
        held_out = [record for record in training if unit_of(record) in units_out and record.annotated]
        training = [record for record in training if unit_of(record) not in units_out]
        labelled_units -= units_out
    labelled = [record for record in training if unit_of(record) in labelled_units and record.annotated]
    if not labelled:
        raise UserError(f"no annotated training tiles in {data_set.path}; build the complete data set")
    if any(unit_of(record) not in labelled_units for record in training):
        chosen = {record.id for record in labelled}
        unlabelled = [record for record in training if record.id not in chosen]
    else:
        unlabelled = training
    test = [record for record in data_set.records if record.split == "test" and record.annotated]
    return Split(tuple(labelled), tuple(unlabelled), tuple(held_out), tuple(test))


def lists_path(name: str) -> Path:
    """The file that a data set's split lists stand in."""
    return Path(__file__).parent / "splits" / f"{name}.json"


def split_lists(name: str, unit: str) -> dict:
    """Returns the lists of a split unit ('default' resolved), and its name under 'name'.

    Raises UserError for a data set without lists, or one that isn't split by this unit.
    """
    path = lists_path(name)
    if not path.is_file():
        raise UserError(f"no split lists for data set {name!r}; add {path}")
    lists = json.loads(path.read_text(encoding="utf-8"))
    unit = lists["default"] if unit == "default" else unit
    if unit not in lists["units"]:
        raise UserError(f"unknown split unit {unit!r} for {name}; known: default, {', '.join(lists['units'])}")
    return {"name": unit, **lists["units"][unit]}


def _listed(units: dict, fraction: str, seed: int) -> set[str]:
    """Returns the labelled units: the released list, or else a draw."""
    released = units["labelled"].get(str(seed))
    if released is not None:
        return set(_names(released[fraction]))
    drawn = np.random.default_rng(seed).permutation(sorted(_names(units["training"])))
    return set(drawn[: units["fractions"][fraction]].tolist())


def _names(entry: list[str] | dict[str, str]) -> list[str]:
    """Returns unit names: a list as it is; {image: 'row_column row_column'} as `<image>_<row>_<column>`."""
    if isinstance(entry, list):
        return entry
    return [f"{image}_{corner}" for image, corners in entry.items() for corner in corners.split()]


def _validation_units(annotated: list[str], labelled: set[str], seed: int, where: str) -> set[str]:
    """Returns the units to hold out, as `make_split` says; leaves at least one labelled unit."""
    count = max(1, round(VALIDATION_SHARE * len(annotated)))
    candidates = [name for name in annotated if name not in labelled]
    if len(candidates) < count:
        candidates = sorted(labelled)
        if len(candidates) <= count:
            few = f"{where} {', '.join(annotated)} only: too few to set {count} aside for validation"
            raise UserError(f"{few}; train without validation (evaluation.selection='last')")
    return set(np.random.default_rng([seed, 1]).permutation(candidates)[:count].tolist())
