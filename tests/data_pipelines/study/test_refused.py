"""What the build of a study refuses, in one line, and what it does where that is left out."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from studies import MEND, build_study, feature, labels, refuse, square, write_geojson, write_image, write_study

from data_pipelines.build import main


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
