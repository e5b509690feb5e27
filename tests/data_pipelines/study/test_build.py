"""The build of a study, as a user runs it: what it stores and what it says."""

import json
import re

import numpy as np
import pytest
import tifffile
from PIL import Image
from studies import build_study, feature, labels, square, write_geojson, write_image, write_study

from data_pipelines.build import build, main
from data_pipelines.data_set import open_data_set


def test_what_is_stored(tmp_path):
    write_study(tmp_path / "study")
    data_set = build_study(tmp_path)
    assert data_set.name == "study" and [info.name for info in data_set.classes] == ["Stroma", "Tumor"]
    assert [info.colour for info in data_set.classes] == [(0, 200, 0), (200, 0, 0)]
    assert data_set.network_microns_per_pixel == 0.5
    image, label = labels(data_set, "slide1")
    with Image.open(tmp_path / "study" / "annotated" / "slide1.png") as stored:
        np.testing.assert_array_equal(image, np.asarray(stored))
    expected = np.full((300, 400), 255, np.uint8)
    expected[30:90, 20:80], expected[100:190, 200:290] = 1, 0
    np.testing.assert_array_equal(label, expected)
    assert (labels(data_set, "more0")[1] == 255).all()
    told = data_set.images["slide1"]
    assert told.mm2 == pytest.approx({"Stroma": 8100 * 0.25e-6, "Tumor": 3600 * 0.25e-6})
    assert told.regions == {"Stroma": 1, "Tumor": 1} and told.tiles == {"Stroma": 1, "Tumor": 1}
    assert told.role == "annotated" and told.patient == "slide1" and (told.height, told.width) == (300, 400)
    assert data_set.splits.units[0].fractions == {"1/2": 1, "1/1": 3}


def test_the_pixel_size_is_chosen_once(tmp_path):
    study = tmp_path / "study"
    write_study(study, patients=1, unannotated=0)
    first = build_study(tmp_path, microns_per_pixel="")
    # The smaller of the two classes is 60 pixels or 33.9 µm across: 40 pixels of 0.85 µm, the next step is 1 µm.
    assert first.network_microns_per_pixel == 1.0
    assert first.notes[0] == "the network's pixels measure 1 µm: areas of Tumor measure 33.9 µm across"
    drawn = (feature("Tumor", square(0, 0, 15)), feature("Stroma", square(100, 100, 50)))
    write_geojson(study / "annotated" / "slide0.geojson", *drawn)
    again = build_study(tmp_path, microns_per_pixel="")
    assert again.network_microns_per_pixel == 1.0
    assert again.notes[0] == "the network's pixels measure 1 µm: as when the study was built before"
    assert build_study(tmp_path, microns_per_pixel="", overwrite=True).network_microns_per_pixel == 0.5


def test_the_pixel_size_of_the_network_and_lines(tmp_path):
    study = tmp_path / "study"
    write_study(study, patients=1, unannotated=0)
    drawn = (feature("Vessel", [[100, 50], [300, 50]], "LineString"), feature("Fat", square(40, 100, 160)))
    write_geojson(study / "annotated" / "slide0.geojson", *drawn)
    data_set = build_study(tmp_path, microns_per_pixel="2", stroke_width="8")
    (record,) = data_set.records
    assert (record.microns_per_pixel, record.height, record.width) == (2.0, 75, 100)
    _, label = labels(data_set, "slide0")
    # The line is 16 image pixels or 4 label pixels wide, with round ends, on rows 10.5 to 14.5.
    rows, columns = np.nonzero(label == 1)
    assert set(rows) == {10, 11, 12, 13, 14} - {14} and (columns.min(), columns.max()) == (23, 76)
    assert np.argwhere(label == 0).min(0).tolist() == [25, 10] and (label == 0).sum() == 40 * 40


def test_frames_and_what_nobody_annotated(tmp_path):
    study = tmp_path / "study"
    write_study(study, patients=1, unannotated=0)
    drawn = (feature("Region*", square(10, 10, 100)), feature("Tumor", square(20, 30, 60)))
    write_geojson(study / "annotated" / "slide0.geojson", *drawn, feature("Ignore*", square(90, 90, 40)))
    data_set = build_study(tmp_path)
    assert [info.name for info in data_set.classes] == ["background", "Tumor"]
    _, label = labels(data_set, "slide0")
    assert (label == 1).sum() == 3600 and (label == 0).sum() == 100 * 100 - 3600 - 20 * 20
    everything = build_study(tmp_path, unannotated="Other")
    assert [info.name for info in everything.classes] == ["Other", "Tumor"]
    _, label = labels(everything, "slide0")
    assert (label == 0).sum() == 300 * 400 - 3600 - 40 * 40 and (label == 255).sum() == 40 * 40


