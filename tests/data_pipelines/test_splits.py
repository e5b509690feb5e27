"""Splits: the released lists, the rule for further seeds, and that no tile is on two sides."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import DataSet, Record
from data_pipelines.recipes import find_recipe
from data_pipelines.splits import Split, make_split, split_hash
from data_pipelines.units import Splits, Unit

LISTS = {name: find_recipe(name).splits for name in ("bcss", "monuseg", "synthetic")}
BCSS_TRAINING = LISTS["bcss"].find("hospital", "bcss").training
IMAGES = LISTS["monuseg"].find("image", "monuseg").training


def data_set_of(name: str, rows: list[tuple]) -> DataSet:
    """A data set without files; rows: (id, split, hospital, image and patient, annotated)."""
    records = tuple(
        Record(row[0], row[1], position, row[2], row[3], row[3], 0, 0, row[4], 0.25)
        for position, row in enumerate(rows)
    )
    classes, lists = (ClassInfo("a", (0, 0, 0)),), LISTS.get(name, Splits())
    return DataSet(name, classes, 0.25, records, "fingerprint", Path("built"), {}, {}, (), splits=lists)


def bcss(hospitals=(*BCSS_TRAINING, "E2", "OL")) -> DataSet:
    """Three tiles a hospital; the last is not annotated."""
    rows = []
    for hospital in hospitals:
        split = "test" if hospital in ("E2", "OL") else "train"
        rows += [(f"{hospital}-{i}", split, hospital, hospital, i < 2) for i in range(3)]
    return data_set_of("bcss", rows)


def monuseg(images=IMAGES) -> DataSet:
    corners = [f"{y}_{x}" for y in (0, 250, 500, 750) for x in (0, 250, 500, 750)]
    rows = [(f"{image}_{corner}", "train", image[5:7], image, True) for image in images for corner in corners]
    rows += [(f"test_{corner}", "test", "2Z", "test", True) for corner in corners]
    return data_set_of("monuseg", rows)


def synthetic() -> DataSet:
    split = {**{f"H{i:02}": "train" for i in range(1, 9)}, "H09": "validation", "H10": "validation", "H11": "test"}
    rows = [(f"{h}-{i}", part, h, f"{h}-{i}", True) for h, part in split.items() for i in range(3)]
    return data_set_of("synthetic", rows)


DATA_SETS = {"bcss": bcss(), "monuseg": monuseg(), "synthetic": synthetic()}


def ids(records) -> set[str]:
    return {record.id for record in records}


@pytest.mark.parametrize(("name", "unit"), [(n, u.name) for n in LISTS for u in LISTS[n].units])
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 40])
@pytest.mark.parametrize("validation", [False, True])
def test_no_tile_on_two_sides(name, unit, seed, validation):
    data_set = DATA_SETS[name]
    found = LISTS[name].find(unit, name)
    unit_of = found.of
    training = ids(record for record in data_set.records if record.split == "train")
    for fraction, count in found.fractions.items():
        split = make_split(data_set, fraction, seed, unit=unit, validation=validation)
        parts = {"labelled": split.labelled, "validation": split.validation, "test": split.test}
        if fraction != "1/1":
            parts["unlabelled"] = split.unlabelled
            assert len({unit_of(record) for record in split.labelled}) == count
        for (one, first), (other, second) in combinations(parts.items(), 2):
            assert not ids(first) & ids(second), (one, other)
        held_units = {unit_of(record) for record in split.validation}
        rest = [*split.labelled, *split.unlabelled]
        assert not held_units & {unit_of(record) for record in rest}
        if unit == "image" and fraction != "1/1":
            assert not {r.image for r in split.labelled} & {r.image for r in split.unlabelled}
        assert all(record.annotated for part in (split.labelled, split.validation, split.test) for record in part)
        assert ids(split.test) == ids(r for r in data_set.records if r.split == "test" and r.annotated)
        if name == "synthetic":
            assert {record.hospital for record in split.validation} == {"H09", "H10"}
        elif not validation:
            assert split.validation == () and ids(rest) == training
        if fraction == "1/1":
            assert ids(split.labelled) <= ids(split.unlabelled)


def test_released_lists():
    for seed, hospitals in ((1, {"AC"}), (2, {"A1"}), (3, {"C8"})):
        split = make_split(DATA_SETS["bcss"], "1/8", seed, validation=False)
        assert {record.hospital for record in split.labelled} == hospitals
        unannotated = f"{next(iter(hospitals))}-2"
        assert unannotated in ids(split.unlabelled) and len(split.labelled) == 2
    split = make_split(DATA_SETS["monuseg"], "1/32", 1, validation=False)
    assert len(split.labelled) == 15
    assert {"TCGA-18-5592-01Z-00-DX1_250_250", "TCGA-49-4488-01Z-00-DX1_500_0"} < ids(split.labelled)


def test_released_lists_equal_the_source(real_data):
    source = json.loads((real_data / "paper_splits.json").read_text())
    for seed, by_fraction in source["monuseg"]["labelled_by_seed"].items():
        for fraction, crops in by_fraction.items():
            split = make_split(DATA_SETS["monuseg"], fraction, int(seed), validation=False)
            assert ids(split.labelled) == {f"{image}_{row}_{column}" for image, row, column in crops}
    for seed, by_fraction in source["bcss"]["labelled_by_seed"].items():
        for fraction, hospitals in by_fraction.items():
            split = make_split(DATA_SETS["bcss"], fraction, int(seed), validation=False)
            assert sorted({record.hospital for record in split.labelled}) == hospitals


@pytest.mark.parametrize(("fraction", "count"), [("1/32", 1), ("1/16", 2), ("1/8", 4), ("1/1", 30)])
def test_by_image(fraction, count):
    for seed in (1, 2, 3, 4):
        split = make_split(DATA_SETS["monuseg"], fraction, seed, unit="image", validation=False)
        assert len({record.image for record in split.labelled}) == count and len(split.labelled) == 16 * count
        drawn = np.random.default_rng(seed).permutation(sorted(IMAGES))[:count]
        assert {record.image for record in split.labelled} == set(drawn)


def test_rule_for_further_seeds():
    split = make_split(DATA_SETS["bcss"], "1/2", 7, validation=False)
    drawn = np.random.default_rng(7).permutation(sorted(BCSS_TRAINING))[:7]
    assert {record.hospital for record in split.labelled} == set(drawn)
    assert split == make_split(DATA_SETS["bcss"], "1/2", 7, validation=False)
    smaller = make_split(DATA_SETS["bcss"], "1/8", 7, validation=False)
    assert ids(smaller.labelled) < ids(split.labelled)


def test_validation_takes_unlabelled_units_first():
    plain = make_split(DATA_SETS["bcss"], "1/2", 1, validation=False)
    split = make_split(DATA_SETS["bcss"], "1/2", 1, validation=True)
    assert split.labelled == plain.labelled
    assert len({record.hospital for record in split.validation}) == 2  # a tenth of 15
    everything = make_split(DATA_SETS["bcss"], "1/1", 1, validation=True)
    assert len({record.hospital for record in everything.labelled}) == 13
    crops = make_split(DATA_SETS["monuseg"], "1/2", 1, validation=True)
    assert (len(crops.labelled), len(crops.unlabelled), len(crops.validation)) == (240, 192, 48)


def test_incomplete_data_sets():
    sample = bcss(("A2",))
    split = make_split(sample, "1/1", 1, validation=False)
    assert ids(split.labelled) == {"A2-0", "A2-1"} and ids(split.unlabelled) == {"A2-0", "A2-1", "A2-2"}
    with pytest.raises(UserError, match=r"labels hospitals of which built has no annotated tiles: AC; .*1/1"):
        make_split(sample, "1/8", 1, validation=False)
    with pytest.raises(UserError, match="hospitals A2 only: too few to set 1 aside"):
        make_split(sample, "1/1", 1, validation=True)
    with pytest.raises(UserError, match="and 10 more"):
        make_split(monuseg(()), "1/32", 1, validation=False)
    with pytest.raises(UserError, match="no annotated training tiles"):
        make_split(monuseg(()), "1/1", 1, validation=False)


def test_one_annotated_patient_leaves_none_for_validation():
    records = [Record(f"{p}-{i}", "train", i, "", p, p, 0, 0, p == "P1", 0.5) for p in ("P1", "P2") for i in range(3)]
    splits = Splits((Unit("patient", {"1/1": 1}),))
    classes = (ClassInfo("a", (0, 0, 0)), ClassInfo("b", (1, 1, 1)))
    study = DataSet("study", classes, 0.5, tuple(records), "", Path("built"), {}, {}, (), splits=splits)
    split = make_split(study, "1/1", 1, validation=False)
    assert (len(split.labelled), len(split.unlabelled)) == (3, 3)  # the other patient's
    with pytest.raises(UserError) as caught:
        make_split(study, "1/1", 1, validation=True)
    assert str(caught.value) == (
        "built has patients P1 only: too few to set 1 aside for validation, no patient divided; train "
        "without validation: config.evaluation.selection=last"
    )


def test_further_hospitals_serve_as_unlabelled():
    data_set = bcss((*BCSS_TRAINING, "ZZ"))
    assert "ZZ" in {record.hospital for record in make_split(data_set, "1/2", 1, validation=False).unlabelled}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bcss", "1/3", 1, "default"), "unknown fraction '1/3' for bcss by hospital; known: 1/8, 1/4, 1/2, 1/1"),
        (("monuseg", "1/4", 1, "image"), "for monuseg by image; known: 1/32, 1/16, 1/8, 1/1"),
        (("monuseg", "1/8", 1, "hospital"), "unknown split unit 'hospital' for monuseg; known: default, crop, image"),
        (("bcss", "1/8", -1, "default"), "seed -1 is negative"),
    ],
)
def test_unknown_names(arguments, message):
    name, fraction, seed, unit = arguments
    with pytest.raises(UserError, match=message):
        make_split(DATA_SETS[name], fraction, seed, unit=unit, validation=False)


def by_patient(unit: Unit) -> DataSet:
    """Twelve tiles of six patients, the last of them not annotated."""
    records = tuple(
        Record(f"t{i}", "train", i, "h", f"P{i // 2}", f"t{i}", 0, 0, i < 10, 0.25, 8, 8) for i in range(12)
    )
    classes = (ClassInfo("a", (0, 0, 0)),)
    return DataSet("own", classes, 0.25, records, "", Path("built"), {}, {}, (), splits=Splits((unit,)))


def test_units_without_a_training_list_are_those_that_are_annotated():
    data_set = by_patient(Unit("patient", {"2/5": 2, "1/1": 5}))
    split = make_split(data_set, "2/5", 3, validation=False)
    drawn = set(np.random.default_rng(3).permutation(["P0", "P1", "P2", "P3", "P4"])[:2])
    assert {record.patient for record in split.labelled} == drawn and len(split.labelled) == 4
    assert "P5" in {record.patient for record in split.unlabelled}
    assert len(make_split(data_set, "1/1", 3, validation=False).labelled) == 10


def test_a_unit_groups_by_its_field_and_takes_lists_for_some_seeds():
    unit = Unit("case", {"1/5": 1, "2/5": 2}, field="patient", labelled={"1": {"1/5": ["P4"]}})
    data_set = by_patient(unit)
    assert ids(make_split(data_set, "1/5", 1, validation=False).labelled) == {"t8", "t9"}
    for fraction, seed, count in (("2/5", 1, 2), ("1/5", 2, 1)):  # no list: drawn
        drawn = set(np.random.default_rng(seed).permutation(["P0", "P1", "P2", "P3", "P4"])[:count])
        assert {r.patient for r in make_split(data_set, fraction, seed, validation=False).labelled} == drawn


def test_more_units_than_there_are():
    data_set = by_patient(Unit("patient", {"1/2": 6}))
    with pytest.raises(UserError, match="fraction 1/2 labels 6 patients, and built has 5 for training: build the"):
        make_split(data_set, "1/2", 1, validation=False)


def test_data_set_without_units():
    with pytest.raises(UserError, match="unknown split unit 'default' for tnbc"):
        make_split(data_set_of("tnbc", []), "1/8", 1, validation=False)


def test_hash_of_a_split_depends_on_its_tiles_alone():
    split = make_split(DATA_SETS["bcss"], "1/2", 7, validation=False)
    turned = Split(split.labelled[::-1], split.unlabelled, split.validation, split.test)
    assert split_hash(split) == split_hash(turned)
    assert split_hash(split) != split_hash(make_split(DATA_SETS["bcss"], "1/8", 7, validation=False))
