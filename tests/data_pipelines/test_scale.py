"""One number says what a network pixel measures, for tiles of any size and resolution."""

from pathlib import Path

import numpy as np
import pytest

from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import DataSet, Record
from data_pipelines.scale import network_pixel_size, scaled_size


def data_set(*tiles):
    """Of tiles (µm per pixel, height, width); the first is 't0'."""
    records = tuple(
        Record(f"t{number}", "train", number, "h", "p", "i", 0, 0, True, *tile) for number, tile in enumerate(tiles)
    )
    return DataSet("own", (), 1.0, records, "", Path(), {}, {}, ())


def size_of(*tiles, microns_per_pixel=0.0, base_size=192):
    return network_pixel_size(data_set(*tiles), microns_per_pixel=microns_per_pixel, base_size=base_size)


def test_base_size_is_a_pixel_size_where_all_tiles_show_the_same_extent():
    assert size_of((0.25, 250, 250)) == 0.25 * 250 / 192
    assert size_of((0.25, 512, 300), (0.25, 200, 512), (0.5, 256, 256), base_size=256) == 0.5
    assert size_of((0.25, 251, 251), (0.5, 125, 125)) == 0.25 * 251 / 192  # 62.75 and 62.5 µm: rounded to whole pixels


def test_a_pixel_size_takes_the_place_of_base_size():
    assert size_of((0.25, 250, 250), microns_per_pixel=0.4) == 0.4
    assert size_of((0.25, 250, 250), (0.25, 100, 90), microns_per_pixel=0.4) == 0.4


@pytest.mark.parametrize("other", [(0.25, 500, 100), (0.5, 250, 250), (0.251, 1000, 250)])
def test_base_size_refuses_tiles_of_unequal_extent(other):
    with pytest.raises(UserError, match=r"tile t0 .* 62\.5 µm .*, tile t1 .* set config\.data\.microns_per_pixel"):
        size_of((0.25, 250, 250), other)


def test_an_index_without_sizes_is_of_tiles_of_one_size(monkeypatch):
    monkeypatch.setattr(DataSet, "source", lambda self, split, labels: [{"image": np.zeros((100, 250, 3), np.uint8)}])
    assert size_of((0.25,), (0.25,)) == 0.25 * 250 / 192


def test_scaled_sizes():
    assert scaled_size(512, 256, 400 / 512) == (400, 200)
    assert scaled_size(250, 250, 1.6) == (400, 400)
    assert scaled_size(1, 1000, 0.1) == (1, 100)
    # A half goes to the even number, whatever the last bit of the scale.
    for scale in (0.5, np.nextafter(0.5, 0), np.nextafter(0.5, 1)):
        assert scaled_size(125, 127, float(scale)) == (62, 64)


@pytest.mark.parametrize("microns", [0.25, 0.2527, 0.75])
def test_by_base_size_the_long_side_has_that_many_network_pixels(microns):
    for length in (250, 256, 512, 997):
        for base_size in (64, 77, 192, 256, 400):
            pixel = size_of((microns, length, length // 2), base_size=base_size)
            height, width = scaled_size(length, length // 2, microns / pixel)
            assert height == base_size and abs(width - base_size * (length // 2) / length) <= 0.5
