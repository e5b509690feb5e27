"""Masks: their numbers, colours, pixel size, and where the pixels of a pyramid lie."""

import tracemalloc

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image
from writer_inputs import CLASSES, bands, write

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.drawing import HATCH_COLOURS
from crcfp_jax.slides.writing import mask, pyramid
from crcfp_jax.slides.writing.band import NOT_ANALYSED, OutputGrid
from crcfp_jax.slides.writing.mask import MaskWriter
from crcfp_jax.slides.writing.pyramid import average, level_sizes, majority
from crcfp_jax.slides.writing.spool import Spool


def blobs(height, width, seed=0):
    """A class map of patches of 40 pixels, some of them not analysed."""
    patches = np.random.default_rng(seed).integers(0, 5, (-(-height // 40), -(-width // 40)), np.uint8)
    patches[patches == 4] = NOT_ANALYSED
    return patches.repeat(40, 0).repeat(40, 1)[:height, :width]


@pytest.fixture
def no_png(monkeypatch):
    """Every mask is large."""
    monkeypatch.setattr(mask, "PNG_PIXELS", 0)


def test_png_holds_numbers_colours_and_the_size_of_a_pixel(tmp_path):
    classes = blobs(123, 77)
    write(MaskWriter(tmp_path, OutputGrid(123, 77, (1.0, 1.0), 0.25), CLASSES), bands(classes, height=50))
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), classes)
        colours = np.array(image.getpalette()).reshape(-1, 3)
        assert colours[:4].tolist() == [list(info.colour) for info in CLASSES]
        assert tuple(colours[NOT_ANALYSED]) == HATCH_COLOURS[0]
        assert image.info["dpi"] == pytest.approx((25400 / 0.25,) * 2)


def test_tiff_holds_numbers_and_a_pyramid_that_openslide_reads(tmp_path, no_png):
    classes = blobs(2100, 3001)
    write(MaskWriter(tmp_path, OutputGrid(2100, 3001, (1.0, 1.0), 0.5), CLASSES), bands(classes, height=300))
    assert [path.name for path in tmp_path.iterdir()] == ["mask.tif"]
    with tifffile.TiffFile(tmp_path / "mask.tif") as file:
        assert [page.shape for page in file.pages] == [(2100, 3001), (1050, 1501), (525, 751)]
        assert [page.subfiletype for page in file.pages] == [0, 1, 1]
        assert all(page.photometric.name == "PALETTE" and page.is_tiled for page in file.pages)
        np.testing.assert_array_equal(file.pages[0].asarray(), classes)
        description = file.pages[0].description
    assert description == "0 background; 1 tumour; 2 stroma; 3 fat; 255 not analysed"
    with openslide.OpenSlide(tmp_path / "mask.tif") as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert slide.level_dimensions == ((3001, 2100), (1501, 1050), (751, 525))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        seen = np.asarray(slide.read_region((0, 0), 0, (3001, 2100)))[..., :3]
    np.testing.assert_array_equal(seen, mask.palette(CLASSES)[classes])


def test_what_a_classic_tiff_cannot_hold_is_a_big_one(tmp_path, no_png, monkeypatch):
    for side, big in ((50_000, False), (60_000, True)):
        with Spool(tmp_path, 1, side, side) as spool:
            assert pyramid.is_big(spool) is big
    monkeypatch.setattr(pyramid, "CLASSIC_BYTES", 0)
    classes = blobs(600, 1100)
    write(MaskWriter(tmp_path, OutputGrid(600, 1100, (1.0, 1.0), 0.5), CLASSES), bands(classes, height=100))
    with tifffile.TiffFile(tmp_path / "mask.tif") as file:
        assert file.is_bigtiff
    with openslide.OpenSlide(tmp_path / "mask.tif") as slide:
        assert slide.level_dimensions == ((1100, 600), (550, 300))
        seen = np.asarray(slide.read_region((0, 0), 0, (1100, 600)))[..., :3]
    np.testing.assert_array_equal(seen, mask.palette(CLASSES)[classes])


def test_names_need_not_be_ascii(tmp_path, no_png):
    classes = (ClassInfo("Übergang", (1, 2, 3)),)
    write(MaskWriter(tmp_path, OutputGrid(2, 2, (1.0, 1.0), 0.5), classes), bands(np.zeros((2, 2), np.uint8), height=2))
    with tifffile.TiffFile(tmp_path / "mask.tif") as file:
        assert file.pages[0].description == "0 Übergang; 255 not analysed"


@pytest.mark.parametrize("step", [1, 7, 512, 700])
def test_heights_of_bands_do_not_matter(tmp_path, no_png, step):
    classes = blobs(700, 1100)
    write(MaskWriter(tmp_path, OutputGrid(700, 1100, (1.0, 1.0), 0.5), CLASSES), bands(classes, height=step))
    with tifffile.TiffFile(tmp_path / "mask.tif") as file:
        np.testing.assert_array_equal(file.pages[0].asarray(), classes)
        np.testing.assert_array_equal(file.pages[1].asarray(), majority(classes))


def test_pixels_of_a_pyramid_do_not_drift(tmp_path, no_png):
    y, x = np.mgrid[:4096, :4096]
    classes = ((y - 2000.3) ** 2 + (x - 2100.7) ** 2 < 1500.0**2).astype(np.uint8)
    write(MaskWriter(tmp_path, OutputGrid(4096, 4096, (1.0, 1.0), 0.5), CLASSES), bands(classes, height=512))
    with tifffile.TiffFile(tmp_path / "mask.tif") as file:
        for level, page in enumerate(file.pages):
            seen = page.asarray()
            centre = (np.argwhere(seen == 1).mean(0) + 0.5) * 2**level  # of the disc, in pixels of the full level
            assert centre == pytest.approx((2000.8, 2101.2), abs=0.03 * 2**level)
            assert np.count_nonzero(seen) * 4**level == pytest.approx(np.pi * 1500**2, rel=1e-3)


def test_majority_by_hand():
    fours = {
        ((1, 1), (1, 1)): {1},
        ((1, 1), (1, 2)): {1},
        ((2, 1), (1, 1)): {1},
        ((3, 1), (2, 1)): {1},
        ((3, 2), (1, 3)): {3},
        ((3, 2), (2, 1)): {2},
        ((1, 2), (3, 3)): {3},
        ((1, 2), (1, 2)): {1, 2},  # of equals, each wins at as many places
        ((1, 1), (2, 2)): {1, 2},
        ((1, 2), (2, 1)): {1, 2},
        ((0, 1), (2, 3)): {0, 1, 2, 3},
    }
    for four, expected in fours.items():
        halved = majority(np.tile(np.array(four, np.uint8), (6, 6)))
        assert set(halved.ravel().tolist()) == expected
        for number in expected:
            assert np.count_nonzero(halved == number) == 36 // len(expected)


def test_uniform_tiles_are_stored_as_tifffile_stores_them(tmp_path, no_png):
    classes = np.full((1100, 1600), NOT_ANALYSED, np.uint8)  # whole tiles of one class, mixed ones, cut ones
    classes[:512, 512:1024] = 0
    classes[600:700, 100:900] = 2
    write(MaskWriter(tmp_path, OutputGrid(1100, 1600, (1.0, 1.0), 0.5), CLASSES), bands(classes, height=100))
    tifffile.imwrite(tmp_path / "plain.tif", classes, tile=(512, 512), compression="zlib", metadata=None)
    with tifffile.TiffFile(tmp_path / "mask.tif") as ours, tifffile.TiffFile(tmp_path / "plain.tif") as plain:
        stored = []
        for file in (ours, plain):
            page = file.pages[0]
            places = zip(page.dataoffsets, page.databytecounts, strict=True)
            stored.append([data for data, _ in file.filehandle.read_segments(*zip(*places, strict=True))])
    assert stored[0] == stored[1]


def test_average_by_hand():
    np.testing.assert_array_equal(average(np.array([[1, 2, 0, 0], [3, 4, 255, 255]], np.uint8)), [[3, 128]])


def test_levels():
    assert level_sizes(1024, 100) == [(1024, 100)]
    assert level_sizes(5001, 3) == [(5001, 3), (2501, 2), (1251, 1), (626, 1)]


def test_giving_up_leaves_no_scratch_file(tmp_path, no_png):
    writer = MaskWriter(tmp_path, OutputGrid(600, 600, (1.0, 1.0), 0.5), CLASSES)
    writer.write(next(bands(blobs(600, 600), height=100)))
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_height(tmp_path, no_png):
    def peak(height):
        band = next(bands(blobs(100, 3000), height=100))
        tracemalloc.start()
        writer = MaskWriter(tmp_path, OutputGrid(height, 3000, (1.0, 1.0), 0.5), CLASSES)
        for top in range(0, height, 100):
            writer.write(type(band)(top, band.classes, band.probabilities, None))
        writer.finish()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1000)  # what is allocated once
    low = peak(2000)
    assert low < 20e6
    assert peak(8000) < 1.1 * low
