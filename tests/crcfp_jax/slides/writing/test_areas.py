"""Areas by hand."""

import csv

import numpy as np
import pytest

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.areas import AreaCount, AreaWriter
from crcfp_jax.slides.writing.band import Band, OutputGrid

CLASSES = (ClassInfo("tumour", (200, 30, 30)), ClassInfo('stroma, "loose"', (30, 90, 200)), ClassInfo("fat", (9, 9, 9)))
ROWS = (np.array([[0, 0, 0, 1], [255, 255, 0, 1]], np.uint8), np.array([[255, 0, 1, 0]], np.uint8))


def band(top, classes):
    return Band(top, classes)


def test_areas_by_hand(tmp_path):
    writer = AreaWriter(tmp_path, OutputGrid(3, 4, (2.0, 2.0), 500.0), CLASSES)  # 0.25 mm² a pixel
    writer.write(band(0, ROWS[0]))
    writer.write(band(2, ROWS[1]))
    assert (writer.count.pixels.tolist(), writer.count.not_analysed) == ([6, 3, 0], 3)
    writer.finish()
    writer.close()
    with open(tmp_path / "areas.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["class", "pixels", "mm2", "share"],
            ["tumour", "6", "1.500000000", "0.666667"],
            ['stroma, "loose"', "3", "0.750000000", "0.333333"],
            ["fat", "0", "0.000000000", "0.000000"],
            ["not_analysed", "3", "0.750000000", ""],
        ]


def test_nothing_analysed_has_no_share():
    count = AreaCount(2)
    count.add(np.full((3, 3), 255, np.uint8))
    assert (count.shares, count.not_analysed) == ([0.0, 0.0], 9)


def test_shares_sum_to_one():
    count = AreaCount(7)
    count.add(np.random.default_rng(0).integers(0, 7, (40, 50), np.uint8))
    assert sum(count.shares) == pytest.approx(1, abs=1e-12)
