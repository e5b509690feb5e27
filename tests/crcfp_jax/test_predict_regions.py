"""`python -m crcfp_jax.predict --regions`, and what is read back of the polygons that it writes."""

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image
from studies import feature, square, write_geojson
from tiny_model import CLASSES, make_model

from crcfp_jax.common.errors import UserError
from crcfp_jax.predict import main
from data_pipelines.annotations.files import read_annotations
from data_pipelines.annotations.painting import inside
from data_pipelines.synthesis import synthesise

NAMES = ('Tumör: <b>& "x" 腫瘍', "[red]Stroma[/blue]", ("[RED]Stroma[/blue] " * 20).strip())  # of a study's classes


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def save(path, height, width):
    """A PNG of tissue whose pixels are 1 µm."""
    path.parent.mkdir(exist_ok=True)
    pixels = np.ascontiguousarray(synthesise(2023, "H11", 0, max(height, width))[0][:height, :width])
    Image.fromarray(pixels).save(path, dpi=(25400, 25400))
    return path


def predict(model, output, *words):
    return main(["--model", str(model), "--output", str(output), "--everything", *map(str, words)])


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_areas_of_regions(model, tmp_path, capsys):
    words = save(tmp_path / "a.png", 120, 150), save(tmp_path / "b.png", 64, 64), "--formats", "mask,csv"
    drawn = feature("Region*", square(10.3, 20.7, 60)), feature("Region*", square(40, 50, 100))
    drawn[0]["properties"]["name"] = "core A"
    write_geojson(tmp_path / "drawn" / "a.geojson", *drawn, feature("Tumor", square(0, 0, 9)))
    assert predict(model, tmp_path / "plain", *words) == 0
    assert not (tmp_path / "plain" / "summary_by_region.csv").exists()
    capsys.readouterr()
    assert predict(model, tmp_path / "out", *words, "--regions", tmp_path / "drawn") == 0
    told = capsys.readouterr().out
    assert f"note: b.png: no regions, as no file in {tmp_path / 'drawn'} has this name" in told
    assert "note: a.geojson: what lies on the slide is counted of annotation 2 with 70 % inside" in told
    assert "region 1: core A" in told and "region 2 " in told
    for name, files in ("a.png", ["areas.csv", "areas_by_region.csv"]), ("b.png", ["areas.csv"]):
        folder = tmp_path / "out" / name
        assert sorted(path.name for path in folder.glob("*.csv")) == files
        assert (folder / "areas.csv").read_text() == (tmp_path / "plain" / name / "areas.csv").read_text()
    classes = np.asarray(Image.open(tmp_path / "out" / "a.png" / "mask.png"))
    result = result_of(tmp_path / "out" / "a.png")
    # From 10.3 to 70.3 lie the centres from 10.5 to 69.5, from 20.7 to 80.7 those from 21.5 to 80.5.
    for region, part in zip(result["regions"], (classes[21:81, 10:70], classes[50:, 40:140]), strict=True):
        counts = np.bincount(part.ravel(), minlength=3)
        assert [region["areas"][name]["pixels"] for name, _ in CLASSES] == counts.tolist()
        assert region["areas"]["tumour"]["share"] == counts[0] / part.size and region["not_analysed"]["pixels"] == 0
    assert [region["name"] for region in result["regions"]] == ["core A", ""]
    with open(tmp_path / "out" / "summary_by_region.csv", newline="", encoding="utf-8") as file:
        assert [(row["input"], row["region"]) for row in csv.DictReader(file)] == [("a.png", "1"), ("a.png", "2")]
    assert result_of(tmp_path / "out" / "b.png")["regions"] == []


