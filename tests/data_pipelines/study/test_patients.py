import re
from pathlib import Path

import pytest

from crcfp_jax.common.errors import UserError
from data_pipelines.study.files import StudyImage
from data_pipelines.study.patients import Belonging, find_belongings

IMAGES = [StudyImage(name, Path(f"{name}.svs"), "annotated") for name in ("a", "more/b", "c")]


def write(folder, text, **options):
    (folder / "patients.csv").write_text(text, **options)
    return find_belongings(folder, IMAGES, None)


def test_without_anything_each_image_is_its_own_patient(tmp_path):
    found = find_belongings(tmp_path, IMAGES, None)
    assert found.of["more/b"] == Belonging("more/b", "unknown")
    assert found.source == "each image is its own patient"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_table(tmp_path, separator):
    rows = ["image,patient,hospital,microns_per_pixel", "a,P1,North,", "more/b.svs,P1,,0.25", "c,,South,"]
    found = write(tmp_path, "\n".join(rows).replace(",", separator), encoding="utf-8-sig")
    assert found.of == {
        "a": Belonging("P1", "North"),
        "more/b": Belonging("P1", "unknown", 0.25),
        "c": Belonging("c", "South"),
    }
    assert found.faults == ()
    assert found.notes == ("1 images are their own patients, not told by patients.csv, first c",)


def test_a_table_that_names_some_images_and_more_columns(tmp_path):
    found = write(tmp_path, "Image,Patient,age\na,P1,60\n\nc,P2,71\n")
    assert found.of["more/b"] == Belonging("more/b", "unknown")
    assert found.notes == (
        f"{tmp_path}/patients.csv: columns not used: age",
        "1 images are their own patients, not told by patients.csv, first more/b",
    )


def test_a_table_that_names_no_image(tmp_path):
    found = write(tmp_path, "image,patient\na,P1\nx,P2\na,P3\n")
    assert found.faults == (
        f"{tmp_path}/patients.csv, line 3: 'x' is no image of the study: correct the line",
        f"{tmp_path}/patients.csv, line 4: 'a' comes a second time: remove one line",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\na", "has no column 'patient': its first line should be image,patient,hospital,microns_per_pixel"),
        ("", "has no column 'image'"),
        ("image,patient\na,P1,2", "line 2 has 3 cells for 2 columns: correct it"),
        ("image,patient,microns_per_pixel\na,P1,90", "line 2: microns_per_pixel '90': give a number from 0.05 to 20"),
        ("image,patient,microns_per_pixel\na,P1,x", "line 2: microns_per_pixel 'x': give a number"),
    ],
)
def test_faults_of_the_table(tmp_path, text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        write(tmp_path, text)


def test_one_patient_in_two_spellings(tmp_path):
    found = write(tmp_path, "image,patient\na,P 1\nc,p  1\n")
    assert found.faults == (f"{tmp_path}/patients.csv, line 3: 'P 1' and 'p  1' are one patient: spell it alike",)
    assert found.of["a"].patient == found.of["c"].patient == "P 1"  # where faults are left out


def test_a_table_in_another_encoding(tmp_path):
    with pytest.raises(UserError, match="is not in UTF-8"):
        write(tmp_path, "image,patient\na,Müller", encoding="latin-1")


def test_pattern(tmp_path):
    images = [StudyImage(f"P{n}_{part}", Path("x.svs"), "annotated") for n in (1, 2) for part in "ab"]
    found = find_belongings(tmp_path, images, re.compile("(P[0-9]+)_"))
    assert [found.of[image.name].patient for image in images] == ["P1", "P1", "P2", "P2"]
    named = find_belongings(tmp_path, images, re.compile("(?P<hospital>P)(?P<patient>[0-9])"))
    assert named.of["P2_a"] == Belonging("2", "P")
    with pytest.raises(UserError, match="fits no image, such as P1_a"):
        find_belongings(tmp_path, images, re.compile("(Q)"))
    (tmp_path / "patients.csv").write_text("image,patient\n")
    with pytest.raises(UserError, match="both tell the patients"):
        find_belongings(tmp_path, images, re.compile("(P)"))


def test_a_pattern_and_no_image_of_use(tmp_path):
    assert find_belongings(tmp_path, [], re.compile("(P[0-9]+)")).of == {}


def test_names_of_tcga_tell_patient_and_hospital(tmp_path):
    name = "TCGA-A7-A13E-01Z-00-DX1"
    found = find_belongings(tmp_path, [StudyImage(name, Path(f"{name}.svs"), "annotated"), IMAGES[0]], None)
    assert found.of == {name: Belonging("TCGA-A7-A13E", "A7"), "a": Belonging("a", "unknown")}
    assert found.source == "the names that TCGA gives"
