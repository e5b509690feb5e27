"""The build of a study, as a user runs it: what it stores, what it says, and what it refuses in one line."""

import json
import os
import re

import numpy as np
import pytest
import tifffile
from PIL import Image
from studies import feature, square, write_geojson, write_image, write_study

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build, main
from data_pipelines.data_set import open_data_set


def build_study(tmp_path, microns_per_pixel="0.5", **options):
    options["microns_per_pixel"] = microns_per_pixel
    return build("folder", tmp_path / "study", tmp_path / "data", **options)


def labels(data_set, image):
    """Image and label of the only tile of an image."""
    (record,) = (each for each in data_set.records if each.image == image)
    tile = data_set.source(record.split, labels=True)[record.position]
    return tile["image"], tile["label"]


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


def test_another_study_does_not_take_the_place_of_one(tmp_path):
    write_study(tmp_path / "study", patients=2, unannotated=0)
    build_study(tmp_path)
    for path in (tmp_path / "study" / "annotated").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    message = (
        f"{tmp_path}/data/study/1.0.0 was built of other images, such as annotated/slide0.png: give this study another "
        "--name, or replace that one with --overwrite"
    )
    assert refuse(tmp_path) == message
    assert sorted(build_study(tmp_path, name="mine").images) == ["other_slide0", "other_slide1"]
    assert sorted(build_study(tmp_path, overwrite=True).images) == ["other_slide0", "other_slide1"]


def test_a_source_without_tiles_leaves_the_others_stored(tmp_path, monkeypatch):
    study = tmp_path / "study"
    write_study(study, patients=1, unannotated=1)
    Image.fromarray(np.full((300, 400, 3), 250, np.uint8)).save(study / "unannotated" / "glass.png", dpi=(50800,) * 2)
    assert "glass" in build_study(tmp_path).images
    write_image(study / "unannotated" / "new.png", seed=7)
    opened = []
    monkeypatch.setattr("data_pipelines.study.cutting.open_slide", _noting(opened))
    build_study(tmp_path)
    assert opened == ["new"]


def test_what_was_left_out_once_is_read_again(tmp_path, monkeypatch):
    from data_pipelines.study import cutting

    write_study(tmp_path / "study", patients=2, unannotated=1)

    def fail(path):
        if path.stem == "slide1":
            raise UserError(f"{path} is on a drive that is away")
        return open_slide(path)

    open_slide = cutting.open_slide
    monkeypatch.setattr(cutting, "open_slide", fail)
    first = build_study(tmp_path, skip_bad=True)
    assert len(first.skipped) == 1 and "slide1" in first.skipped[0]
    monkeypatch.setattr(cutting, "open_slide", open_slide)
    again = build_study(tmp_path)
    assert again.skipped == () and (labels(again, "slide1")[1] == 1).any()


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


def test_growing_reads_what_has_changed_only(tmp_path, monkeypatch):
    study = tmp_path / "study"
    write_study(study, patients=3, unannotated=2)
    write_image(study / "test" / "last.png", seed=50)
    write_geojson(study / "test" / "last.geojson", feature("Tumor", square(0, 0, 9)))
    first = build_study(tmp_path)
    stored = {file.stat().st_ino for file in first.path.glob("*array_record*")}
    written = (first.path / "index.json").stat().st_mtime_ns
    again = build_study(tmp_path)
    assert again.fingerprint == first.fingerprint
    assert (again.path / "index.json").stat().st_mtime_ns == written
    assert {file.stat().st_ino for file in again.path.glob("*array_record*")} == stored
    opened = []
    monkeypatch.setattr("data_pipelines.study.cutting.open_slide", _noting(opened))
    drawn = (feature("Tumor", square(0, 0, 30)), feature("Stroma", square(100, 100, 50)))
    write_geojson(study / "annotated" / "slide1.geojson", *drawn)
    write_image(study / "unannotated" / "more9.png", seed=9)
    (study / "unannotated" / "more0.png").unlink()
    changed = build_study(tmp_path)
    assert sorted(opened) == ["more9", "slide1"]
    assert sorted(changed.images) == ["last", "more1", "more9", "slide0", "slide1", "slide2"]
    assert (labels(changed, "slide1")[1] == 1).sum() == 900 and (labels(changed, "slide0")[1] == 1).sum() == 3600
    anew = build("folder", study, tmp_path / "other", microns_per_pixel="0.5")
    assert anew.fingerprint == changed.fingerprint  # as if it had been built at once
    assert sorted(path.name for path in changed.path.iterdir()) == sorted(path.name for path in anew.path.iterdir())
    pictures = [sorted(path.name for path in (each.path / "check").iterdir()) for each in (changed, anew)]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 8


