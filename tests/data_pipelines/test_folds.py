"""Folds: every annotated patient is tested once, nobody is on two sides, and classes are spread."""

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import DataSet, Record, SourceImage
from data_pipelines.folds import annotated_patients, deal, deal_folds
from data_pipelines.splits import make_split, split_hash
from data_pipelines.units import Splits, Unit

UNITS = (
    Unit("patient", {"1/2": 2, "1/1": 9}),
    Unit("image", {"1/2": 3, "1/1": 9}),
    Unit("crop", {"1/2": 4, "1/1": 9}, labelled={"1": {"1/2": ["gone", "gone2", "gone3", "gone4"]}}),
    Unit("hospital", {"1/2": 1, "1/1": 3}, training=("A", "B", "C", "D")),
)


def random_data_set(seed, patients=8):
    """Patients of one to three images of one to four tiles, of which some, or all, aren't annotated."""
    generator = np.random.default_rng(seed)
    records, images = [], {}
    for patient in range(patients + 3):
        annotated = patient < patients
        for image in range(generator.integers(1, 4)):
            name = f"P{patient}-{image}"
            held = {"common": 1.0} | ({"rare": 0.5} if patient in (0, 1) else {})
            images[name] = SourceImage(f"{name}.png", "annotated", 8, 8, 0.5, f"P{patient}", "h", mm2=held)
            for tile in range(generator.integers(1, 5)):
                own = annotated and ((image, tile) == (0, 0) or generator.random() < 0.6)
                row = (f"{name}_{tile}", "train", len(records), "ABCE"[patient % 4], f"P{patient}", name, tile, 0)
                records.append(Record(*row, own, 0.5, 8, 8))
    records.append(Record("other", "test", 0, "D", "PT", "other", 0, 0, True, 0.5, 8, 8))
    classes = (ClassInfo("common", (0, 0, 0)), ClassInfo("rare", (9, 9, 9)))
    splits = Splits(UNITS)
    return DataSet("own", classes, 0.5, tuple(records), "", Path("built"), {}, {}, (), splits=splits, images=images)


def patients_of(records):
    return {record.patient for record in records}


@pytest.mark.parametrize("unit", [unit.name for unit in UNITS])
@pytest.mark.parametrize("fraction", ["1/2", "1/1"])
@pytest.mark.parametrize("validation", [False, True])
def test_every_patient_is_tested_once_and_never_trained_on(unit, fraction, validation):
    for seed in range(12):
        data_set, folds = random_data_set(seed), 2 + seed % 7
        tested = []
        for fold in range(folds):
            options = {"unit": unit, "validation": validation, "folds": folds, "fold": fold}
            try:
                split = make_split(data_set, fraction, 1, **options)
            except UserError as error:  # two folds of three hospitals leave none for both parts
                assert validation and unit == "hospital" and "too few to set 1 aside" in str(error)
                continue
            out = patients_of(split.test)
            assert out and "PT" not in out and all(record.annotated for record in split.test)
            assert not out & patients_of((*split.labelled, *split.unlabelled, *split.validation))
            learnt = patients_of((*split.labelled, *split.unlabelled))
            assert not learnt & patients_of(split.validation)
            assert bool(split.validation) == validation
            if fraction == "1/1" and not validation:  # nothing else is lost
                everybody = patients_of(record for record in data_set.records if record.split == "train")
                assert learnt == everybody - out
            tested += [record.id for record in split.test]
            assert split == make_split(data_set, fraction, 1, **options)
        annotated = [record.id for record in data_set.records if record.annotated and record.split == "train"]
        assert sorted(tested) == sorted(annotated)


@pytest.mark.parametrize("unit", ["image", "hospital", "patient"])
def test_validation_divides_no_patient_without_folds_either(unit):
    for seed in range(20):
        split = make_split(random_data_set(seed), "1/1", seed, unit=unit, validation=True)
        assert split.validation and split.labelled
        assert not patients_of(split.validation) & patients_of((*split.labelled, *split.unlabelled))


