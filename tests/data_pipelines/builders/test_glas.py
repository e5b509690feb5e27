"""GlaS: both layouts, glands as one class, and every way in which the raw folder can be wrong."""

import numpy as np
import pytest
from PIL import Image
from raw_folders import write_glas

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build
from data_pipelines.splits import make_split

OFFICIAL = "Warwick QU Dataset (Released 2016_07_08)"
GRADES = (
    "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\n"
    "testA_1, 5, benign, adenomatous\ntrain_2, 12, malignant, moderately differentiated\n"
)


@pytest.mark.parametrize("official", [True, False])
def test_both_layouts_give_the_same(tmp_path, official):
    write_glas(tmp_path / "raw", official)
    data_set = build("glas", tmp_path / "raw", tmp_path / "data")
    assert [(r.split, r.id) for r in data_set.records] == [
        ("train", "train_2"), ("train", "train_10"), ("test", "testA_1"), ("test", "testB_1"),
    ]  # fmt: skip
    assert [(r.height, r.width) for r in data_set.records] == [(20, 31), (20, 30), (20, 32), (20, 33)]
    assert {r.microns_per_pixel for r in data_set.records} == {0.62}
    assert {r.hospital for r in data_set.records} == {"UHCW"} and data_set.records[0].patient == "train_2"
    tile = data_set.source("train", labels=True)[1]
    expected = np.zeros((20, 30), np.uint8)
    expected[1:3, 1:3] = expected[5:9, 5:9] = 1
    np.testing.assert_array_equal(tile["label"], expected)
    np.testing.assert_array_equal(tile["image"], np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    assert data_set.pixels == {"train": [1220 - 40, 40], "test": [1300 - 40, 40]}
    assert "research" in data_set.licence


@pytest.mark.parametrize("folder", ["Warwick_QU_Dataset", "."])
def test_patients_are_those_of_the_table(tmp_path, folder):
    write_glas(tmp_path / "raw", official=True)
    (tmp_path / "raw" / OFFICIAL / "Grade.csv").write_text(GRADES)
    (tmp_path / "raw" / OFFICIAL).rename(tmp_path / "other")
    raw = tmp_path / "other"
    if folder != ".":
        raw.rename(tmp_path / "raw" / folder)
        raw = tmp_path / "raw"
    data_set = build("glas", raw, tmp_path / "data")
    assert [record.patient for record in data_set.records] == ["12", "train_10", "5", "testB_1"]


@pytest.mark.parametrize("content", [b"image;patient\n1;2\n", b"name,patient ID\ntrain_1\n", b"name\xff"])
def test_a_table_of_another_form_is_told(tmp_path, content):
    write_glas(tmp_path / "raw", official=True)
    (tmp_path / "raw" / OFFICIAL / "Grade.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"Grade\.csv has no columns 'name' and 'patient ID' .*: copy it again"):
        build("glas", tmp_path / "raw", tmp_path / "data")


def _mask(path, array):
    Image.fromarray(array).save(path)


FAULTS = {
    r"train_2\.png has no annotation in instance_masks": lambda raw: (raw / "instance_masks/train_2.png").unlink(),
    r"instance_masks/train_2\.png has no image beside it": lambda raw: (raw / "images/train_2.png").unlink(),
    r"train_2\.png has 30 x 20 pixels, its image 31 x 20": lambda raw: _mask(
        raw / "instance_masks/train_2.png", np.zeros((20, 30), np.uint8)
    ),
    r"train_2\.png is a picture in 8-bit RGB, not a mask": lambda raw: _mask(
        raw / "instance_masks/train_2.png", np.zeros((20, 31, 3), np.uint8)
    ),
    r"train_2 is there more than once: .*train_2\.bmp": lambda raw: _mask(
        raw / "images/train_2.bmp", np.zeros((20, 31, 3), np.uint8)
    ),
    r"images/figure\.png: the name should have the form train_1, testA_1": lambda raw: _mask(
        raw / "images/figure.png", np.zeros((20, 31, 3), np.uint8)
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_named_and_skipped_on_demand(tmp_path, message):
    write_glas(tmp_path / "raw", official=False)
    FAULTS[message](tmp_path / "raw")
    with pytest.raises(UserError, match=message + r".*--skip_bad"):
        build("glas", tmp_path / "raw", tmp_path / "data")
    data_set = build("glas", tmp_path / "raw", tmp_path / "data", skip_bad=True)
    assert len(data_set.skipped) == 1 and len(data_set.records) == 4 - ("figure" not in message)


@pytest.mark.parametrize(
    ("remove", "what"), [("images", "images"), ("instance_masks", r"annotations \(instance_masks")]
)
def test_half_of_the_download(tmp_path, remove, what):
    write_glas(tmp_path / "raw", official=False)
    for path in (tmp_path / "raw" / remove).iterdir():
        path.unlink()
    with pytest.raises(UserError, match=rf"raw holds no {what}.* of GlaS: download the Warwick-QU data set"):
        build("glas", tmp_path / "raw", tmp_path / "data")


@pytest.mark.slow
def test_real_data_set(tmp_path, real_data):
    data_set = build("glas", real_data / "glas", tmp_path / "data")
    assert [sum(record.split == split for record in data_set.records) for split in ("train", "test")] == [85, 80]
    gland = {split: counts[1] / sum(counts) for split, counts in data_set.pixels.items()}
    assert gland == pytest.approx({"train": 0.5005, "test": 0.5098}, abs=1e-4)
    for fraction, count in (("1/10", 8), ("1/5", 17), ("1/1", 85)):
        split = make_split(data_set, fraction, 1, validation=False)
        assert (len(split.labelled), len(split.test)) == (count, 80)


def test_real_images(tmp_path, real_data):
    if not (real_data / "glas").is_dir():
        pytest.skip(f"no GlaS in {real_data}")
    for folder, ending in (("images", "jpg"), ("instance_masks", "png")):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        for name in ("train_1", "testA_3"):
            (tmp_path / "raw" / folder / f"{name}.{ending}").symlink_to(
                real_data / "glas" / folder / f"{name}.{ending}"
            )
    data_set = build("glas", tmp_path / "raw", tmp_path / "data")
    assert [(r.height, r.width) for r in data_set.records] == [(522, 775), (442, 581)]
    assert data_set.pixels["train"][1] / (522 * 775) == pytest.approx(0.4267, abs=1e-4)