def test_other_regions_are_other_settings(model, tmp_path, capsys):
    path, file = save(tmp_path / "a.png", 64, 64), tmp_path / "drawn.geojson"
    words = path, "--formats", "csv", "--regions", file
    write_geojson(file, feature("Region*", square(0, 0, 32)))
    assert predict(model, tmp_path / "out", *words) == 0
    assert predict(model, tmp_path / "out", *words) == 0
    assert "a.png: done before" in capsys.readouterr().out
    write_geojson(file, feature("Region*", square(0, 0, 16)))
    assert predict(model, tmp_path / "out", *words) == 1
    told = capsys.readouterr().out
    assert "was made with --regions 'drawn.geojson (SHA-256 " in told and "give --overwrite or another --output" in told
    assert predict(model, tmp_path / "out", *words, "--overwrite") == 0
    result = result_of(tmp_path / "out" / "a.png")
    assert result["output"]["files"] == ["areas.csv", "areas_by_region.csv"]  # nothing of what was put aside
    (region,) = result["regions"]
    assert sum(area["pixels"] for area in region["areas"].values()) == 256
    assert predict(model, tmp_path / "out", *words[:-2]) == 1  # without any


def test_regions_of_another_slide_fail_alone(model, tmp_path, capsys):
    words = save(tmp_path / "a.png", 64, 64), save(tmp_path / "b.png", 64, 64), "--formats", "csv", "--regions"
    write_geojson(tmp_path / "drawn" / "a.geojson", feature("Region*", square(500, 0, 32)))
    write_geojson(tmp_path / "drawn" / "b.geojson", feature("Tumor", square(0, 0, 32)))
    assert predict(model, tmp_path / "out", *words, tmp_path / "drawn") == 1
    told = capsys.readouterr().out
    assert "failed: a.png: " in told and "annotation 1 lies outside the slide of 64 x 64 pixels" in told
    assert "note: b.geojson has no Region*: each of its 1 areas is a region" in told
    (region,) = result_of(tmp_path / "out" / "b.png")["regions"]
    assert region["name"] == "Tumor"
    write_geojson(tmp_path / "c.geojson", feature("Tumor", square(0, 0, 32)))
    with pytest.raises(UserError, match=r"--regions .*c\.geojson: no input has this name; call it as its slide"):
        predict(model, tmp_path / "other", *words, tmp_path / "c.geojson")
    assert not (tmp_path / "other").exists()


def test_names_and_colours_come_back_as_they_were_drawn(tmp_path, capsys):
    """From the card through every file to what is read of the polygons, which cover exactly the pixels of the mask."""
    classes = [(name, colour) for name, (_, colour) in zip(NAMES, CLASSES, strict=True)]
    path = save(tmp_path / "a.png", 120, 150)
    formats = "mask,overlay,geojson,csv,probabilities", "--least_area", 0
    model = make_model(tmp_path / "model", classes=classes)
    assert predict(model, tmp_path / "out", path, "--formats", *formats) == 0
    assert "[red]Stroma[/blue]" in capsys.readouterr().out.replace("\n", "")
    folder = tmp_path / "out" / "a.png"
    with Image.open(folder / "mask.png") as mask:
        labels, palette = np.asarray(mask), np.reshape(mask.getpalette(), (-1, 3))
    assert palette[:3].tolist() == [list(colour) for _, colour in classes] and len(np.unique(labels)) == 3
    with open(folder / "areas.csv", newline="", encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == [*NAMES, "not_analysed"]
    assert list(result_of(folder)["areas"]) == list(NAMES)
    with tifffile.TiffFile(folder / "probabilities.tif") as file:
        channels = ElementTree.fromstring(file.ome_metadata).iterfind(".//{*}Channel")
        assert [channel.get("Name") for channel in channels] == list(NAMES)
    read = read_annotations(folder / "regions.geojson")
    assert read.notes == ()
    for number, (name, colour) in enumerate(classes):
        drawn = [annotation for annotation in read.annotations if annotation.name == name]
        assert {annotation.colour for annotation in drawn} == {colour}
        covered = sum(inside(annotation.geometry, 0, 0, *labels.shape).astype(int) for annotation in drawn)
        np.testing.assert_array_equal(covered, labels == number)
        # Of an outline's corners four more turn one way than the other, and each is cut off by an eighth of a pixel.
        holes = sum(len(annotation.geometry.interiors) for annotation in drawn)
        area = sum(annotation.geometry.area for annotation in drawn)
        assert area == pytest.approx(np.count_nonzero(labels == number) - (len(drawn) - holes) / 2, abs=1e-6)
    assert {annotation.name for annotation in read.annotations} == set(NAMES)
