"""`python -m crcfp_jax.predict` on pictures that are made here, and on a real slide."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import shapely
import tifffile
from examples import EXAMPLES
from PIL import Image
from tiny_model import CLASSES, SIDE, make_model

from crcfp_jax.common.errors import UserError
from crcfp_jax.portable_model.folder import load_model
from crcfp_jax.predict import check_packages, main
from crcfp_jax.slides import formats, one_slide, strips
from crcfp_jax.slides.writing import mask, output, planes
from crcfp_jax.slides.writing.band import NOT_ANALYSED
from crcfp_jax.slides.writing.mask import MaskWriter
from data_pipelines.synthesis import synthesise
from data_pipelines.tiling import Tiling

ROOT = Path(__file__).parents[2]
ALL = "mask,overlay,geojson,csv,probabilities,uncertainty"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def forward(model):
    """The bare network: windows to probabilities and uncertainty, as NumPy arrays."""
    start = load_model(model).predictor(jax.devices()[:1], uncertainty=True)

    def call(windows):
        outputs = {name: np.asarray(values) for name, values in start(windows).items()}
        return outputs["probabilities"], outputs["uncertainty"]

    return call


def tissue(height, width):
    return np.ascontiguousarray(synthesise(2023, "H11", 0, max(height, width))[0][:height, :width])


def save(path, pixels, microns_per_pixel=1.0):
    """A PNG that says how large its pixels are."""
    inches = microns_per_pixel / 25400
    Image.fromarray(pixels).save(path, dpi=(1 / inches, 1 / inches))
    return path


def predict(model, output, *words):
    return main(["--model", str(model), "--output", str(output), *map(str, words)])


def stored(folder):
    """Probabilities [h, w, c], in 255ths, and class numbers [h, w]."""
    probabilities = tifffile.imread(folder / "probabilities.tif")
    return np.moveaxis(probabilities, 0, -1), np.asarray(Image.open(folder / "mask.png"))


def assert_same_classes(found, expected, probabilities):
    """Equal class numbers but where the best two are equally probable."""
    best = np.sort(probabilities, -1)
    clear = best[..., -1] - best[..., -2] > 1e-4
    assert clear.mean() > 0.9 and len(np.unique(expected)) > 1
    np.testing.assert_array_equal(found[clear], expected[clear])


def test_a_picture_of_one_window_is_the_bare_forward(model, forward, tmp_path):
    pixels = tissue(SIDE, SIDE)
    path = save(tmp_path / "one.png", pixels)
    assert predict(model, tmp_path / "out", path, "--everything", "--formats", ALL) == 0
    folder = tmp_path / "out" / "one.png"
    probabilities, uncertainty = forward(pixels[None])
    found, classes = stored(folder)
    assert np.abs(found / 255 - probabilities[0]).max() <= 0.5 / 255 + 1e-5
    assert_same_classes(classes, probabilities[0].argmax(-1), probabilities[0])
    assert sorted(file.name for file in folder.iterdir()) == [
        "areas.csv", "mask.png", "overlay.png", "probabilities.tif", "regions.geojson", "result.json", "uncertainty.png"
    ]  # fmt: skip
    result = json.loads((folder / "result.json").read_text())
    assert result["network"] == {"size": [SIDE, SIDE], "windows": 1, "of": 1, "megapixels": SIDE**2 / 1e6}
    counts = np.bincount(classes.ravel(), minlength=3)
    assert [result["areas"][name]["pixels"] for name, _ in CLASSES] == counts.tolist()
    assert result["areas"]["tumour"]["mm2"] == pytest.approx(counts[0] * 1e-6)
    assert uncertainty.max() > 0


def test_a_format_of_ones_own_is_a_writer_and_a_row(model, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setitem(formats.FORMATS, "counts", formats.Format("counts:CountWriter", "pixels of each class as text"))
    path = save(tmp_path / "one.png", tissue(SIDE, SIDE))
    assert predict(model, tmp_path / "out", path, "--everything", "--formats", "counts,mask") == 0
    folder = tmp_path / "out" / "one.png"
    counts = np.bincount(np.asarray(Image.open(folder / "mask.png")).ravel(), minlength=3)
    expected = "".join(f"{name}: {count}\n" for (name, _), count in zip(CLASSES, counts, strict=True))
    assert (folder / "counts.txt").read_text() == expected and counts.sum() == SIDE**2
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "counts (pixels of each class as" in " ".join(capsys.readouterr().out.split())


def test_a_larger_picture_is_its_windows_blended_one_by_one(model, forward, tmp_path):
    height, width = 90, 121
    pixels = tissue(height, width)
    path = save(tmp_path / "large.png", pixels)
    assert predict(model, tmp_path / "out", path, "--everything", "--formats", "mask,probabilities") == 0
    total, weights = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    ramp = [min(place + 0.5, SIDE - place - 0.5) ** 2 for place in range(SIDE)]
    weight = np.outer(ramp, ramp)[..., None]
    tiling = Tiling(height, width, SIDE, 24)
    for top in tiling.tops:
        for left in tiling.lefts:
            place = slice(top, top + SIDE), slice(left, left + SIDE)
            total[place] += weight * forward(pixels[place][None])[0][0]
            weights[place] += weight
    expected = total / weights
    found, classes = stored(tmp_path / "out" / "large.png")
    assert np.abs(found / 255 - expected).max() <= 0.5 / 255 + 1e-5
    assert_same_classes(classes, expected.argmax(-1), expected)


def test_batch_size_devices_and_bands_change_nothing(model, tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", tissue(150, 100))
    found = {}
    for name, batch_size, devices, slab in [("a", 16, 4, 2048), ("b", 3, 4, 10), ("c", 5, 1, 33)]:
        monkeypatch.setattr(strips, "SLAB_HEIGHTS", (slab, slab))
        everything = jax.local_devices()
        monkeypatch.setattr(jax, "local_devices", lambda *_, n=devices, all=everything, **__: all[:n])
        words = ["--everything", "--formats", "mask,probabilities", "--batch_size", batch_size]
        assert predict(model, tmp_path / name, path, *words) == 0
        monkeypatch.undo()
        found[name] = stored(tmp_path / name / "a.png")
    for name in "bc":
        assert np.abs(found[name][0].astype(int) - found["a"][0]).max() <= 1
        assert_same_classes(found[name][1], found["a"][1], found["a"][0] / 255)


def test_pictures_of_another_pixel_size_are_rescaled_and_their_results_scaled_back(model, tmp_path):
    pixels = tissue(128, 96)
    twice = np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1)
    plain = save(tmp_path / "plain.png", pixels)
    large = save(tmp_path / "large.png", twice, 0.5)
    assert predict(model, tmp_path / "out", plain, large, "--everything", "--formats", "mask,csv") == 0
    results = [json.loads((tmp_path / "out" / name / "result.json").read_text()) for name in ("plain.png", "large.png")]
    assert results[0]["network"] == results[1]["network"]
    assert results[1]["output"]["size"] == [256, 192] and results[1]["output"]["microns_per_pixel"] == 0.5
    one, two = (np.asarray(Image.open(tmp_path / "out" / name / "mask.png")) for name in ("plain.png", "large.png"))
    assert (two[::2, ::2] == one).mean() > 0.95  # probabilities are interpolated between the pixels
    for name, _ in CLASSES:
        mm2 = [result["areas"][name]["mm2"] for result in results]
        assert mm2[1] == pytest.approx(mm2[0], rel=0.1, abs=2e-4)


def sizes_and_notes(folder):
    found = {}
    for path in folder.glob("*/result.json"):
        given = json.loads(path.read_text())["input"]
        found[path.parent.name] = (given["microns_per_pixel"], given["notes"])
    return found


def test_mpp_fills_gaps_and_is_told_where_a_file_knows(model, tmp_path):
    path = save(tmp_path / "a.png", tissue(64, 64))  # 1 µm
    Image.fromarray(tissue(64, 64)).save(tmp_path / "sizeless.png")
    words = (path, tmp_path / "sizeless.png", "--formats", "csv")
    assert predict(model, tmp_path / "out", *words, "--mpp", "1.2") == 0
    (told,) = sizes_and_notes(tmp_path / "out")["a.png"][1]
    assert told.startswith("its file says 1 µm per pixel, which counts; --mpp 1.2 is for those that don't say")
    assert sizes_and_notes(tmp_path / "out") == {"a.png": (pytest.approx(1), [told]), "sizeless.png": (1.2, [])}
    assert predict(model, tmp_path / "same", *words, "--mpp", "1.01") == 0
    assert sizes_and_notes(tmp_path / "same") == {"a.png": (pytest.approx(1), []), "sizeless.png": (1.01, [])}


def test_what_of_a_small_picture_is_left_out_is_told(model, tmp_path):
    pixels = np.full((200, 200, 3), 244, np.uint8)
    pixels[:, :100] = tissue(200, 100)
    half = save(tmp_path / "half.png", pixels)
    whole = save(tmp_path / "whole.png", tissue(64, 64))
    assert predict(model, tmp_path / "out", half, whole, "--formats", "csv") == 0
    found = sizes_and_notes(tmp_path / "out")
    (note,) = found["half.png"][1]
    share = json.loads((tmp_path / "out" / "half.png" / "result.json").read_text())["tissue_share"]
    assert note == f"{1 - share:.0%} of it taken for glass and left out; --everything looks at all of it"
    assert 0.3 < share < 0.75 and found["whole.png"][1] == []


def test_force_mpp_overrules_the_file(model, tmp_path):
    path = save(tmp_path / "a.png", tissue(64, 64))
    assert predict(model, tmp_path / "out", path, "--force_mpp", "2", "--formats", "csv") == 0
    result = json.loads((tmp_path / "out" / "a.png" / "result.json").read_text())
    assert result["network"]["size"] == [128, 128] and result["settings"]["--force_mpp"] == 2
    told, note = result["input"]["notes"]
    assert told == "its file says 1 µm per pixel; --force_mpp 2 counts instead"
    assert note.startswith("its pixels of 2 µm are coarser than the 1 µm that the model was trained on")


def test_a_pixel_size_that_is_a_mistake_is_refused_before_the_work(model, tmp_path, capsys):
    printed = save(tmp_path / "printed.png", tissue(64, 64), 10.58)  # 2400 dpi
    plain = tmp_path / "sizeless.png"
    Image.fromarray(tissue(64, 64)).save(plain)
    assert predict(model, tmp_path / "out", printed, plain, "--mpp", "20") == 1
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: ")]
    microns = "in µm (about 0.25 at 40x, 0.5 at 20x)"
    times = "times as coarse as the 1 µm that the model was trained on"
    assert told[0].endswith(f"pixels of 10.6 µm are 11 {times}: if its file is wrong, give --force_mpp, {microns}")
    assert told[1].endswith(f"pixels of 20 µm are 20 {times}: give it {microns}")


def test_a_large_slide_has_the_networks_pixels_and_polygons_in_its_own(model, tmp_path, monkeypatch):
    for module in (mask, output, planes, one_slide):
        monkeypatch.setattr(module, "PNG_PIXELS", 1000)
    pixels = np.full((1200, 801, 3), 244, np.uint8)
    pixels[700:1100, 100:500] = tissue(400, 400)
    path = save(tmp_path / "a.png", pixels, 0.5)
    assert predict(model, tmp_path / "out", path, "--formats", ALL, "--least_area", "0") == 0
    folder = tmp_path / "out" / "a.png"
    classes = tifffile.imread(folder / "mask.tif")
    assert classes.shape == (600, 400)  # 400.5 network pixels
    rows, columns = np.nonzero(classes != NOT_ANALYSED)
    assert 300 < rows.min() <= 350 and 550 <= rows.max() < 600  # the tissue with its margin
    assert columns.min() <= 50 and 250 <= columns.max() < 300
    features = json.loads((folder / "regions.geojson").read_text())["features"]
    polygons = {name: [] for name, _ in CLASSES}
    for feature in features:
        geometry = shapely.geometry.shape(feature["geometry"])
        polygons[feature["properties"]["classification"]["name"]].append(geometry)
    for number, (name, _) in enumerate(CLASSES):
        back = [shapely.transform(polygon, lambda xy: xy / [801 / 400, 2]) for polygon in polygons[name]]
        again, once = inside(back, classes.shape), classes == number
        assert (again & once).sum() >= 0.99 * (again | once).sum()
    result = json.loads((folder / "result.json").read_text())
    square = (801 / 400 + 2) / 2 * 0.5 / 1000  # mm
    for number, (name, _) in enumerate(CLASSES):
        assert result["areas"][name]["mm2"] == pytest.approx((classes == number).sum() * square**2)
    uncertainty = tifffile.imread(folder / "uncertainty.tif")
    assert uncertainty.shape == (600, 400) and uncertainty[rows, columns].any()
    assert not uncertainty[classes == NOT_ANALYSED].any()


def test_smaller_than_a_window_and_all_background(model, tmp_path):
    small = save(tmp_path / "small.png", tissue(11, 20))
    glass = save(tmp_path / "glass.png", np.full((100, 80, 3), 245, np.uint8))
    assert predict(model, tmp_path / "out", small, glass, "--formats", ALL) == 0
    assert np.asarray(Image.open(tmp_path / "out/small.png/mask.png")).shape == (11, 20)
    result = json.loads((tmp_path / "out/glass.png/result.json").read_text())
    assert result["network"]["windows"] == 0 and result["tissue_share"] == 0
    assert result["input"]["notes"] == ["no tissue found; --everything looks at all of it"]
    assert (np.asarray(Image.open(tmp_path / "out/glass.png/mask.png")) == NOT_ANALYSED).all()
    assert json.loads((tmp_path / "out/glass.png/regions.geojson").read_text())["features"] == []


def test_bad_inputs_cost_no_other_and_are_told_at_the_end(model, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    save(folder / "good.png", tissue(40, 40))
    whole = save(tmp_path / "whole.png", tissue(200, 200)).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.tif").write_bytes(b"")
    (folder / "text.svs").write_text("not a slide")
    Image.fromarray(tissue(40, 40)).save(folder / "sizeless.png")
    assert predict(model, tmp_path / "out", folder) == 1
    told = capsys.readouterr().out
    for name, reason in [
        ("cut.png", "cut.png"),
        ("empty.tif", "is empty"),
        ("text.svs", "is no slide or picture"),
        ("sizeless.png", "doesn't say how large its pixels are: give --mpp"),
    ]:
        (line,) = [line for line in told.splitlines() if line.startswith(f"failed: {name}:")]
        assert reason in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".locks", "good.png", "summary.csv"]
    rows = csv.DictReader((tmp_path / "out" / "summary.csv").read_text().splitlines())
    bad = ("cut.png", "empty.tif", "text.svs", "sizeless.png")
    assert {row["input"]: row["state"] for row in rows} == {"good.png": "done"} | dict.fromkeys(bad, "failed")

    before = (tmp_path / "out" / "good.png" / "mask.png").stat().st_mtime_ns
    (folder / "cut.png").write_bytes(whole)
    for name in ("empty.tif", "text.svs", "sizeless.png"):
        (folder / name).unlink()
    assert predict(model, tmp_path / "out", folder) == 0
    assert "good.png: done before" in capsys.readouterr().out
    assert (tmp_path / "out" / "good.png" / "mask.png").stat().st_mtime_ns == before


NAMES = [*map(os.fsdecode, (b"caf\xe9.png", b"a" * 251 + b".png", b"=1+1.png", b"two\nlines.png", b"[b]x.png"))]


def test_names_of_every_kind(model, tmp_path):
    """In a process whose output can show ASCII only."""
    (tmp_path / "in").mkdir()
    for name in NAMES:
        save(tmp_path / "in" / name, tissue(40, 40))
    words = ["--model", model, "--output", tmp_path / "out", "--formats", "csv", tmp_path / "in"]
    command = [sys.executable, "-m", "crcfp_jax.predict", *map(str, words)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode("ascii").splitlines()
    for name in (r"caf\udce9.png", "a" * 251 + ".png", "=1+1.png", r"two\nlines.png", "[b]x.png"):
        assert any(line.startswith("[") and f"] {name}: " in line for line in lines)
    assert all((tmp_path / "out" / name / "result.json").is_file() for name in NAMES)
    with open(tmp_path / "out" / "summary.csv", newline="", encoding="utf-8") as file:
        found = {row["input"] for row in csv.DictReader(file)}
    assert found == {r"caf\udce9.png", "a" * 251 + ".png", "'=1+1.png", "two\nlines.png", "[b]x.png"}


def test_a_full_disk_leaves_nothing_behind(model, tmp_path, capsys, monkeypatch):
    path = save(tmp_path / "a.png", tissue(64, 64))

    def write(self, band):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MaskWriter, "write", write)
    assert predict(model, tmp_path / "out", path) == 1
    assert "the disk is full: free some space or choose another folder" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    assert predict(model, tmp_path / "out", path) == 1
    assert "make space or choose another --output" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".locks", "summary.csv"]


def test_a_defect_in_one_picture_is_shown_and_the_next_goes_on(model, tmp_path, capsys, monkeypatch):
    save(tmp_path / "a.png", tissue(40, 40)), save(tmp_path / "b.png", tissue(40, 40))
    write = MaskWriter.write

    def break_one(self, band):
        if "a.png" in self._folder.name:  # pictures are written side by side
            raise ZeroDivisionError("of its own")
        write(self, band)

    monkeypatch.setattr(MaskWriter, "write", break_one)
    assert predict(model, tmp_path / "out", tmp_path / "a.png", tmp_path / "b.png") == 1
    captured = capsys.readouterr()
    assert "failed: a.png: a defect of crcfp-jax (ZeroDivisionError: of its own)" in captured.out
    assert "Traceback" in captured.err
    assert (tmp_path / "out" / "b.png" / "result.json").is_file()


def test_too_large_a_batch_ends_the_command(model, tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", tissue(40, 40))

    def run_out(self, band):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99 bytes")

    monkeypatch.setattr(MaskWriter, "write", run_out)
    with pytest.raises(UserError, match="not enough memory for batches of 16 windows of 32 pixels: give a smaller"):
        predict(model, tmp_path / "out", path)
    assert not (tmp_path / "out" / "a.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--formats", "mask,pdf"], "--formats mask,pdf: pdf is unknown"),
        (["--tile", "8"], "--tile 8"),
        (["--overlap", "1"], "--overlap 1.0"),
        (["--mpp", "0"], "--mpp 0.0"),
        (["--least_area", "-1"], "--least_area -1: give µm², 0 or more"),
        (["--tile", "33"], "--tile 33: give a multiple of 4 pixels, the model's, such as 36$"),
        (["nowhere.svs"], "nowhere.svs: no such file or folder"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_is_made(model, tmp_path, words, told):
    path = save(tmp_path / "a.png", tissue(40, 40))
    with pytest.raises(UserError, match=told):
        predict(model, tmp_path / "out", path, *words)
    assert not (tmp_path / "out").exists()


def test_uncertainty_needs_auxiliary_classifiers(model, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(model, plain)
    card = json.loads((plain / "card.json").read_text())
    from crcfp_jax.portable_model.card import card_digest

    card |= {"uncertainty": False, "method": "supervised"}
    (plain / "card.json").write_text(json.dumps(card | {"card_sha256": card_digest(card)}))
    path = save(tmp_path / "a.png", tissue(40, 40))
    with pytest.raises(UserError, match=r"plain gives no uncertainty: method supervised has one classifier only"):
        predict(plain, tmp_path / "out", path, "--formats", "uncertainty")


def test_missing_packages_are_named():
    check_packages()
    with pytest.raises(UserError, match="predict needs openslide-python openslide-bin, tifffile, imagecodecs, shapely"):
        check_packages(lambda name: None)


@pytest.mark.multiprocess
def test_a_killed_process_leaves_nothing_that_looks_finished_and_the_next_goes_on(model, tmp_path):
    for name, side in (("a.png", 100), ("b.png", 1000)):
        save(tmp_path / name, tissue(side, side))
    words = ["--model", model, "--output", tmp_path / "out", tmp_path / "a.png", tmp_path / "b.png", "--batch_size", 4]
    command = [sys.executable, "-m", "crcfp_jax.predict", *map(str, words)]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache")}
    first, second = tmp_path / "out" / "a.png" / "result.json", tmp_path / "out" / ".b.png.part"
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        try:
            while not (first.is_file() and second.exists()):
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert first.is_file() and not (tmp_path / "out" / "b.png").exists()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "a.png: done before" in done.stdout
    assert (tmp_path / "out" / "b.png" / "result.json").is_file() and not second.exists()


def test_a_slide_cut_short_fails_alone(model, tmp_path, real_data, capsys):
    whole = (real_data / "slides" / "CMU-1-Small-Region.svs").read_bytes()
    (tmp_path / "cut.svs").write_bytes(whole[: len(whole) // 2])
    good = save(tmp_path / "good.png", tissue(40, 40))
    assert predict(model, tmp_path / "out", tmp_path / "cut.svs", good) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: ")]
    assert "cut.svs" in line and "copy it again" in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".locks", "good.png", "summary.csv"]


def test_an_altered_model_is_told(model, tmp_path):
    altered = shutil.copytree(model, tmp_path / "altered")
    with open(altered / "model.jaxexport", "r+b") as file:
        file.write(b"x")
    path = save(tmp_path / "a.png", tissue(40, 40))
    with pytest.raises(UserError, match=r"model\.jaxexport was altered after the export"):
        predict(altered, tmp_path / "out", path)
    assert not (tmp_path / "out").exists()


def test_a_real_slide(model, tmp_path, real_data):
    slide = real_data / "slides" / "CMU-1-Small-Region.svs"
    assert predict(model, tmp_path / "out", slide, "--formats", ALL, "--least_area", "0") == 0
    folder = tmp_path / "out" / slide.name
    result = json.loads((folder / "result.json").read_text())
    assert result["input"]["size"] == [2967, 2220] and result["input"]["microns_per_pixel"] == pytest.approx(0.499)
    assert 0.2 < result["tissue_share"] < 0.7
    assert result["network"]["windows"] < 0.8 * result["network"]["of"]
    classes = np.asarray(Image.open(folder / "mask.png"))
    assert classes.shape == (2967, 2220)
    features = json.loads((folder / "regions.geojson").read_text())["features"]
    geometries = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert all(geometry.is_valid for geometry in geometries)
    found = {name: [] for name, _ in CLASSES}
    for feature, geometry in zip(features, geometries, strict=True):
        found[feature["properties"]["classification"]["name"]].append(geometry)
    for number, (name, _) in enumerate(CLASSES):
        again, once = inside(found[name], classes.shape), classes == number
        assert (again & once).sum() >= 0.99 * (again | once).sum()


def inside(polygons, shape):
    """Pixels whose centres lie in one of the polygons."""
    marked = np.zeros(shape, bool)
    for polygon in polygons:
        left, top = (int(value) for value in polygon.bounds[:2])
        right, bottom = (math.ceil(value) for value in polygon.bounds[2:])
        rows, columns = np.mgrid[top : min(bottom, shape[0]), left : min(right, shape[1])]
        marked[rows, columns] |= shapely.contains_xy(polygon, columns + 0.5, rows + 0.5)
    return marked
