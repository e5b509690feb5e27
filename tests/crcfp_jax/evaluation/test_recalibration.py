"""Recalibrated statistics: plain averages over windows of training images, masks unread."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config, tiny_parts, tiny_state

from crcfp_jax.evaluation.recalibration import Recalibration, recalibration_windows
from crcfp_jax.models.encoders.pixels import IMAGENET, normalise
from data_pipelines.data_set import DataSet, Record


@pytest.fixture(scope="module")
def variables():
    return jax.device_get(tiny_state(tiny_config()).variables)


def first_layer_outputs(variables, windows):
    """[n, c, pixels]: what the first normalisation sees."""
    kernel = variables["params"]["backbone"]["conv1"]["kernel"]
    outputs = jax.lax.conv_general_dilated(
        np.asarray(normalise(jnp.asarray(windows), IMAGENET)),
        kernel, (2, 2), ((3, 3), (3, 3)), dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    return np.asarray(outputs).reshape(len(windows), -1, outputs.shape[-1]).swapaxes(1, 2)


def test_the_first_layer_gets_the_mean_and_variance_of_all_its_outputs(variables):
    # Two "hospitals" that differ in brightness, one after the other: most of the variance is between them.
    rng = np.random.default_rng(0)
    windows = np.concatenate([rng.integers(low, low + 40, (32, 32, 32, 3), dtype=np.uint8) for low in (20, 200)])
    network, _, _ = tiny_parts(tiny_config())
    stats = Recalibration(network, windows)(variables)["backbone"]["bn1"]
    outputs = first_layer_outputs(variables, windows)
    np.testing.assert_allclose(stats["mean"], outputs.mean((0, 2)), atol=1e-4)
    np.testing.assert_allclose(stats["var"], outputs.var((0, 2)), rtol=1e-3)
    within = outputs.reshape(2, 32, *outputs.shape[1:]).var((1, 3)).mean(0)
    assert np.median(stats["var"] / within) > 5


def test_every_batch_mixes_the_images(variables):
    windows = np.repeat(np.arange(64, dtype=np.uint8) // 32, 32 * 32 * 3).reshape(64, 32, 32, 3)
    network, _, _ = tiny_parts(tiny_config())
    shares = Recalibration(network, windows)._batches[..., 0, 0, 0].mean(axis=1)
    assert len(shares) == 2 and ((shares > 0.25) & (shares < 0.75)).all()


def test_windows_that_fill_no_batch_are_left_out(variables):
    windows = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    network, _, _ = tiny_parts(tiny_config())
    recalibration = Recalibration(network, windows)
    assert recalibration._batches.shape == (2, 32, 32, 32, 3)
    used = recalibration._batches.reshape(64, 32, 32, 3)
    stats = recalibration(variables)["backbone"]["bn1"]
    np.testing.assert_allclose(stats["mean"], first_layer_outputs(variables, used).mean((0, 2)), atol=1e-4)


def test_a_network_without_batch_statistics_keeps_none():
    config = tiny_config(model__normalisation="group")
    network, _, _ = tiny_parts(config)
    recalibration = Recalibration(network, np.zeros((2, 32, 32, 3), np.uint8))
    assert recalibration(jax.device_get(tiny_state(config).variables)) == {}


def test_windows_are_spread_over_the_images_and_no_mask_is_read(monkeypatch):
    def source(self, split, *, labels):
        assert split == "train" and not labels
        return [{"image": np.full((64, 64, 3), number, np.uint8)} for number in range(10)]

    monkeypatch.setattr(DataSet, "source", source)
    records = tuple(Record(str(i), "train", i, "H", "P", "I", 0, 0, False, 1.0) for i in range(10))
    data_set = DataSet("grey", (), 1.0, records, "", Path(), {}, {}, ())
    windows = recalibration_windows(data_set, records, count=4, side=32, microns_per_pixel=1.0)
    assert windows.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(windows[:, 0, 0, 0], [0, 3, 6, 9])
