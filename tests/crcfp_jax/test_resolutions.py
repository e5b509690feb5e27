"""Tiles of several resolutions are seen at one magnification, in training and in evaluation."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from tiny_run import get_config

from crcfp_jax.evaluation.recalibration import recalibration_windows
from crcfp_jax.evaluation.scoring import evaluate
from crcfp_jax.evaluation.windows import Evaluator, predict_probabilities
from crcfp_jax.runs.parts import assemble
from data_pipelines.data_set import DataSet, Record
from data_pipelines.examples import SOURCES, LoaderOptions
from data_pipelines.loaders import training_loader

FINE, COARSE = 0.25, 0.5  # µm per stored pixel
SIDE = 32


class Memory(DataSet):
    """A data set that holds its images, given as options, in memory."""

    def source(self, split, *, labels, margins=False):
        return [{"image": image, "label": np.zeros(image.shape[:2], np.uint8)} for image in self.options["images"]]


def same_tissue():
    """A slope of 2 grey values per µm to the right, 64 x 48 µm, stored at two resolutions."""
    fine = np.broadcast_to(0.5 * np.arange(256) + 0.25, (192, 256)).astype(np.float32)
    coarse = cv2.resize(fine, (128, 96), interpolation=cv2.INTER_AREA)
    images = [np.repeat(values.round().astype(np.uint8)[..., None], 3, -1) for values in (fine, coarse)]
    records = tuple(
        Record(f"{size}", "train", number, "h", "p", "i", 0, 0, True, size, *image.shape[:2])
        for number, (size, image) in enumerate(zip((FINE, COARSE), images, strict=True))
    )
    return Memory("slope", (), FINE, records, "", Path(), {"images": images}, {}, ())


def slope(window):
    """Grey values per network pixel to the right; where it is flipped, upwards all the same."""
    return abs(np.polyfit(np.arange(SIDE), window[SIDE // 2, :, 0].astype(float), 1)[0])


@pytest.mark.parametrize("network", [0.25, 0.4, 0.5, 0.7])
def test_training_sees_one_magnification(network):
    data_set, options = same_tissue(), LoaderOptions(
        side=SIDE, microns_per_pixel=network, labelled_scale=(1.0, 1.0), unlabelled_scale=(1.0, 1.0),
        overlap=(0.5, 1.0), whole_view_scale=1.0, flips="horizontal", stride=8, batch_size=2, unlabelled_batch_size=2,
        seed=0, threads=0, prefetch=1,
    )  # fmt: skip
    split = SimpleNamespace(labelled=data_set.records, unlabelled=data_set.records)
    for _, batch in zip(range(3), training_loader(data_set, split, options, sources=SOURCES), strict=False):
        for window in (*batch["image"], *batch["unlabelled"], *batch["view_a"], *batch["view_b"]):
            assert slope(window) == pytest.approx(2 * network, rel=0.03)  # windows are of whole stored pixels


@pytest.mark.parametrize("network", [0.25, 0.4, 0.5, 0.7])
def test_evaluation_sees_one_magnification_and_predicts_alike(network):
    data_set, windows = same_tissue(), []

    def predict(batch):
        windows.extend(window for window in batch if window.any())  # the rest fills the batch
        grey = batch[..., 0] / 255
        return np.stack([grey, 1 - grey], -1).astype(np.float32)

    evaluator = Evaluator(predict, SIDE, network, 4, 2)
    pairs = [
        (image, r.microns_per_pixel) for image, r in zip(data_set.options["images"], data_set.records, strict=True)
    ]
    fine, coarse = predict_probabilities(evaluator, pairs)
    assert [slope(window) for window in windows] == pytest.approx([2 * network] * len(windows), rel=0.03)
    assert fine.shape == (192, 256, 2) and coarse.shape == (96, 128, 2)
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(cv2.resize(coarse, (256, 192))[inner], fine[inner], atol=1 / 255)
    both = recalibration_windows(data_set, data_set.records, count=2, side=SIDE, microns_per_pixel=network)
    assert [slope(window) for window in both] == pytest.approx([2 * network] * 2, rel=0.03)


@pytest.mark.parametrize("base_size", [64, 77, 256, 300])
def test_base_size_and_the_pixel_size_that_it_stands_for_give_the_same_bits(data_dir, base_size):
    found = []
    for settings in ({"base_size": base_size}, {"base_size": 1, "microns_per_pixel": 0.75 * 256 / base_size}):
        config = get_config()
        config.data.dir = str(data_dir)
        config.data.update(settings)
        parts = assemble(config)
        batch = next(training_loader(parts.data_set, parts.split, parts.loader_options(), sources=SOURCES))

        def predict(batch):
            return np.stack([batch[..., 0]] * 5, -1) / np.float32(255) * np.arange(5, dtype=np.float32)

        evaluator = Evaluator(predict, SIDE, parts.microns_per_pixel, 16, 5)
        image = parts.data_set.source("test", labels=False)[0]["image"]
        (probabilities,) = predict_probabilities(evaluator, [(image, parts.split.test[0].microns_per_pixel)])
        result, _ = evaluate(evaluator, parts.data_set, parts.split.test[:2])
        found.append(batch | {"probabilities": probabilities, "confusion": result["confusion_matrix"]})
    assert found[0].keys() == found[1].keys()
    for key, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][key], err_msg=key)