def _noting(opened):
    from data_pipelines.reading.open import open_slide

    def note(path):
        opened.append(path.stem)
        return open_slide(path)

    return note


def test_a_new_class_leaves_unannotated_images_alone(tmp_path, monkeypatch):
    write_study(tmp_path / "study", patients=2, unannotated=2)
    build_study(tmp_path)
    opened = []
    monkeypatch.setattr("data_pipelines.study.cutting.open_slide", _noting(opened))
    drawn = (feature("Artery", square(0, 0, 30)), feature("Stroma", square(100, 100, 50)))
    write_geojson(tmp_path / "study" / "annotated" / "slide1.geojson", *drawn)
    data_set = build_study(tmp_path)
    assert sorted(opened) == ["slide0", "slide1"]
    assert [info.name for info in data_set.classes] == ["Artery", "Stroma", "Tumor"]
    assert (labels(data_set, "slide0")[1] == 2).sum() == 3600 and (labels(data_set, "more1")[1] == 255).all()


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


def refuse(tmp_path, **options):
    """The one line that a build ends with, without the folder's name."""
    with pytest.raises(UserError) as told:
        build_study(tmp_path, **options)
    assert "\n" not in str(told.value)
    return str(told.value).replace(f"{tmp_path}/study/", "")


MEND = "; mend it, or leave it out with --skip_bad"


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (
            [feature(None, square(0, 0, 9))],
            "annotation 1 has no class: give it one where it was drawn (in QuPath: Set class), or write unclassified ="
            ' "NAME" into classes.toml',
        ),
        (
            [feature("Tumor", square(0, 0, 9)), feature("Tumor", square(400, 0, 9))],
            "annotation 2 of Tumor lies outside the image of 400 x 300 pixels: move or delete what is outside",
        ),
        (
            [feature("Tumor", square(5000, 0, 9))],
            "annotation 1 of Tumor lies outside the image of 400 x 300 pixels (is it drawn on another image, or at"
            " another size?): move or delete what is outside",
        ),
        (
            [feature("Tumor", [5, 5], "Point")],
            "holds no annotation with an area, but 1 points (first annotation 1): draw areas or lines",
        ),
        ([], "holds no annotation: draw something, or move its image to unannotated/"),
    ],
)
def test_annotations_that_are_of_no_use(tmp_path, drawn, message):
    write_study(tmp_path / "study")
    write_geojson(tmp_path / "study" / "annotated" / "slide1.geojson", *drawn)
    separator = ": " if not message.startswith("holds") else " "
    assert refuse(tmp_path) == f"annotated/slide1.geojson{separator}{message}{MEND}"
    left = build_study(tmp_path, skip_bad=True)
    assert "slide1" not in left.images and len(left.skipped) == 1 and len(left.images) == 4


def test_a_class_that_the_table_does_not_know(tmp_path):
    write_study(tmp_path / "study")
    (tmp_path / "study" / "classes.toml").write_text('[[class]]\nname = "Tumor"\n[[class]]\nname = "fat"\n')
    assert refuse(tmp_path) == (
        "annotated/slide0.geojson: annotation 2 is of class 'Stroma', which classes.toml doesn't know (Tumor, fat): add"
        " it, or an alias, or list it under ignored (3 such faults in all)" + MEND
    )


