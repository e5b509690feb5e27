"""`python -m crcfp_jax.suggest` on pictures that are made here."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import SIDE, make_model

from crcfp_jax.common.errors import UserError
from crcfp_jax.suggest.__main__ import main
from data_pipelines.annotations.files import read_annotations
from data_pipelines.annotations.table import is_frame
from data_pipelines.synthesis import synthesise

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Two pictures with pixels of 0.5 µm, of which the model sees 2 x 2 as one."""
    folder = tmp_path_factory.mktemp("slides")
    for number, hospital in enumerate(("H11", "H12")):
        image, _ = synthesise(1, hospital, number, 192)
        large = Image.fromarray(np.kron(image, np.ones((2, 2, 1), np.uint8)))
        large.save(folder / f"{hospital}.png", dpi=(50800, 50800))
    return folder


def run(model, output, *words):
    return main(["--model", str(model), "--output", str(output), *map(str, words)])


def rows(output):
    with open(output / "suggestions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_rectangles_table_and_sheet(model, slides, tmp_path, capsys):
    assert run(model, tmp_path / "s", slides, "--regions", 5) == 0
    found = rows(tmp_path / "s")
    assert [row["rank"] for row in found] == list("12345")
    assert {(row["width"], row["width_microns"]) for row in found} == {(f"{2 * SIDE:.1f}", f"{SIDE:.1f}")}
    said = capsys.readouterr().out
    assert re.search(r"suggest 1: H1[12]\.png, (unsure between|mostly) ", said)
    assert "doesn't tell what it was trained on" in said  # the tiny model has never been trained
    drawn = {}
    for path in sorted((tmp_path / "s").glob("*.geojson")):
        name = path.name.removesuffix(".geojson")
        for annotation in read_annotations(path).annotations:
            assert is_frame(annotation.name)
            drawn[annotation.label.removeprefix("suggest ")] = (name, annotation.geometry.bounds)
    for row in found:
        left, top, width, height = (float(row[key]) for key in ("left", "top", "width", "height"))
        assert left % (2 * SIDE) == top % (2 * SIDE) == 0  # places lie side by side
        assert drawn[row["rank"]] == (row["input"], (left, top, left + width, top + height))
    feature = json.loads(next((tmp_path / "s").glob("*.geojson")).read_text())["features"][0]
    assert feature["properties"]["objectType"] == "annotation" and feature["properties"]["measurements"].keys() == {
        "uncertainty",
        "novelty",
    }
    with Image.open(tmp_path / "s" / "suggestions.png") as sheet:
        assert sheet.width > 1000 and np.asarray(sheet).std() > 10


def test_again_and_in_another_order(model, slides, tmp_path):
    run(model, tmp_path / "a", slides, "--regions", 4)
    run(model, tmp_path / "b", slides / "H12.png", slides / "H11.png", "--regions", 4)
    assert {tuple(row.items()) for row in rows(tmp_path / "a")} == {tuple(row.items()) for row in rows(tmp_path / "b")}


def test_larger_places_and_fewer_than_asked(model, slides, tmp_path, capsys):
    run(model, tmp_path / "s", slides / "H11.png", "--regions", 50, "--size", 3 * SIDE)
    found = rows(tmp_path / "s")
    assert {row["width"] for row in found} == {f"{6 * SIDE:.1f}"} and len(found) <= 4
    assert f"{len(found)} places only: the inputs have no more with tissue" in capsys.readouterr().out


def test_what_is_there_is_replaced_when_asked_only(model, slides, tmp_path):
    run(model, tmp_path / "s", slides, "--regions", 6)
    with pytest.raises(UserError, match="holds suggestions: give --overwrite to replace them, or another --output"):
        run(model, tmp_path / "s", slides, "--regions", 1)
    run(model, tmp_path / "s", slides, "--regions", 1, "--overwrite")
    assert len(list((tmp_path / "s").glob("*.geojson"))) == len(rows(tmp_path / "s")) == 1
    table = tmp_path / "s" / "suggestions.csv"  # as a spreadsheet may save it
    for text in (table.read_text().replace(",", ";").encode(), "rank,input\n1,M\xfcller\n".encode("cp1252")):
        table.write_bytes(text)
        with pytest.raises(UserError, match=r"suggestions\.csv is not as it was written: delete the folder, or give"):
            run(model, tmp_path / "s", slides, "--overwrite")


def test_a_damaged_slide_is_named_and_the_others_go_on(model, slides, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes((slides / "H11.png").read_bytes()[:999])
    assert run(model, tmp_path / "s", tmp_path / "bad.png", slides, "--regions", 2) == 1
    assert re.search(r"failed: bad\.png: .*is truncated or damaged", capsys.readouterr().out)
    assert len(rows(tmp_path / "s")) == 2


def test_faults_in_one_line(model, slides, tmp_path):
    Image.fromarray(np.full((200, 200, 3), 245, np.uint8)).save(tmp_path / "glass.png", dpi=(25400, 25400))
    with pytest.raises(UserError, match="no place to suggest: no input has a place that is tissue by half"):
        run(model, tmp_path / "s", tmp_path / "glass.png")
    with pytest.raises(UserError, match="--regions 0: give a number from 1 to 50"):
        run(model, tmp_path / "s", slides, "--regions", 0)
    for size in ("nan", "0", "-5"):
        with pytest.raises(UserError, match=f"--size {size}: give µm of a place's side, more than 0"):
            run(model, tmp_path / "s", slides, "--size", size)
    older = make_model(tmp_path / "older", embedding=False)
    with pytest.raises(UserError, match="older tells no features of places: export the model again with this version"):
        run(older, tmp_path / "s", slides)


def test_as_a_command(model, slides, tmp_path):
    words = [sys.executable, "-m", "crcfp_jax.suggest", "--model", model, "--output", tmp_path / "s", slides]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "open in QuPath" in done.stdout
