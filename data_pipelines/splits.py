"""Which tiles are labelled, unlabelled, for validation and for testing, by fraction and seed.

Labels are given to whole units, such as hospitals, images or crops: see data_pipelines.units. A data set's own
`splits.json` names its units, the number of labelled ones per fraction, and lists of labelled ones for some seeds.
Where there is no list, the first units of `np.random.default_rng(seed).permutation(sorted training units)` are
labelled, so a smaller fraction's units are among those of a larger one. The fraction 1/1 labels every training unit
that is there.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import DataSet, Record
from data_pipelines.units import DEFAULT, Unit

ALL = "1/1"
VALIDATION_SHARE = 0.1  # of the training units


@dataclass(frozen=True)
class Split:
    """Tiles by their part in training. All of `labelled`, `validation` and `test` have annotated pixels.

    No tile is in two parts, except that `unlabelled` is all of the training tiles where every unit is labelled.
    """

    labelled: tuple[Record, ...]
    unlabelled: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]


def make_split(data_set: DataSet, fraction: str, seed: int, *, unit: str = DEFAULT, validation: bool) -> Split:
    """Divides a data set.

    Tiles without annotation are unlabelled ones, also those of labelled units. With `validation`, a tenth of the
    training units (at least one) are taken out: the first of `np.random.default_rng([seed, 1]).permutation(sorted
    units)`, drawn from the units left unlabelled if they suffice, else from the labelled ones. A data set with a
    validation split of its own uses that, whatever `validation` says. The test split is never drawn from.

    Args:
      data_set: a built data set.
      fraction: share of the training units that are labelled, such as '1/8'.
      seed: 0 or more.
      unit: name of one of the data set's units, or 'default' for its first.
      validation: carve a validation part out of training.

    Raises:
      UserError: unknown fraction or unit, or units that the data set lacks.
    """
    chosen_unit = data_set.splits.find(unit, data_set.name)
    name, unit_of = chosen_unit.name, chosen_unit.of
    if fraction not in chosen_unit.fractions:
        known = ", ".join(chosen_unit.fractions)
        raise UserError(f"unknown fraction {fraction!r} for {data_set.name} by {name}; known: {known}")
    if seed < 0:
        raise UserError(f"seed {seed} is negative; use 0 or more")
    training = [record for record in data_set.records if record.split == "train"]
    annotated = sorted({unit_of(record) for record in training if record.annotated})
    if fraction == ALL:
        labelled_units = set(annotated)
    else:
        labelled_units = _labelled_units(chosen_unit, fraction, seed, annotated, data_set)
    missing = sorted(labelled_units.difference(annotated))
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise UserError(
            f"fraction {fraction} with seed {seed} labels {name}s of which {data_set.path} has no annotated"
            f" tiles: {names}; build the complete data set, or use fraction {ALL}"
        )
    held_out = [record for record in data_set.records if record.split == "validation" and record.annotated]
    if validation and not held_out:
        units_out = _validation_units(annotated, labelled_units, seed, f"{data_set.path} has {name}s")
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


def split_hash(split: Split) -> str:
    """SHA-256 over the names of the tiles of every part of a split, whatever their order."""
    parts = {part: sorted(record.id for record in records) for part, records in vars(split).items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _labelled_units(unit: Unit, fraction: str, seed: int, annotated: list[str], data_set: DataSet) -> set[str]:
    """Returns the labelled units: a list of the data set's, or else a draw."""
    listed = unit.labelled.get(str(seed), {}).get(fraction)
    if listed is not None:
        return set(listed)
    count, training = unit.fractions[fraction], sorted(unit.training or annotated)
    if count > len(training):
        raise UserError(
            f"fraction {fraction} labels {count} {unit.name}s, and {data_set.path} has {len(training)} for training:"
            f" build the complete data set, or use fraction {ALL}"
        )
    return set(np.random.default_rng(seed).permutation(training)[:count].tolist())


def _validation_units(annotated: list[str], labelled: set[str], seed: int, where: str) -> set[str]:
    """Returns the units to hold out, as `make_split` says; leaves at least one labelled unit."""
    count = max(1, round(VALIDATION_SHARE * len(annotated)))
    candidates = [name for name in annotated if name not in labelled]
    if len(candidates) < count:
        candidates = sorted(labelled)
        if len(candidates) <= count:
            few = f"{where} {', '.join(annotated)} only: too few to set {count} aside for validation"
            raise UserError(f"{few}; train without validation: config.evaluation.selection=last")
    return set(np.random.default_rng([seed, 1]).permutation(candidates)[:count].tolist())
