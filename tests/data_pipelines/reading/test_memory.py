"""Memory while a picture is read, as the documentation states it: a process of its own measures its peak."""

import os
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from processes import ROOT

from data_pipelines.reading.open import open_slide
from data_pipelines.reading.tiff import _Segments

SIDE = 4096  # 16.8 million pixels
READ = """
import sys
from pathlib import Path
from peak_memory import peak_memory
from data_pipelines.reading.whole import read_image
read_image(Path(sys.argv[1]))
before = peak_memory()
read_image(Path(sys.argv[2]))
print(peak_memory() - before)
"""


OPEN = READ.replace("whole import read_image", "open import open_slide as read_image")


def pixels(side, channels, dtype=np.uint8):
    """Nearly empty, since it is size that counts."""
    array = np.full((side, side, channels), np.iinfo(dtype).max, dtype)
    array[: side // 2, : side // 3, 0] = 7
    return array


def write(folder, name, side, rows=None):
    """A picture of the kind that its name says."""
    path = folder / f"{side}-{name}"
    channels = 4 if "alpha" in name else 1 if "grey" in name else 3
    array = pixels(side, channels, np.uint16 if "deep" in name else np.uint8)
    if path.suffix == ".tif":
        kind = {"photometric": "rgb", "compression": "deflate", "predictor": True, "rowsperstrip": rows or side}
        tifffile.imwrite(path, array, extrasamples=[2][: channels - 3], metadata=None, **kind)
    elif "deep" in name:
        cv2.imwrite(str(path), array)
    else:
        settings = {".png": {"compress_level": 1}, ".jpg": {"progressive": "progressive" in name, "subsampling": 0}}
        Image.fromarray(array.squeeze()).save(path, **settings.get(path.suffix, {}))
    return path


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("a.png", 8),
        ("alpha.png", 8),
        ("grey.png", 8),
        ("a.jpg", 8),
        ("progressive.jpg", 12),
        ("a.bmp", 12),
        ("deep.png", 12),
        ("deep-alpha.png", 12),
    ],
)
def test_a_picture_takes_at_most_12_bytes_a_pixel(name, most, tmp_path):
    assert peak(write(tmp_path, name, 64), write(tmp_path, name, SIDE)) <= most * SIDE**2 + 2**25


@pytest.mark.parametrize(("name", "stored"), [("a.tif", 3), ("deep-alpha.tif", 8)])
def test_a_strip_takes_a_few_times_what_it_stores(name, stored, tmp_path):
    assert peak(write(tmp_path, name, 64), write(tmp_path, name, SIDE)) <= (3 * stored + 3) * SIDE**2 + 2**25


def peak(small, large, program=READ):
    """Bytes that reading the large one takes in a process that has read the small one."""
    command = [sys.executable, "-c", program, str(small), str(large)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])
    environment = os.environ | {"PYTHONPATH": paths}
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def test_one_part_at_a_time_is_looked_at_for_the_greatest_value(tmp_path):
    for side in (64, SIDE):
        write(tmp_path, "deep-alpha.tif", side, rows=side // 16)
    small, large = tmp_path / "64-deep-alpha.tif", tmp_path / f"{SIDE}-deep-alpha.tif"
    with open_slide(large) as slide:
        assert slide.notes
    assert peak(small, large, OPEN) <= 4 * 8 * SIDE**2 / 16 + 2**26


def test_a_segment_is_decoded_once_whatever_its_size_and_however_many_ask(tmp_path, monkeypatch):
    monkeypatch.setattr("data_pipelines.reading.tiff.CACHE", 100)  # bytes: less than a strip
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="deflate", rowsperstrip=64)
    decoded = []
    read = _Segments.read

    def slow_read(self, index, convert):
        decoded.append(index)
        time.sleep(0.2)
        return read(self, index, convert)

    monkeypatch.setattr(_Segments, "read", slow_read)
    with open_slide(tmp_path / "a.tif") as slide:
        slide._cache.clear()
        decoded.clear()
        found = {}
        threads = [
            threading.Thread(target=lambda row=row: found.update({row: slide.read(0, row, 0, 8, 48)}))
            for row in range(0, 64, 8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        slide.read(0, 3, 3, 5, 5)
    assert decoded == [0]
    np.testing.assert_array_equal(np.concatenate([found[row] for row in range(0, 64, 8)]), pixels)
