import pytest
from studies import write_geojson, write_image, write_study

from data_pipelines.study.files import find_files


def test_pairs_images_and_annotations_by_name(tmp_path):
    write_study(tmp_path, patients=1, unannotated=1)
    write_image(tmp_path / "annotated" / "more" / "region7.tif")
    write_image(tmp_path / "annotated" / "more" / "region7_mask.png")
    write_image(tmp_path / "annotated" / "case.1.png")
    write_geojson(tmp_path / "annotated" / "case.1.png.geojson")
    write_image(tmp_path / "test" / "last.png")
    write_geojson(tmp_path / "test" / "last.json")
    found = find_files(tmp_path)
    assert found.faults == () and found.notes == ()
    assert [(image.name, image.role, image.annotation and image.annotation.name) for image in found.images] == [
        ("case.1", "annotated", "case.1.png.geojson"),
        ("more/region7", "annotated", "region7_mask.png"),
        ("slide0", "annotated", "slide0.geojson"),
        ("last", "test", "last.json"),
        ("more0", "unannotated", None),
    ]
    assert [image.is_mask for image in found.images] == [False, True, False, False, False]


def only_fault(folder):
    (fault,) = find_files(folder).faults
    return fault.replace(f"{folder}/", "")


def test_an_image_without_annotation(tmp_path):
    write_image(tmp_path / "annotated" / "a.png")
    expected = "annotated/a.png has no annotation beside it: add a.geojson, or move it to unannotated/"
    assert only_fault(tmp_path) == expected


@pytest.mark.parametrize("name", ["a.geojson", "a.xml", "a.geojson.gz"])
def test_an_annotation_without_image(tmp_path, name):
    write_geojson(tmp_path / "annotated" / name)
    assert only_fault(tmp_path) == f"annotated/{name} has no image: put a.svs (or .png, .tif ...) beside it"


def test_two_images_of_one_stem(tmp_path):
    for name in ("a.png", "a.tif"):
        write_image(tmp_path / "annotated" / name)
    write_geojson(tmp_path / "annotated" / "a.geojson")
    assert only_fault(tmp_path) == "annotated/a.png and annotated/a.tif have one name: rename one"


def test_one_name_in_two_parts(tmp_path):
    write_study(tmp_path, patients=1, unannotated=0)
    write_image(tmp_path / "unannotated" / "slide0.png")
    expected = "annotated/slide0.png and unannotated/slide0.png have one name: remove or rename one"
    assert only_fault(tmp_path) == expected


def test_two_annotations_of_one_image(tmp_path):
    write_study(tmp_path, patients=1, unannotated=0)
    write_image(tmp_path / "annotated" / "slide0_mask.png")
    assert only_fault(tmp_path).startswith("annotated/slide0.png has 2 annotations")


def test_an_annotation_among_the_unannotated(tmp_path):
    write_image(tmp_path / "unannotated" / "a.png")
    write_image(tmp_path / "unannotated" / "a_mask.png")
    expected = "unannotated/a_mask.png is an annotation in unannotated/: move it and its image to annotated/"
    assert only_fault(tmp_path) == expected


def test_what_lies_beside_the_known_folders_is_told(tmp_path):
    write_study(tmp_path, patients=1, unannotated=0)
    (tmp_path / "tests").mkdir()
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "notes.txt").write_text("")
    found = find_files(tmp_path)
    known = "annotated, test, unannotated, patients.csv, classes.toml"
    assert found.faults == ()
    assert found.notes == (f"left out, since a study's folder holds {known}: notes.txt, tests",)


@pytest.mark.parametrize(("name", "meant"), [("Patients.csv", "patients.csv"), ("Unannotated", "unannotated")])
def test_almost_a_known_name(tmp_path, name, meant):
    write_study(tmp_path, patients=1, unannotated=0)
    (tmp_path / name).mkdir()
    assert only_fault(tmp_path) == f"{name} is left out: rename it {meant}"


def test_a_folder_that_a_link_leads_to(tmp_path):
    write_image(tmp_path / "drive" / "far.png")
    (tmp_path / "study" / "unannotated").mkdir(parents=True)
    (tmp_path / "study" / "unannotated" / "batch").symlink_to(tmp_path / "drive")
    (tmp_path / "drive" / "again").symlink_to(tmp_path / "drive")  # a loop
    assert [image.name for image in find_files(tmp_path / "study").images] == ["batch/far"]


def test_files_of_other_kinds_are_told(tmp_path):
    write_study(tmp_path, patients=1, unannotated=0)
    (tmp_path / "annotated" / "notes.txt").write_text("")
    assert find_files(tmp_path).notes == (f"1 files of other kinds are left out, first {tmp_path}/annotated/notes.txt",)
    write_image(tmp_path / "unannotated" / "scan.mrxs.png")  # a MIRAX slide has a folder of data of its name
    (tmp_path / "unannotated" / "scan.mrxs").write_bytes(b"")
    (tmp_path / "unannotated" / "scan").mkdir()
    (tmp_path / "unannotated" / "scan" / "Data0000.dat").write_bytes(b"")
    assert find_files(tmp_path).notes[0].startswith("1 files")
