"""Evaluation and `python -m crcfp_jax.predict` give a picture the same classes, pixel by pixel."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny_model import SIDE, make_model

from crcfp_jax.blending.programs import window_mesh
from crcfp_jax.evaluation.windows import Evaluator, predict_classes, predict_probabilities
from crcfp_jax.portable_model.folder import load_model
from crcfp_jax.predict import main
from crcfp_jax.slides.engine import Engine, Job
from crcfp_jax.slides.writing.output import output_grid
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.resample import View, canvas_size, to_canvas
from data_pipelines.reading.slide import Slide
from data_pipelines.synthesis import synthesise
from data_pipelines.tiling import OVERLAP, Tiling, choose_windows, window_step

MICRONS = 0.25  # of a pixel of the pictures


class Picture(Slide):
    """Pixels in memory."""

    def __init__(self, pixels):
        self.pixels = pixels
        super().__init__(Path("picture"), (pixels.shape[:2],), MICRONS, ())

    def _read(self, level, top, left, height, width):
        return self.pixels[top : top + height, left : left + width]

    def close(self):
        pass


def tissue(number, height, width):
    return np.ascontiguousarray(synthesise(2023, "H11", number, max(height, width, 32))[0][:height, :width])


def classify(windows):
    """Probabilities of three classes that depend on the pixel, on the window's mean and on the place in the window."""
    values = windows.astype(np.float32) / 255
    place = np.linspace(0, 1, windows.shape[1], dtype=np.float32)[:, None, None]
    scores = np.exp(5 * (values - values.mean((1, 2), keepdims=True) + place * np.float32([0.1, 0, -0.1])))
    return scores / scores.sum(-1, keepdims=True)


def predicted(pixels, microns_per_pixel):
    """Classes and probabilities, by the way of `predict --everything`."""
    view = View(Picture(pixels), microns_per_pixel / MICRONS)
    tiling = Tiling(*view.size, SIDE, window_step(SIDE, OVERLAP))
    grid, found = output_grid(pixels.shape[:2], MICRONS, view.size), []
    mesh = window_mesh(jax.local_devices()[:1])
    with (
        ThreadPoolExecutor(2) as pool,
        Engine(
            lambda windows: {"probabilities": classify(windows)}, mesh=mesh, side=SIDE, batch_size=5, pool=pool
        ) as e,
    ):
        timing = e.send(
            Job(
                view,
                tiling,
                choose_windows(tiling, lambda top, left: True),
                (grid.height, grid.width),
                {"probabilities": 3},
                ("classes", "probabilities"),
                lambda rows, arrays: found.append(arrays),
                50,
            )
        )
        e.flush()
        timing.result()
    return tuple(np.concatenate([part[name] for part in found]) for name in ("classes", "probabilities"))


def evaluated(pictures, microns_per_pixel):
    """Probabilities, by evaluation."""
    evaluator = Evaluator(classify, SIDE, microns_per_pixel, batch_size=7, num_classes=3)
    images = [(pixels, MICRONS) for pixels in pictures]
    found = list(predict_probabilities(evaluator, images))
    for classes, probabilities in zip(predict_classes(evaluator, images), found, strict=True):
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, probabilities.argmax(-1))
    return found


SIZES = [(250, 250), (90, 121), (20, 25), (20, 75), (75, 20), (32, 32), (1, 1)]
# Shrunk (a MoNuSeg tile of 250 pixels to 192), as it is, within 2 % of it, just beyond, enlarged (250 to 400).
SCALES = [250 / 192, 4.0, 1.0, 1.015, 0.985, 0.97, 1.025, 0.625]


@pytest.mark.parametrize("scale", SCALES)
def test_the_same_classes_and_probabilities_of_any_picture_at_any_scale(scale):
    pictures = [tissue(number, *size) for number, size in enumerate(SIZES)]
    seen = set()
    for pixels, probabilities in zip(pictures, evaluated(pictures, scale * MICRONS), strict=True):
        classes, expected = predicted(pixels, scale * MICRONS)
        assert probabilities.shape == (*pixels.shape[:2], 3) and probabilities.dtype == np.float32
        np.testing.assert_array_equal(probabilities.argmax(-1), classes)
        np.testing.assert_allclose(probabilities, expected, rtol=1e-6, atol=1e-7)
        seen |= set(np.unique(classes))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("scale", [250 / 192, 1.0, 0.625])
def test_the_same_classes_and_probabilities_of_real_tissue(scale, real_data):
    for path in (
        *sorted((real_data / "monuseg" / "MoNuSegTestData").glob("*.tif"))[:2],
        *sorted((real_data / "bcss_sample" / "rgbs_colorNormalized").glob("*.png"))[:1],
    ):
        with open_slide(path) as slide:
            pixels = slide.read(0, 0, 0, min(333, slide.size[0]), min(250, slide.size[1]))
        classes, expected = predicted(pixels, scale * MICRONS)
        (probabilities,) = evaluated([pixels], scale * MICRONS)
        assert len(np.unique(classes)) > 1
        np.testing.assert_array_equal(probabilities.argmax(-1), classes)
        np.testing.assert_allclose(probabilities, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [(250, 250), (333, 101), (3, 1), (100, 99)])
def test_a_picture_in_memory_is_scaled_as_a_slide_is(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for scale in (250 / 192, 0.625, 1.0, 1 / 1.02, 1 / 1.03, 1.0199, 1.0201, 40.0):
        view = View(Picture(pixels), scale)
        assert canvas_size(size, scale) == view.size
        np.testing.assert_array_equal(to_canvas(pixels, scale), view.read(0, 0, *view.size))
    assert to_canvas(pixels, 1.01) is pixels


@pytest.mark.parametrize("microns_per_pixel", [1.0, 250 / 192, 0.625])
def test_the_command_writes_what_evaluation_measures(microns_per_pixel, tmp_path, monkeypatch):
    """With a real network, on one device in batches of one size, which round alike."""
    devices = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    folder = make_model(tmp_path / "model", microns_per_pixel=microns_per_pixel)
    start = load_model(folder).predictor(jax.local_devices(), uncertainty=False)
    evaluator = Evaluator(lambda windows: start(windows)["probabilities"], SIDE, microns_per_pixel, 4, 3)
    pictures = [tissue(number, height, 250) for number, height in enumerate((250, 90, 25))]
    paths = [tmp_path / f"{number}.png" for number in range(len(pictures))]
    for path, pixels in zip(paths, pictures, strict=True):
        Image.fromarray(pixels).save(path)
    words = ["--model", folder, "--output", tmp_path / "out", "--mpp", 1.0, "--everything", "--batch_size", 4]
    assert main([str(word) for word in (*words, "--formats", "mask,probabilities", *paths)]) == 0
    found = predict_probabilities(evaluator, [(pixels, 1.0) for pixels in pictures])
    for path, probabilities in zip(paths, found, strict=True):
        mask = np.asarray(Image.open(tmp_path / "out" / path.name / "mask.png"))
        stored = np.moveaxis(tifffile.imread(tmp_path / "out" / path.name / "probabilities.tif"), 0, -1)
        assert len(np.unique(mask)) > 1
        np.testing.assert_array_equal(probabilities.argmax(-1), mask)
        np.testing.assert_allclose(probabilities, stored / 255, atol=0.5 / 255 + 1e-6)