def test_a_table_of_classes(tmp_path):
    study = tmp_path / "study"
    write_study(study, patients=1, unannotated=0)
    drawn = (
        feature("Tumor", square(0, 0, 50)),
        feature("invasive", square(25, 25, 50)),
        feature("fold", square(0, 0, 9)),
    )
    write_geojson(study / "annotated" / "slide0.geojson", *drawn, feature("stroma", square(40, 0, 80)))
    (study / "classes.toml").write_text(
        'ignored = ["fold"]\n[[class]]\nname = "tumour"\naliases = ["tumor", "invasive"]\n[[class]]\nname = "stroma"\n'
    )
    _, label = labels(build_study(tmp_path), "slide0")
    assert label[2, 2] == 255 and label[20, 20] == 0 and label[60, 30] == 0  # a fold; tumour by both its names
    assert label[20, 45] == 1  # the later class wins


def test_masks(tmp_path):
    study = tmp_path / "study"
    write_image(study / "annotated" / "a.png")
    codes = np.zeros((300, 400), np.uint8)
    codes[:, 100:], codes[:, 399] = 1, 255
    Image.fromarray(codes).save(study / "annotated" / "a_mask.png")
    data_set = build_study(tmp_path)
    assert [info.name for info in data_set.classes] == ["background", "class 1"]
    np.testing.assert_array_equal(labels(data_set, "a")[1], codes)


def test_a_large_image_is_cut_and_every_annotated_pixel_is_in_one_tile(tmp_path):
    study = tmp_path / "study"
    write_image(study / "annotated" / "a.tif", 700, 900)
    drawn = (feature("Tumor", square(100, 100, 400)), feature("Stroma", square(620, 20, 250)))
    write_geojson(study / "annotated" / "a.geojson", *drawn)
    data_set = build_study(tmp_path, tile="128", mpp="0.5")
    whole = np.full((700, 900), 255, np.uint8)
    whole[100:500, 100:500], whole[20:270, 620:870] = 1, 0
    with tifffile.TiffFile(study / "annotated" / "a.tif") as file:
        pixels = file.asarray()
    found = np.full_like(whole, 255)
    source, trained_on = (data_set.source("train", labels=True, margins=margins) for margins in (False, True))
    for record in data_set.records:
        tile = source[record.position]
        place = np.s_[record.y : record.y + record.height, record.x : record.x + record.width]
        np.testing.assert_array_equal(tile["image"], pixels[place])
        assert record.annotated == bool((tile["label"] != 255).any())
        assert not ((tile["label"] != 255) & (found[place] != 255)).any()
        found[place] = np.where(tile["label"] != 255, tile["label"], found[place])
        expected = whole[place] if record.annotated else np.full(tile["label"].shape, 255)
        np.testing.assert_array_equal(trained_on[record.position]["label"], expected)  # its margin too
    np.testing.assert_array_equal(found, whole)
    assert data_set.pixels == {"train": [250 * 250, 400 * 400]}  # each once
    annotated = sum(record.annotated for record in data_set.records)
    assert 0 < annotated < len(data_set.records) < 40  # the others show tissue that nobody annotated


def test_unlabelled_tiles_lie_wherever_nothing_is_annotated(tmp_path):
    study = tmp_path / "study"
    write_image(study / "annotated" / "a.png", 640, 640)
    parts = [square(10, 10, 60), square(560, 560, 60)]  # in opposite corners, as one annotation
    write_geojson(study / "annotated" / "a.geojson", feature("Tumor", parts, kind="MultiPolygon"),
                  feature("Stroma", [[300, 20], [620, 340]], kind="LineString"))  # fmt: skip
    write_image(study / "annotated" / "b.png", 640, 640, seed=1)
    codes = np.full((640, 640), 255, np.uint8)
    codes[:100, :100], codes[50:90, 50:90] = 0, 1
    Image.fromarray(codes).save(study / "annotated" / "b_mask.png")
    (study / "classes.toml").write_text(
        'class = [{name = "Stroma", values = [0]}, {name = "Tumor", values = [1]}]', encoding="utf-8"
    )
    data_set = build_study(tmp_path, tile="128")
    for name, count in (("a", 1 + 1 + 5), ("b", 1)):
        own = [record for record in data_set.records if record.image == name]
        assert sum(record.annotated for record in own) == count and len(own) == 25


def test_unlabelled_tiles_in_parts_are_those_at_once(tmp_path, monkeypatch):
    write_study(tmp_path / "study", patients=1, unannotated=0)
    write_image(tmp_path / "study" / "unannotated" / "large.tif", 1280, 1280)
    options = {"tile": "128", "mpp": "0.5", "tiles_per_slide": "60"}
    whole = build_study(tmp_path, **options)
    monkeypatch.setattr("data_pipelines.study.cutting.CHUNK", 7 * 128**2)
    parts = build_study(tmp_path, **options, name="parts")
    assert [record.id for record in parts.records] == [record.id for record in whole.records]
    assert len(list(parts.path.glob("*array_record*"))) > len(list(whole.path.glob("*array_record*"))) + 7


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ('background = "normal"\nclass = [{name = "Stroma", aliases = ["normal"]}, {name = "Tumor"}]', {}),
        ('ignored = ["background"]\nclass = [{name = "Stroma"}, {name = "Tumor"}]', {}),
        ('class = [{name = "Stroma", aliases = ["normal"]}, {name = "Tumor"}]', {"unannotated": "normal"}),
    ],
)
def test_the_background_by_another_name(tmp_path, table, options):
    study = tmp_path / "study"
    write_image(study / "annotated" / "a.png")
    drawn = (feature("Region*", square(0, 0, 200)), feature("Tumor", square(20, 20, 60)))
    write_geojson(study / "annotated" / "a.geojson", *drawn, feature("Stroma", square(100, 100, 50)))
    (study / "classes.toml").write_text(table, encoding="utf-8")
    data_set = build_study(tmp_path, **options)
    assert [info.name for info in data_set.classes] == ["Stroma", "Tumor"]
    label = labels(data_set, "a")[1]
    free = 255 if "ignored" in table else 0
    assert label[5, 5] == free and label[30, 30] == 1 and label[120, 120] == 0
    assert label[250, 350] == (0 if options else 255)