def test_a_class_of_the_table_that_nobody_annotated_is_told(tmp_path, capsys):
    write_study(tmp_path / "study")
    rows = "".join(f'[[class]]\nname = "{name}"\n' for name in ("Tumor", "Stroma", "necrosis"))
    (tmp_path / "study" / "classes.toml").write_text(rows)
    main(["folder", "--raw_dir", str(tmp_path / "study"), "--data_dir", str(tmp_path / "data")])
    assert "Class necrosis has no annotated pixel, so it can't be learned" in capsys.readouterr().out


def test_annotations_beyond_the_edge_are_cut_and_told(tmp_path):
    write_study(tmp_path / "study", patients=1)
    drawn = (feature("Tumor", square(390, 0, 50)), feature("Stroma", square(0, 0, 9)))
    write_geojson(tmp_path / "study" / "annotated" / "slide0.geojson", *drawn)
    data_set = build_study(tmp_path)
    assert data_set.notes[0] == "slide0: 1 annotations cut at the image's edge, first annotation 1"
    assert (labels(data_set, "slide0")[1] == 1).sum() == 500


def test_one_class_only(tmp_path):
    write_study(tmp_path / "study", patients=1)
    write_geojson(tmp_path / "study" / "annotated" / "slide0.geojson", feature("Tumor", square(0, 0, 9)))
    assert refuse(tmp_path).startswith("one class only is annotated (Tumor), of which nothing can be told apart")


def test_no_pixel_size(tmp_path):
    write_study(tmp_path / "study", patients=1)
    write_image(tmp_path / "study" / "unannotated" / "bare.png", microns=None)
    assert refuse(tmp_path) == (
        "unannotated/bare.png doesn't say its pixel size: give --mpp, µm per pixel, for all that don't, or a column"
        " microns_per_pixel in patients.csv" + MEND
    )
    with_mpp = build_study(tmp_path, mpp="0.5")
    assert with_mpp.images["bare"].microns_per_pixel == 0.5
    (tmp_path / "study" / "patients.csv").write_text("image,patient,microns_per_pixel\nbare,P1,0.25\nslide0,P2,0.4\n")
    by_table = build_study(tmp_path)
    assert by_table.images["bare"].microns_per_pixel == 0.25 and by_table.images["slide0"].microns_per_pixel == 0.4
    assert by_table.notes[1].endswith("slide0.png: 0.4 µm per pixel by patients.csv, its file says 0.5")


def test_the_pixel_size_given_fills_gaps_only_and_says_so(tmp_path):
    write_study(tmp_path / "study", patients=1, unannotated=0)
    data_set = build_study(tmp_path, mpp="0.25")
    assert data_set.images["slide0"].microns_per_pixel == 0.5
    assert data_set.notes[0].endswith("slide0.png: 0.5 µm per pixel as its file says, not --mpp 0.25")


def test_pixel_sizes_a_factor_apart(tmp_path):
    write_study(tmp_path / "study")
    write_image(tmp_path / "study" / "unannotated" / "odd.png", microns=5.0)
    assert refuse(tmp_path) == (
        f"unannotated/odd.png has 5 µm per pixel and annotated/slide0.png 0.5, a factor of 10: correct the wrong one by"
        f" a column microns_per_pixel in patients.csv{MEND}"
    )
    assert "odd" not in build_study(tmp_path, skip_bad=True).images


def test_a_mask_of_another_size(tmp_path):
    write_image(tmp_path / "study" / "annotated" / "a.png")
    Image.fromarray(np.eye(30, dtype=np.uint8)).save(tmp_path / "study" / "annotated" / "a_mask.png")
    assert refuse(tmp_path) == (
        f"annotated/a_mask.png has 30 x 30 pixels, its image 400 x 300: a mask has the size of its image{MEND}"
    )


def test_a_truncated_slide_is_named_and_the_others_go_on(tmp_path):
    write_study(tmp_path / "study")
    path = tmp_path / "study" / "unannotated" / "more0.png"
    path.write_bytes(path.read_bytes()[:5000])
    said = refuse(tmp_path)
    assert said.startswith("unannotated/more0.png is truncated or damaged") and said.endswith(MEND)
    left = build_study(tmp_path, skip_bad=True)
    assert sorted(left.images) == ["more1", "slide0", "slide1", "slide2"] and "more0.png" in left.skipped[0]


