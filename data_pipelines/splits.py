"""Which tiles are labelled, unlabelled, for validation and for testing, by fraction and seed.

Labels are given to whole units, such as hospitals, images or crops: see data_pipelines.units. A data set's own
`splits.json` names its units, the number of labelled ones per fraction, and lists of labelled ones for some seeds.
Where there is no list, the first units of `np.random.default_rng(seed).permutation(sorted training units)` are
labelled, so a smaller fraction's units are among those of a larger one. The fraction 1/1 labels every training unit
that is there.

For cross-validation the patients of one fold (data_pipelines.folds) are the test part in place of the data set's own,
and leave training with all their tiles.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import DataSet, Record
from data_pipelines.folds import deal_folds
from data_pipelines.units import DEFAULT, FIELDS, Unit

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


def make_split(
    data_set: DataSet,
    fraction: str,
    seed: int,
    *,
    unit: str = DEFAULT,
    validation: bool,
    folds: int = 0,
    fold: int = 0,
) -> Split:
    """Divides a data set.

    Tiles without annotation are unlabelled ones, also those of labelled units. With `validation`, a tenth of the
    training units (at least one) are taken out: the first of `np.random.default_rng([seed, 1]).permutation(sorted
    units)`, drawn from the units left unlabelled if they suffice, else from the labelled ones. A patient's other units
    come with it, so that no patient is on both sides; the unit 'crop' alone, which the paper's lists divide images by,
    divides patients too. A data set with a validation split of its own uses that, whatever `validation` says. The test
    split is never drawn from.

    With `folds`, what the paper's lists say of labelled units is left aside: the same share of the units that remain is
    drawn from these.

    Args:
      data_set: a built data set.
      fraction: share of the training units that are labelled, such as '1/8'.
      seed: 0 or more.
      unit: name of one of the data set's units, or 'default' for its first.
      validation: carve a validation part out of training.
      folds: 0, or the number of folds that the patients are dealt out into.
      fold: the one whose patients are the test part, from 0.

    Raises:
      UserError: unknown fraction, unit or fold, or units or patients that the data set lacks.
    """
    chosen_unit = data_set.splits.find(unit, data_set.name)
    name, unit_of = chosen_unit.name, chosen_unit.of
    if fraction not in chosen_unit.fractions:
        known = ", ".join(chosen_unit.fractions)
        raise UserError(f"unknown fraction {fraction!r} for {data_set.name} by {name}; known: {known}")
    if seed < 0:
        raise UserError(f"seed {seed} is negative; use 0 or more")
    training = [record for record in data_set.records if record.split == "train"]
    held_out = [record for record in data_set.records if record.split == "validation" and record.annotated]
    test = [record for record in data_set.records if record.split == "test" and record.annotated]
    if not 0 <= fold < max(1, folds):
        numbers = f"with config.data.folds={folds} they are 0 to {folds - 1}" if folds else "there are no folds"
        raise UserError(f"config.data.fold={fold}: {numbers}")
    everyone = {unit_of(record) for record in training if record.annotated}
    if folds:
        tested = set(deal_folds(data_set, folds, seed)[fold])
        test = [record for record in training if record.patient in tested and record.annotated]
        training, held_out = ([r for r in part if r.patient not in tested] for part in (training, held_out))
    annotated = sorted({unit_of(record) for record in training if record.annotated})
    if folds:
        remaining = tuple(name for name in chosen_unit.training if name in annotated)
        counts = {
            part: max(1, count * len(annotated) // len(everyone)) for part, count in chosen_unit.fractions.items()
        }
        chosen_unit = dataclasses.replace(chosen_unit, training=remaining, labelled={}, fractions=counts)
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
    if validation and not held_out:
        by_crop = FIELDS[chosen_unit.field or name] == "id" and not folds
        patients: dict[str, set[str]] = {}
        for record in training:
            patients.setdefault(unit_of(record), set()).add(unit_of(record) if by_crop else record.patient)
        units_out = _validation_units(annotated, labelled_units, patients, seed, f"{data_set.path} has {name}s")
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


def _validation_units(
    annotated: list[str], labelled: set[str], patients: Mapping[str, set[str]], seed: int, where: str
) -> set[str]:
    """Returns the units to hold out, as `make_split` says; leaves at least one labelled unit.

    Args:
      patients: training unit -> its patients.
    """
    count = max(1, round(VALIDATION_SHARE * len(annotated)))
    bound = _of_same_patients(labelled, patients)
    for candidates in ([name for name in annotated if name not in bound], sorted(labelled)):
        out: set[str] = set()
        for name in np.random.default_rng([seed, 1]).permutation(candidates).tolist():
            if len(out.intersection(annotated)) < count:
                out |= _of_same_patients({name}, patients)
        if len(out.intersection(annotated)) >= count and labelled - out:
            return out
    few = f"{where} {', '.join(annotated)} only: too few to set {count} aside for validation, no patient divided"
    raise UserError(f"{few}; train without validation: config.evaluation.selection=last")


def _of_same_patients(units: set[str], patients: Mapping[str, set[str]]) -> set[str]:
    """The units, and all that share a patient with one of them, or with one of those, and so on."""
    while True:
        people = set().union(*(patients[name] for name in units))
        found = {name for name, own in patients.items() if own & people}
        if found == units:
            return units
        units = found