def test_unlabelled_tiles_are_bounded_and_spread(tmp_path):
    study = tmp_path / "study"
    write_study(study, patients=1, unannotated=0)
    write_image(study / "unannotated" / "large.tif", 1280, 1280)
    data_set = build_study(tmp_path, tile="128", mpp="0.5", tiles_per_slide="7")
    own = [record for record in data_set.records if record.image == "large"]
    assert len(own) == 7 and own[0].y == 0 and own[-1].y > 1000
    none = build_study(tmp_path, tile="128", mpp="0.5", tiles_per_slide="0")
    assert not [record for record in none.records if not record.annotated]


def test_it_says_what_it_has_found(tmp_path, capsys):
    write_study(tmp_path / "study")
    (tmp_path / "study" / "patients.csv").write_text("image,patient\nslide0,P1\nslide1,P1\n")
    main(["folder", "--raw_dir", str(tmp_path / "study"), "--data_dir", str(tmp_path / "data")])
    said = capsys.readouterr().out
    for told in (
        r"slide1 +annotated +P1 +400 x 300 +0.5 +0.00292 +2 +1 +-",
        r"more0 +unannotated +more0 +400 x 300 +0.5 +- +- +- +1",
        r"Tumor +0.0027 +30.8 % +3 +3 +2",
        r"5 images of 4 patients, 2 of them annotated; 2 unlabelled tiles; the network sees 1 µm per pixel",
        r"Class Tumor has little annotation: 0.0027 mm²",
        r"check.html",
        r"configs/own.py --config.data.name=study --config.data.dir=",
        r"3 images are their own patients, not told by patients.csv, first slide2",
    ):
        assert re.search(told, said), told
    main(["folder", "--raw_dir", str(tmp_path / "study"), "--data_dir", str(tmp_path / "data")])
    assert capsys.readouterr().out.startswith("already built: ")


def test_names_are_shown_as_they_are(tmp_path, capsys):
    write_image(tmp_path / "study" / "annotated" / "a [red].png")
    drawn = (feature("tumour [/b]", square(0, 0, 60)), feature("stroma [red]", square(100, 100, 50)))
    write_geojson(tmp_path / "study" / "annotated" / "a [red].geojson", *drawn)
    main(["folder", "--raw_dir", str(tmp_path / "study"), "--data_dir", str(tmp_path / "my data")])
    said = capsys.readouterr().out
    assert all(name in said for name in ("a [red] ", "tumour [/b] ", "stroma [red] "))
    assert f"'--config.data.dir={tmp_path}/my data'" in said


def test_objects_by_number_and_classes_by_code_have_their_own_sizes(tmp_path):
    """Squares of 20 pixels two by two: as many classes, or as many objects."""
    values = np.zeros((300, 400), np.uint8)
    for number in range(36):
        row, column = divmod(number, 12)
        values[20 + row * 90 : 40 + row * 90, 5 + column * 32 : 25 + column * 32] = 1 + number // 2
    for kind, options in (("codes", {}), ("objects", {"mask": "instances"})):
        study = tmp_path / kind
        write_image(study / "annotated" / "a.png", microns=1.0)
        Image.fromarray(values).save(study / "annotated" / "a_mask.png")
        told = build("folder", study, tmp_path / "data", **options).notes[0]
        # 18 values: parts of 20 x 20 pixels are 22.6 µm across, two of them together 31.9.
        assert ("22.6 µm across" if kind == "codes" else "31.9 µm across") in told


def test_names_and_records_are_told_in_the_index(tmp_path):
    write_study(tmp_path / "study", patients=1)
    data_set = build_study(tmp_path, name="mine")
    index = json.loads((data_set.path / "index.json").read_text())
    told = index["images"]["slide0"]
    assert (told["file"], told["annotation"]) == ("annotated/slide0.png", "annotated/slide0.geojson")
    (tmp_path / "study").rename(tmp_path / "moved")
    moved = build("folder", tmp_path / "moved", tmp_path / "data", name="mine", microns_per_pixel="0.5")
    assert moved.fingerprint == data_set.fingerprint
    assert {record.image for record in open_data_set(tmp_path / "data", "mine").records} == set(index["images"])
