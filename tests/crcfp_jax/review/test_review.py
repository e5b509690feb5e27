"""`python -m crcfp_jax.review` on small runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from browser import check_page
from quick_compilation import FLAGS
from studies import feature, square, write_geojson, write_study

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from crcfp_jax.review import disagreement
from crcfp_jax.review.curves import curve_groups, draw_curves
from crcfp_jax.review.disagreement import places_of_tile, slide_box
from crcfp_jax.review.figures import intervals
from crcfp_jax.review.write import write_review
from data_pipelines.annotations.files import read_annotations
from data_pipelines.build import build
from data_pipelines.data_set import Record
from data_pipelines.source_image import SourceImage

ROOT = Path(__file__).parents[3]
CLASSES = (ClassInfo("stroma", (0, 200, 0)), ClassInfo("a < b & c", (200, 0, 0)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on a study, by its command: two steps of a tiny network."""
    folder = tmp_path_factory.mktemp("run")
    write_study(folder / "study", patients=3, unannotated=1)
    write_study(folder / "more", patients=1, unannotated=0)
    (folder / "study" / "test").mkdir()
    for suffix in ("png", "geojson"):
        shutil.move(folder / "more" / "annotated" / f"slide0.{suffix}", folder / "study" / "test" / f"last.{suffix}")
    drawn = (feature("Tumor", square(20, 30, 60)), feature("a < b & c", square(200, 100, 90), colour=(0, 200, 0)))
    write_geojson(folder / "study" / "annotated" / "slide1.geojson", *drawn)
    build("folder", folder / "study", folder / "data", microns_per_pixel="0.5")
    settings = {"train.steps": 2, "data.side": 32, "data.dir": folder / "data", "contrastive.negatives": 32}
    settings |= {"model.width": 8, "model.decoder_width": 32, "model.projection_dim": 8, "method": "supervised"}
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", "crcfp_jax.main", "--config", "configs/own.py:tiny", "--workdir", folder / "run"]
    environment = os.environ | {"XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [*command, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all on one page in review.html" in done.stdout
    return folder / "run"


def test_every_finished_run_has_one_and_it_opens_in_a_browser(run):
    page = run / "review.html"
    text = page.read_text()
    images = text.count("<img")
    assert images >= 4 and "http://" not in text and "https://" not in text and "<script" not in text
    for told in ("a &lt; b &amp; c", "one patient is too few to tell", "Settings that are not the defaults"):
        assert told in text
    assert "supervised, study 1/1, seed 1" in text and "Class " in text
    assert "last checkpoint (step 2), 3 labelled tiles, 0.5 µm per pixel" in text
    assert "1 unlabelled tiles, which supervised does not look at" in text
    check_page(page, images)


def test_places_for_qupath(run):
    index = json.loads((run.parent / "data" / "study" / "1.0.0" / "index.json").read_text())
    names = []
    for path in sorted((run / "review").glob("*.geojson")):
        assert path.stem in index["images"]
        for annotation in read_annotations(path).annotations:
            left, top, right, bottom = annotation.geometry.bounds
            assert 0 <= left < right <= 400 and 0 <= top < bottom <= 300
            names.append(annotation.label)
    assert names and all(re.fullmatch(r"disagree \d+: .+ -> .+", name) for name in names)


def test_a_run_whose_data_have_gone(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    settings = json.loads((run / "config.json").read_text())
    settings["data"]["dir"] = str(tmp_path / "nowhere")
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    text = write_review(tmp_path / "run").read_text()
    assert "is not built in" in text or "no recipe of that name" in text
    assert "<svg" in text


def test_a_run_without_test_images(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "pictures" / "test.png").unlink()
    settings = json.loads((run / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings | {"data": settings["data"] | {"dir": "gone"}}))
    text = write_review(tmp_path / "run").read_text()
    assert "No test images: nothing here says how good the model is" in text and "No pictures were made" in text
    assert "python -m crcfp_jax.crossvalidate --config CONFIG --config.data.name=study --workdir V" in text


def test_no_run_and_no_finished_one(tmp_path):
    with pytest.raises(UserError, match="is not the folder of a finished run"):
        write_review(tmp_path)


def test_places_are_ranked_by_how_sure_the_model_is():
    label = np.zeros((20, 40), np.uint8)
    label[:, 30:] = 255
    probabilities = np.zeros((20, 40, 2), np.float32)
    probabilities[..., 0], probabilities[..., 1] = 0.9, 0.1
    probabilities[2:8, 2:8] = 0.3, 0.7  # 36 pixels, 0.4 more for the wrong class: 14.4
    probabilities[10:15, 20:25] = 0.0, 1.0  # 25 pixels, 1 more: 25
    probabilities[:, 30:] = 0.0, 1.0  # where nothing is annotated
    probabilities[18, 0] = 0.0, 1.0  # a single pixel
    record = Record("t", "train", 0, "h", "p", "slide", 100, 200, True, 1.0, 20, 40)
    first, second = places_of_tile(record, "training", np.zeros((20, 40, 3), np.uint8), label, probabilities, CLASSES)
    assert (first.top, first.left, first.height, first.width) == (10, 20, 5, 5)
    assert first.weight == pytest.approx(25) and first.confidence == pytest.approx(1)
    assert (first.annotated, first.predicted) == ("stroma", "a < b & c")
    assert second.weight == pytest.approx(14.4, rel=1e-5) and second.confidence == pytest.approx(0.7)

    finer = {"slide": SourceImage("slide.svs", "annotated", 900, 900, 0.25, "p", "h")}
    assert slide_box(first, finer) == (100 + 80, 200 + 40, 100 + 100, 200 + 60)
    assert slide_box(first, {}) == (120, 210, 125, 215)


def make_place(image="slide", weight=1.0):
    record, pixels = Record("t", "train", 0, "h", "p", image, 0, 0, True, 1.0, 8, 8), np.zeros((8, 8), np.uint8)
    picture = np.zeros((8, 8, 3), np.uint8)
    return disagreement.Place(record, "training", weight, 1, 2, 3, 4, "stroma", "tumour", 0.9, picture, pixels, pixels)


def test_the_heaviest_places_also_where_they_weigh_the_same():
    # A model that is entirely sure gives places of equal size equal weights.
    places = [make_place(f"slide{number}", 2.0 if number == 14 else 1.0) for number in range(15)]
    found = [place.record.image for place in disagreement.heaviest(places)]
    assert found == ["slide14", *(f"slide{number}" for number in range(11))]


def test_images_of_like_names_have_files_of_their_own(tmp_path):
    names = ["case 1/slide", "case_1_slide", "CASE_1_slide", "../slide"]
    (tmp_path / "old.geojson").write_text("")
    paths = disagreement.write_geojson(tmp_path, [make_place(name) for name in names], {})
    assert {name: path.name for name, path in paths.items()} == {
        "case 1/slide": "case_1_slide.geojson",
        "case_1_slide": "case_1_slide-2.geojson",
        "CASE_1_slide": "CASE_1_slide-3.geojson",
        "../slide": ".._slide.geojson",
    }
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())


def test_intervals_are_over_patients():
    def row(patient, hits):
        return {"image": "x", "patient": patient, "confusion_matrix": [[hits, 100 - hits], [0, 100]]}

    result = {"per_class": {"a": {}, "b": {}}, "per_image": [row("p", 90), row("q", 80), row("r", 70), row("p", 90)]}
    found = intervals(result)
    low, high = found.of["accuracy"]
    assert found.patients == 3 and low < 91.25 < high and set(found.of_classes) == {"a", "b"}
    assert intervals(result | {"per_image": result["per_image"][:1]}).why_none.startswith(
        "No intervals: one patient is too few"
    )
    assert intervals({"per_class": {}}).why_none.startswith("No intervals: an older version")


def test_curves():
    rows = [{"step": step, "loss/total": 1 / step, "learning_rate": 0.1, "note": "x"} for step in (1, 2, 4)]
    groups = curve_groups([*rows, {"step": 5, "loss/total": float("nan")}])
    assert groups == {
        "loss": {"total": [(1, 1.0), (2, 0.5), (4, 0.25)]},
        "learning rate": {"learning rate": [(1, 0.1), (2, 0.1), (4, 0.1)]},
    }
    assert curve_groups([{"step": 1, "input_wait": 0.5}]) == {
        "share of the time that input was waited for": {"share of the time that input was waited for": [(1, 0.5)]}
    }
    named = curve_groups([{"step": 1, "validation/mean_iou": 5.0, "loss/cross_patch": 1.0, "pseudo_labels/a_b": 0.5}])
    assert [(title, list(curves)) for title, curves in named.items()] == [
        ("loss", ["cross-patch"]), ("validation, %", ["mIoU"]), ("share of the pseudo-labels", ["a_b"]),
    ]  # fmt: skip
    long = draw_curves("loss", {"total": [(step, 1.0) for step in range(1, 1002)]})
    assert '410.0,10.0" stroke' in long  # the last point is drawn, however many are left out
    drawn = draw_curves("loss", groups["loss"])
    assert 'points="48.0,10.0 ' in drawn and "410.0,145.0" in drawn  # the first at the top left; 0.25 of 1 at the right
