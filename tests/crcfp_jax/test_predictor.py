"""Recalibrated statistics: plain averages over windows of training images, masks unread."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config, tiny_parts, tiny_state

from crcfp_jax.augment import normalise
from crcfp_jax.predictor import Recalibration, recalibration_windows
from data_pipelines.records import DataSet, Record


@pytest.fixture(scope="module")
def variables():
    return jax.device_get(tiny_state(tiny_config()).variables)


def test_the_first_layer_gets_the_mean_and_variance_of_its_output(variables):
    windows = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    network, _, _ = tiny_parts(tiny_config())
    stats = Recalibration(network, windows)(variables)
    kernel = variables["params"]["backbone"]["conv1"]["kernel"]
    images = np.asarray(normalise(jnp.asarray(windows[:64])))  # two whole batches of 32
    outputs = jax.lax.conv_general_dilated(
        images, kernel, (2, 2), ((3, 3), (3, 3)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    outputs = np.asarray(outputs).reshape(2, -1, outputs.shape[-1])
    first = stats["backbone"]["bn1"]
    np.testing.assert_allclose(first["mean"], outputs.mean(1).mean(0), atol=1e-4)
    np.testing.assert_allclose(first["var"], outputs.var(1).mean(0), rtol=1e-3)


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
    records = tuple(Record(str(i), "train", i, "H", "P", "I", 0, 0, False) for i in range(10))
    data_set = DataSet("grey", (), 1.0, records, "", Path(), {}, {}, ())
    windows = recalibration_windows(data_set, records, count=4, side=32, base_size=64)
    assert windows.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(windows[:, 0, 0, 0], [0, 3, 6, 9])
