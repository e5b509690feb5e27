"""EBHI-SEG: both layouts, patients by the names, the stated test part, and what can be wrong."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build
from data_pipelines.builders.ebhi import TEST
from data_pipelines.splits import make_split

NAMES = ("Polyp/GT1815553-1-400-001", "Polyp/GTxc2012151-2-400-001", "Low-grade IN/GTXC2012151-2-400-002",
         "Adenocarcinoma/GTdc2102643-1-400-001")  # fmt: skip


def write(raw, official):
    """Writes four pictures of three patients, whose gland is a square of 25 pixels."""
    for number, name in enumerate(NAMES):
        image = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        mask = np.zeros((20, 24), bool)
        mask[5:10, 5:10] = True
        diagnosis, _, stem = name.partition("/")
        if official:
            paths = [raw / "EBHI-SEG" / diagnosis / kind / f"{stem}.png" for kind in ("image", "label")]
            mask = mask.astype(np.uint8) * 255
        else:
            paths = [raw / kind / f"{diagnosis}__{stem}.png" for kind in ("images", "masks")]
        for path, pixels in zip(paths, (image, mask), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("official", [True, False])
def test_both_layouts_give_the_same(tmp_path, official):
    write(tmp_path / "raw", official)
    data_set = build("ebhi", tmp_path / "raw", tmp_path / "data")
    assert [(r.split, r.patient, r.id) for r in data_set.records] == [
        ("train", "1815553", "Polyp__GT1815553-1-400-001"),
        ("train", "DC2102643", "Adenocarcinoma__GTdc2102643-1-400-001"),
        ("test", "2012151", "Low-grade IN__GTXC2012151-2-400-002"),
        ("test", "2012151", "Polyp__GTxc2012151-2-400-001"),
    ]
    tile = data_set.source("train", labels=True)[0]
    assert tile["label"].sum() == 25 and tile["label"].max() == 1
    assert "CC BY 4.0" in data_set.licence


def test_the_test_part_is_the_stated_list():
    digest = hashlib.sha256(json.dumps(sorted(TEST)).encode()).hexdigest()
    assert len(TEST) == 114 and digest.startswith("24cfc35665c906b9")


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("masks/Polyp__GT1815553-1-400-001.png", r"images/Polyp__GT1815553-1-400-001\.png has no mask beside it"),
        ("images/Polyp__GT1815553-1-400-001.png", r"masks/Polyp__GT1815553-1-400-001\.png has no picture beside it"),
    ],
)
def test_half_a_pair_is_named(tmp_path, file, told):
    write(tmp_path / "raw", official=False)
    (tmp_path / "raw" / file).unlink()
    with pytest.raises(UserError, match=told + r".*--skip_bad"):
        build("ebhi", tmp_path / "raw", tmp_path / "data")


def test_a_picture_that_is_there_twice_is_named(tmp_path):
    write(tmp_path / "raw", official=False)
    (tmp_path / "raw" / "images" / "Polyp__GT1815553-1-400-001.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"Polyp__GT1815553-1-400-001 is there more than once: .*\.jpg, .*\.png"):
        build("ebhi", tmp_path / "raw", tmp_path / "data")


def test_another_name_and_another_folder(tmp_path):
    write(tmp_path / "raw", official=False)
    (tmp_path / "raw" / "images" / "figure.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"figure\.png: the name should have the form GT2012149-1-400-001"):
        build("ebhi", tmp_path / "raw", tmp_path / "data")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("")
    with pytest.raises(UserError, match="other holds no pictures of EBHI-SEG: download EBHI-SEG from"):
        build("ebhi", tmp_path / "other", tmp_path / "data")


@pytest.mark.slow
def test_real_data_set(tmp_path, real_data):
    data_set = build("ebhi", real_data / "ebhi_seg", tmp_path / "data")
    patients = {split: {r.patient for r in data_set.records if r.split == split} for split in ("train", "test")}
    assert {split: len(names) for split, names in patients.items()} == {"train": 228, "test": 114}
    assert patients["test"] == TEST
    split = make_split(data_set, "1/28", 1, validation=False)
    assert len({record.patient for record in split.labelled}) == 8 and len(split.test) == 653