def test_damage_that_shows_only_where_tiles_are_read(tmp_path):
    study = tmp_path / "study"
    write_study(study)
    tiles = np.random.default_rng(0).integers(100, 200, (1024, 1024, 3)).astype(np.uint8)
    path = study / "unannotated" / "tiled.tif"
    tifffile.imwrite(
        path, tiles, tile=(256, 256), compression="zlib", photometric="rgb", resolution=(20000, 20000), resolutionunit=3
    )
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[-1]
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = bytes(200)
    path.write_bytes(content)
    said = refuse(tmp_path)
    assert said.startswith("unannotated/tiled.tif: cannot read rows") and said.endswith(MEND)
    left = build_study(tmp_path, skip_bad=True)
    assert "tiled.tif" in left.skipped[0] and len(left.records) == 5


def test_a_study_that_changes_meanwhile(tmp_path, monkeypatch):
    write_study(tmp_path / "study")
    path = tmp_path / "study" / "annotated" / "slide1.geojson"
    from data_pipelines.study.cutting import _Canvas

    tile = _Canvas.tile

    def change(self, *arguments):
        os.utime(path, ns=(1, 1))
        return tile(self, *arguments)

    monkeypatch.setattr(_Canvas, "tile", change)
    said = refuse(tmp_path)
    assert said == f"annotated/slide1.geojson changed while it was read: run the build again{MEND}"


def test_a_patient_trains_or_tests(tmp_path):
    study = tmp_path / "study"
    write_study(study)
    write_image(study / "test" / "last.png")
    write_geojson(study / "test" / "last.geojson", feature("Tumor", square(0, 0, 9)))
    data_set = build_study(tmp_path)
    assert [record.split for record in data_set.records] == ["train"] * 5 + ["test"]
    (study / "patients.csv").write_text("image,patient\nlast,P1\nmore0,P1\n")
    assert refuse(tmp_path) == (
        f"unannotated/more0.png and test/last.png are both of patient P1, who can't train and test: move one{MEND}"
    )
    left = build_study(tmp_path, skip_bad=True)
    assert len(left.skipped) == 1 and {r.image: r.split for r in left.records if r.patient == "P1"} == {"last": "test"}


def test_one_name_in_two_parts_is_taken_once(tmp_path):
    study = tmp_path / "study"
    write_study(study, patients=2, unannotated=1)
    write_image(study / "unannotated" / "slide0.png", seed=90)
    write_image(study / "test" / "slide1.png", seed=91)
    write_geojson(study / "test" / "slide1.geojson", feature("Tumor", square(0, 0, 9)))
    data_set = build_study(tmp_path, skip_bad=True)
    assert len(data_set.skipped) == 2 and sorted(data_set.images) == ["more0", "slide0", "slide1"]
    assert (labels(data_set, "slide0")[1] == 1).sum() == (labels(data_set, "slide1")[1] == 1).sum() == 3600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mpp": "x"}, "--mpp x: give a number from 0.05 to 20"),
        ({"tile": "100.5"}, "--tile 100.5: give a whole number from 64 to 2048"),
        ({"stroke_width": "-1"}, "--stroke_width -1: give a number from 0.1 to 1000"),
        ({"mask": "rgb"}, "--mask rgb is unknown for folder; known: auto, instances"),
        ({"patient_pattern": "("}, "--patient_pattern is no regular expression"),
        ({"patient_pattern": "a"}, "--patient_pattern has no group"),
        ({"name": "a/b"}, "'a/b' can't be a data set's name"),
        ({"name": "glas"}, "'glas' is the name of a known data set"),
    ],
)
def test_options(tmp_path, options, message):
    write_study(tmp_path / "study", patients=1)
    assert refuse(tmp_path, **options).startswith(message)


def test_no_study(tmp_path):
    (tmp_path / "study" / "unannotated").mkdir(parents=True)
    write_image(tmp_path / "study" / "unannotated" / "a.png")
    said = refuse(tmp_path)
    assert "annotated holds no image: put images with their annotations" in said


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
