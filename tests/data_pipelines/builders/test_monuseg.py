"""MoNuSeg: polygons to pixels, the grid, and every way in which the raw folder can be wrong."""

import numpy as np
import pytest
from raw_folders import MONUSEG_TEST, MONUSEG_TRAINING, aperio, write_monuseg

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build
from data_pipelines.builders.monuseg import OWN, rasterise
from data_pipelines.splits import make_split

SQUARE = [(1, 1), (3, 1), (3, 3), (1, 3)]
BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]>' + aperio(SQUARE).replace(
    "</Annotations>", "&c;</Annotations>"
)


def _rasterise(tmp_path, text: str, side: int = 6) -> np.ndarray:
    path = tmp_path / "annotation.xml"
    path.write_text(text)
    return rasterise(path, side, side)


@pytest.mark.parametrize(
    ("points", "rows", "columns"),
    [
        (SQUARE, (1, 3), (1, 3)),  # outline pixels belong to the nucleus
        ([(0.6, 1.2), (3.4, 1.2), (3.4, 2.7), (0.6, 2.7)], (1, 3), (1, 3)),  # between pixel centres
        ([(-9, -9), (2, -9), (2, 2), (-9, 2)], (0, 2), (0, 2)),  # cut off at the image's edge
        ([(4, 2), (50, 2), (50, 50), (4, 50)], (2, 5), (4, 5)),
    ],
)
def test_rasterise(tmp_path, points, rows, columns):
    expected = np.zeros((6, 6), np.uint8)
    expected[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 1
    np.testing.assert_array_equal(_rasterise(tmp_path, aperio(points)), expected)


def test_overlapping_nuclei_do_not_cancel(tmp_path):
    shifted = [(x + 1, y + 1) for x, y in SQUARE]
    label = _rasterise(tmp_path, aperio(SQUARE, shifted))
    assert label.sum() == 9 + 9 - 4 and label[2, 2] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (aperio(SQUARE, [(1, 1), (2, 2)]), "region 2 has 2 points; a polygon needs 3"),
        (aperio([]), "region 1 has 0 points"),
        (BOMB, "declares XML entities"),
        ("<Annotations><Annotation>", "is no readable XML"),
        ("", "is no readable XML"),
        ("<Annotations/>", "holds no Annotation/Regions/Region"),
        (aperio([(1, "one"), *SQUARE]), "region 1 has a vertex without numbers X and Y"),
        (aperio([(1, "nan"), *SQUARE]), "region 1 has a vertex far outside any image"),
        (aperio(SQUARE).replace(' Y="1"', ""), "region 1 has a vertex without numbers X and Y"),
        (aperio(SQUARE).replace("<Region ", '<Region NegativeROA="1" '), f"region 1 is a hole, .*: {OWN}"),
        (aperio(SQUARE).replace("<Region ", '<Region Type="4" '), f"region 1 is a ruler, .*: {OWN}"),
        (aperio(SQUARE).replace("</Annotations>", "<Annotation/></Annotations>"), f"has 2 layers, .*: {OWN}"),
    ],
)
def test_bad_annotation(tmp_path, text, message):
    with pytest.raises(UserError, match=rf"annotation\.xml.*{message}") as caught:
        _rasterise(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_grid(tmp_path):
    write_monuseg(tmp_path / "raw")
    data_set = build("monuseg", tmp_path / "raw", tmp_path / "data")
    training = [record for record in data_set.records if record.split == "train"]
    assert [record.id for record in training] == [f"{MONUSEG_TRAINING}_{y}_{x}" for y in (0, 250) for x in (0, 250)]
    assert [(record.y, record.x) for record in training] == [(0, 0), (0, 250), (250, 0), (250, 250)]
    assert {(record.hospital, record.patient) for record in training} == {("A7", "TCGA-A7-A13E")}
    assert {record.image for record in data_set.records if record.split == "test"} == {MONUSEG_TEST}
    assert all(record.annotated for record in data_set.records)  # background counts
    label = data_set.source("train", labels=True)[0]["label"]
    assert label.shape == (250, 250) and label[20:30, 10:20].all() and label.sum() == 100
    assert data_set.pixels == {"train": [249900, 100], "test": [249900, 100]}


def _remove(role):
    return lambda paths: paths[role].unlink()


def _write(role, content: bytes):
    return lambda paths: paths[role].write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_remove("training annotation"), "Annotations holds no \\*.xml: download"),
        (_remove("test image"), "MoNuSegTestData holds no \\*.tif: download"),
        (_write("training annotation", BOMB.encode()), f"{MONUSEG_TRAINING}.xml declares XML entities"),
        (
            _write("test image", b"II*\0 and no more"),
            f"{MONUSEG_TEST}.tif holds no image, or is truncated",
        ),
        (_write("test annotation", aperio([(1, 2), (3, 4)]).encode()), f"{MONUSEG_TEST}.xml: region 1 has 2 points"),
    ],
)
def test_bad_folder(tmp_path, spoil, message):
    spoil(write_monuseg(tmp_path / "raw", 250, 250))
    with pytest.raises(UserError, match=message):
        build("monuseg", tmp_path / "raw", tmp_path / "data")


@pytest.mark.parametrize("role", ["training image", "training annotation", "test image", "test annotation"])
def test_half_of_a_pair(tmp_path, role):
    paths = write_monuseg(tmp_path / "raw", 250, 250)
    extra = paths[role].with_stem("TCGA-B0-5698-01Z-00-DX1")
    extra.write_bytes(paths[role].read_bytes())
    message = "has no annotation" if role.endswith("image") else "has no image"
    with pytest.raises(UserError, match=f"{extra.name} {message}"):
        build("monuseg", tmp_path / "raw", tmp_path / "data")
    data_set = build("monuseg", tmp_path / "raw", tmp_path / "data", skip_bad=True)
    assert len(data_set.records) == 2 and len(data_set.skipped) == 1


def test_same_image_in_training_and_test(tmp_path):
    paths = write_monuseg(tmp_path / "raw", 250, 250)
    for role in ("image", "annotation"):
        copy = paths[f"test {role}"].with_stem(MONUSEG_TRAINING)
        copy.write_bytes(paths[f"training {role}"].read_bytes())
    with pytest.raises(UserError, match=f"{MONUSEG_TRAINING}_0_0 occurs twice"):
        build("monuseg", tmp_path / "raw", tmp_path / "data")


def test_real_annotations(real_data):
    folder = real_data / "monuseg" / "MoNuSeg 2018 Training Data" / "Annotations"
    label = rasterise(folder / "TCGA-50-5931-01Z-00-DX1.xml", 1000, 1000)  # holds a known slip of two points
    assert 0.1 < label.mean() < 0.5


@pytest.mark.slow
def test_real_data_set(tmp_path, real_data):
    data_set = build("monuseg", real_data / "monuseg", tmp_path / "data")
    assert [sum(record.split == split for record in data_set.records) for split in ("train", "test")] == [480, 224]
    nuclei = {split: counts[1] / sum(counts) for split, counts in data_set.pixels.items()}
    assert nuclei == pytest.approx({"train": 0.2318, "test": 0.2168}, abs=1e-4)
    for fraction, count in (("1/32", 15), ("1/8", 60)):
        assert len(make_split(data_set, fraction, 1, validation=False).labelled) == count