def test_the_same_folds_whatever_is_labelled_and_others_for_another_seed():
    data_set = random_data_set(3)
    tests = {
        (unit, fraction): make_split(data_set, fraction, 1, unit=unit, validation=False, folds=4, fold=2).test
        for unit in ("patient", "image") for fraction in ("1/2", "1/1")
    }  # fmt: skip
    assert len(set(tests.values())) == 1
    assert len({str(deal_folds(data_set, 4, seed)) for seed in range(8)}) > 4


def test_a_fraction_is_of_what_remains():
    data_set = random_data_set(3)
    for folds, patients in ((2, 1), (4, 1), (8, 1)):  # of 8, 1/2 is said to be 2: a quarter of 4, 6 and 7
        split = make_split(data_set, "1/2", 1, unit="patient", validation=False, folds=folds, fold=0)
        assert len(patients_of(split.labelled)) == patients
    units = Splits((Unit("patient", {"1/2": 4, "1/1": 8}),))
    halves = dataclasses.replace(data_set, splits=units)
    for folds, patients in ((2, 2), (4, 3), (8, 3)):
        split = make_split(halves, "1/2", 1, validation=False, folds=folds, fold=0)
        assert len(patients_of(split.labelled)) == patients


def test_without_folds_nothing_is_different():
    data_set = random_data_set(3)
    plain = make_split(data_set, "1/1", 1, validation=False)
    assert patients_of(plain.test) == {"PT"}
    assert split_hash(plain) == split_hash(make_split(data_set, "1/1", 1, validation=False, folds=0, fold=0))


def test_folds_are_even_and_spread_classes():
    for seed in range(30):
        data_set, folds = random_data_set(seed), 2 + seed % 7
        dealt = deal_folds(data_set, folds, seed)
        assert sorted(patient for fold in dealt for patient in fold) == annotated_patients(data_set)
        assert {len(fold) for fold in dealt} <= {8 // folds, 8 // folds + (8 % folds > 0)}
        assert max(len({"P0", "P1"} & set(fold)) for fold in dealt) == 1


def test_dealing_by_hand():
    # p, which alone holds A, to fold 0; then in their order: s to the emptier one, r away from s, q away from p.
    classes = {"p": {"A", "B"}, "q": {"B"}, "r": {"C"}, "s": {"C"}}
    assert deal("srqp", classes, 2) == [["p", "r"], ["q", "s"]]
    # r, then p, hold what nobody else does; q goes where no B is, though that is the first fold again.
    assert deal("pqr", {"p": {"A", "B"}, "q": {"B"}, "r": {"D"}}, 2) == [["q", "r"], ["p"]]
    assert deal("dcba", {}, 3) == [["a", "d"], ["c"], ["b"]]  # one after the other where nothing is known
    for one, two in combinations(deal("abcdefgh", {name: {"x"} for name in "hgf"}, 3), 2):
        assert abs(len(one) - len(two)) <= 1 and len({*one} & {*"hgf"}) == len({*two} & {*"hgf"}) == 1


@pytest.mark.parametrize(
    ("patients", "options", "message"),
    [
        (3, {"folds": 5}, "config.data.folds=5: built has 3 annotated patients (P0, P1, P2), and a fold needs one: "
         "give --folds 3 or annotate more"),
        (1, {"folds": 2}, "built has one annotated patient (P0): no validation is possible: annotate a second patient"),
        (0, {"folds": 2}, "no annotated training tiles in built"),
        (3, {"folds": 2, "fold": 2}, "config.data.fold=2: with config.data.folds=2 they are 0 to 1"),
        (3, {"fold": 1}, "config.data.fold=1: there are no folds"),
    ],
)  # fmt: skip
def test_what_can_not_be_dealt(patients, options, message):
    with pytest.raises(UserError) as caught:
        make_split(random_data_set(0, patients), "1/1", 1, validation=False, **options)
    assert str(caught.value).startswith(message)
