"""Planes of probabilities and of uncertainty."""

import time
import tracemalloc
import uuid
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from writer_inputs import CLASSES, bands, write

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.drawing import HATCH_COLOURS
from crcfp_jax.slides.writing import planes
from crcfp_jax.slides.writing.band import NOT_ANALYSED, OutputGrid
from crcfp_jax.slides.writing.heat import HeatMap, scale_top
from crcfp_jax.slides.writing.legend import MARGIN, round_length
from crcfp_jax.slides.writing.planes import ProbabilityWriter, UncertaintyWriter

VIRIDIS = ((68, 1, 84), (253, 231, 36))  # its ends


def grid(height, width):
    return OutputGrid(height, width, (1.0, 1.0), 0.5)


def distributions(height, width, seed=0):
    """Class numbers and probabilities, some pixels not analysed."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(len(CLASSES)), (height, width)).astype(np.float32)
    probabilities[: height // 3, : width // 3] = 0
    classes = probabilities.argmax(-1).astype(np.uint8)
    classes[: height // 3, : width // 3] = NOT_ANALYSED
    return classes, probabilities


@pytest.mark.parametrize("step", [1, 61, 700])
def test_probabilities_are_channels_of_an_ome_tiff(tmp_path, step):
    classes, probabilities = distributions(700, 1500)
    write(ProbabilityWriter(tmp_path, grid(700, 1500), CLASSES), bands(classes, probabilities, height=step))
    assert [path.name for path in tmp_path.iterdir()] == ["probabilities.tif"]
    with tifffile.TiffFile(tmp_path / "probabilities.tif") as file:
        assert file.is_ome
        (series,) = file.series
        assert (series.axes, series.shape) == ("CYX", (4, 700, 1500))
        assert [level.shape for level in series.levels] == [(4, 700, 1500), (4, 350, 750)]
        full, half = (level.asarray() for level in series.levels)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    np.testing.assert_array_equal(full, np.rint(255 * probabilities.transpose(2, 0, 1)).astype(np.uint8))
    assert not full[:, :200, :400].any()
    means = full.astype(float).reshape(4, 350, 2, 750, 2).mean((2, 4))
    np.testing.assert_array_equal(half, np.floor(means + 0.5))
    assert [channel["Name"] for channel in pixels["Channel"]] == [info.name for info in CLASSES]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"], pixels["PhysicalSizeXUnit"]) == (0.5, 0.5, "µm")


def test_the_same_probabilities_are_the_same_bytes(tmp_path):
    """And say nothing of the machine, as an identifier by its address would."""
    classes, probabilities = distributions(70, 90)
    found = []
    for name in "ab":
        (tmp_path / name).mkdir()
        write(ProbabilityWriter(tmp_path / name, grid(70, 90), CLASSES), bands(classes, probabilities, height=9))
        found.append((tmp_path / name / "probabilities.tif").read_bytes())
        time.sleep(1.1)  # a date has seconds
    assert found[0] == found[1] and f"{uuid.getnode():012x}".encode() not in found[0]


def test_names_that_xml_must_escape(tmp_path):
    classes = (ClassInfo('a < b & "c"', (1, 2, 3)), ClassInfo("Übergang", (4, 5, 6)))
    band = next(bands(np.zeros((2, 2), np.uint8), np.full((2, 2, 2), 0.5, np.float32), height=2))
    write(ProbabilityWriter(tmp_path, grid(2, 2), classes), [band])
    with tifffile.TiffFile(tmp_path / "probabilities.tif") as file:
        channels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
    assert [channel["Name"] for channel in channels] == [info.name for info in classes]


def test_a_single_class(tmp_path):
    band = next(bands(np.zeros((3, 5), np.uint8), np.ones((3, 5, 1), np.float32), height=3))
    write(ProbabilityWriter(tmp_path, grid(3, 5), CLASSES[:1]), [band])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "probabilities.tif"), np.full((3, 5), 255))


def test_uncertainty_of_a_small_slide_is_a_picture_alone(tmp_path):
    uncertainty = np.zeros((500, 600), np.float32)
    uncertainty[:250] = 0.1
    classes = np.zeros((500, 600), np.uint8)
    classes[:, 300:] = NOT_ANALYSED
    uncertainty[:, 300:] = 0
    write(UncertaintyWriter(tmp_path, grid(500, 600)), bands(classes, None, uncertainty, height=70))
    assert [path.name for path in tmp_path.iterdir()] == ["uncertainty.png"]
    with Image.open(tmp_path / "uncertainty.png") as image:
        seen = np.asarray(image)[MARGIN : MARGIN + 500, MARGIN : MARGIN + 600]
    for corner, colour in (
        (seen[:250, :300], VIRIDIS[1]),
        (seen[250:, :300], VIRIDIS[0]),
        (seen[:, 300:], HATCH_COLOURS[0]),
    ):
        assert np.abs(corner.reshape(-1, 3).astype(int) - colour).max() <= 1


def test_uncertainty_of_a_large_slide_is_a_plane_too(tmp_path, monkeypatch):
    monkeypatch.setattr(planes, "PNG_PIXELS", 0)
    classes, probabilities = distributions(300, 400)
    write(UncertaintyWriter(tmp_path, grid(300, 400)), bands(classes, None, probabilities[..., 0], height=37))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["uncertainty.png", "uncertainty.tif"]
    with tifffile.TiffFile(tmp_path / "uncertainty.tif") as file:
        assert file.is_ome
        np.testing.assert_array_equal(file.asarray(), np.rint(65535 * probabilities[..., 0]))


@pytest.mark.parametrize("step", [1, 37, 3000])
def test_a_large_picture_shows_means_of_what_was_analysed(tmp_path, step):
    values = np.random.default_rng(0).random((2999, 4001), np.float32)
    seen = np.random.default_rng(1).random((2999, 4001)) < 0.5
    seen[:300, :400] = False
    values[~seen] = 0
    picture = HeatMap(2999, 4001, 0.5, "quantity")
    for top in range(0, 2999, step):
        picture.add(values[top : top + step], seen[top : top + step])
    picture.save(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        shown = np.asarray(image)
    assert max(shown.shape) <= 2048
    shown = shown[MARGIN : MARGIN + 1000, MARGIN : MARGIN + 1334]  # 3 x 3 pixels each
    padded = np.pad(np.stack([values, seen]), ((0, 0), (0, 1), (0, 1)))
    total, count = padded.reshape(2, 1000, 3, 1334, 3).sum((2, 4))
    top = scale_top((total[count > 0] / count[count > 0]).astype(np.float32))
    places = np.rint(np.clip(total / np.maximum(count, 1) / top, 0, 1) * 255).astype(np.uint8)
    expected = cv2.applyColorMap(places, cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    expected[count == 0] = HATCH_COLOURS[0]
    assert np.mean(np.abs(shown.astype(int) - expected).max(-1) <= 3) > 0.999  # but for rounding


def test_a_tiny_picture_is_enlarged(tmp_path):
    picture = HeatMap(3, 4, 0.5, "quantity")
    picture.add(np.zeros((3, 4), np.float32), np.ones((3, 4), bool))
    picture.save(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as image:
        assert image.width == 480 + 2 * MARGIN


@pytest.mark.parametrize(
    ("values", "top"),
    [([], 0.001), ([0.0, 0.0], 0.001), ([0.013] * 5, 0.02), ([0.0031] * 5, 0.005), ([0.2] * 5, 0.2), ([0.6], 1.0)],
)
def test_scale_by_hand(values, top):
    assert scale_top(np.array(values, np.float32)) == pytest.approx(top)


def test_outliers_do_not_set_the_scale():
    assert scale_top(np.array([0.04] * 999 + [0.9], np.float32)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("most", "length", "text"),
    [
        (999.0, 500.0, "500 microns"),
        (1000.0, 1000.0, "1 mm"),
        (4999.0, 2000.0, "2 mm"),
        (7.3, 5.0, "5 microns"),
        (0.3, 0.2, "0.2 microns"),
    ],
)
def test_lengths_of_scale_bars(most, length, text):
    assert round_length(most) == (pytest.approx(length), text)


def test_memory_does_not_grow_with_the_height(tmp_path, monkeypatch):
    monkeypatch.setattr(planes, "PNG_PIXELS", 0)
    classes, probabilities = distributions(100, 2000)
    band = next(bands(classes, probabilities, probabilities[..., 0].copy(), height=100))

    def peak(height):
        tracemalloc.start()
        pixels = grid(height, 2000)
        for make in (partial(ProbabilityWriter, classes=CLASSES), UncertaintyWriter):
            writer = make(tmp_path, pixels)
            for top in range(0, height, 100):
                writer.write(replace(band, top=top))
            writer.finish()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1000)  # what is allocated once
    assert peak(4000) < 1.3 * peak(2000)
