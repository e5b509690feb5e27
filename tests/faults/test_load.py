"""Much of everything: many pictures, long ones, specks, processes on one output. Prints what it took."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from peak_memory import peak_memory, reset_peak
from PIL import Image
from processes import ROOT, command, environment
from tiny_model import make_model
from writer_inputs import CLASSES, bands, write

from crcfp_jax.slides.writing.band import OutputGrid
from crcfp_jax.slides.writing.geojson import GeoJsonWriter

pytestmark = pytest.mark.slow
GIB = 2**30


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "model")


def tissue(height, width, seed=0):
    cells = np.random.default_rng(seed).integers(0, 2, (-(-height // 8), -(-width // 8)), np.uint8)
    pixels = np.full((height, width, 3), (200, 120, 170), np.uint8)
    pixels[np.kron(cells, np.ones((8, 8), np.uint8))[:height, :width] == 1] = (110, 40, 120)
    return pixels


def predict(model, output, *words):
    """Predicts in a process of its own; returns seconds and the greatest memory in bytes."""
    program = (
        "import runpy, sys, atexit; from peak_memory import peak_memory; "
        "atexit.register(lambda: print('peak', peak_memory())); "
        "sys.argv[0] = 'predict'; runpy.run_module('crcfp_jax.predict', run_name='__main__')"
    )
    started = time.monotonic()
    given = map(str, ["--model", model, "--output", output, "--mpp", "1", *words])
    done = subprocess.run(
        [sys.executable, "-c", program, *given],
        cwd=ROOT,
        env=environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return time.monotonic() - started, int(done.stdout.split("peak")[-1])


def test_two_thousand_small_pictures(model, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(2000):
        Image.fromarray(tissue(128, 128, number)).save(tmp_path / "in" / f"{number}.png", compress_level=1)
    seconds, peak = predict(model, tmp_path / "out", tmp_path / "in", "--formats", "mask,csv")
    again, _ = predict(model, tmp_path / "out", tmp_path / "in", "--formats", "mask,csv")
    print(f"\n2,000 pictures of 128 px: {seconds:.0f} s, peak {peak / GIB:.2f} GiB; found done again in {again:.0f} s")
    assert len((tmp_path / "out" / "summary.csv").read_text().splitlines()) == 2001
    assert peak < 2 * GIB


@pytest.mark.parametrize("size", [(1_000, 100_000), (100_000, 1_000)], ids=["wide", "high"])
def test_a_long_picture(model, tmp_path, size):
    tifffile.imwrite(tmp_path / "a.tif", tissue(*size), photometric="rgb", compression="zlib", rowsperstrip=64)
    seconds, peak = predict(model, tmp_path / "out", tmp_path / "a.tif", "--tile", 256)
    print(f"\n{size[1]} x {size[0]} pixels: {seconds:.0f} s, peak {peak / GIB:.2f} GiB")
    found = json.loads((tmp_path / "out" / "a.tif" / "result.json").read_text())
    assert found["input"]["size"] == list(size) and peak < 3 * GIB


def test_a_million_specks(tmp_path):
    side = 4000
    classes = np.zeros((side, side), np.uint8)
    classes[::4, ::4] = 1
    grid = OutputGrid(side, side, (1.0, 1.0), 1.0)
    took = {}
    reset_peak()
    before = peak_memory()
    for least in (20.0, 0.0):
        (tmp_path / str(least)).mkdir()
        started = time.monotonic()
        write(GeoJsonWriter(tmp_path / str(least), grid, CLASSES, least_area=least), bands(classes, height=256))
        text = (tmp_path / str(least) / "regions.geojson").read_text()
        took[least] = (time.monotonic() - started, text.count('"Feature"'), len(text))
    grown = (peak_memory() - before) / GIB
    print(f"\na million specks: least area -> seconds, regions, bytes: {took}; memory {grown:.2f} GiB more")
    assert (took[0.0][1], took[20.0][1]) == (10**6, 0)


def test_eight_processes_on_one_output(model, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(60):
        Image.fromarray(tissue(300, 300, number)).save(tmp_path / "in" / f"{number}.png", compress_level=1)
    words = command("predict", "--model", model, "--output", tmp_path / "out", "--mpp", "1", tmp_path / "in")
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(8)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, "\n".join(said)
    rows = (tmp_path / "out" / "summary.csv").read_text().splitlines()
    print(f"\n8 processes, 60 pictures: {time.monotonic() - started:.0f} s, {len(rows) - 1} rows")
    assert len(rows) == 61 and len(list((tmp_path / "out").glob("*/result.json"))) == 60
    assert not any("busy" in row for row in rows)
