"""Patients dealt out into folds for cross-validation: each is tested once, by a model that has not seen it."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import DataSet


def annotated_patients(data_set: DataSet) -> list[str]:
    """Names of the patients with an annotated training tile, sorted."""
    return sorted({record.patient for record in data_set.records if record.split == "train" and record.annotated})


def deal_folds(data_set: DataSet, folds: int, seed: int) -> list[list[str]]:
    """The annotated training patients of each fold, sorted.

    Their numbers differ by one at most. Where the data set tells which classes its images hold, a class is spread over
    as many folds as it has patients.

    Raises:
        UserError: fewer patients than folds.
    """
    patients = annotated_patients(data_set)
    if len(patients) == 1:
        raise UserError(
            f"{data_set.path} has one annotated patient ({patients[0]}): no validation is possible: annotate a second "
            "patient, or train without (config.data.folds=0)"
        )
    if folds > len(patients):
        raise UserError(
            f"config.data.folds={folds}: {data_set.path} has {len(patients)} annotated patients "
            f"({', '.join(patients)}), and a fold needs one: give --folds {len(patients)} or annotate more"
            if patients
            else f"no annotated training tiles in {data_set.path}; build the complete data set"
        )
    shuffled = np.random.default_rng([seed, 2]).permutation(patients).tolist()
    return deal(shuffled, _classes_of(data_set), folds)


def deal(patients: Sequence[str], classes: Mapping[str, set[str]], folds: int) -> list[list[str]]:
    """Deals patients out, those with the rarest classes first, else in their order.

    Each goes to the fold that holds the fewest patients with its rarest class, then with its next one, and so on, of
    those that have room (the greedy rule of Sechidis, Tsoumakas and Vlahavas 2011, with folds of equal size).

    Args:
        patients: names.
        classes: patient -> the classes that it holds; who is missing holds none.
        folds: how many.
    """
    held_by = Counter(name for patient in patients for name in classes.get(patient, ()))
    own = {patient: sorted(classes.get(patient, ()), key=lambda name: (held_by[name], name)) for patient in patients}
    least, larger = divmod(len(patients), folds)  # so many folds take one patient more
    dealt: list[list[str]] = [[] for _ in range(folds)]
    holding: list[Counter[str]] = [Counter() for _ in range(folds)]

    def has_room(fold: int) -> bool:
        full = sum(len(other) > least for other in dealt)
        return len(dealt[fold]) < least or (len(dealt[fold]) == least and full < larger)

    # A patient without classes comes last and evens out the sizes.
    for patient in sorted(patients, key=lambda name: [held_by[found] for found in own[name]] or [len(patients) + 1]):
        fold = min(
            filter(has_room, range(folds)),
            key=lambda number: ([holding[number][name] for name in own[patient]], len(dealt[number])),
        )
        dealt[fold].append(patient)
        holding[fold].update(own[patient])
    return [sorted(fold) for fold in dealt]


def _classes_of(data_set: DataSet) -> dict[str, set[str]]:
    """Patient -> classes annotated in its training images, as far as the data set tells of its images."""
    found: dict[str, set[str]] = {}
    for record in data_set.records:
        if record.split == "train" and record.annotated and record.image in data_set.images:
            areas = data_set.images[record.image].mm2
            found.setdefault(record.patient, set()).update(name for name, area in areas.items() if area > 0)
    return found
