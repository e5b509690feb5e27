"""Overlays: which pixel gets which colour, and where everything lies."""

import numpy as np
import pytest
from PIL import Image
from writer_inputs import CLASSES, Picture, bands, write

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.drawing import INK, PAPER
from crcfp_jax.slides.writing import overlay as writing_overlay
from crcfp_jax.slides.writing.band import NOT_ANALYSED, OutputGrid
from crcfp_jax.slides.writing.blocks import BlockSums
from crcfp_jax.slides.writing.legend import MARGIN, legend, scale_bar, text_size
from crcfp_jax.slides.writing.overlay import (
    LONGEST,
    OPACITY,
    SHORTEST,
    OverlayWriter,
    lay_over,
    outline_colour,
    percent,
)

GREY = 120


def overlay(tmp_path, classes, slide_size, infos=CLASSES, step=37):
    """The file for a grey slide."""
    slide = Picture(np.full((*slide_size, 3), GREY, np.uint8))
    height, width = classes.shape
    grid = OutputGrid(height, width, (slide_size[0] / height, slide_size[1] / width), 0.5 * slide_size[0] / height)
    write(OverlayWriter(tmp_path, grid, infos, slide), bands(classes, height=step))
    with Image.open(tmp_path / "overlay.png") as image:
        return np.asarray(image.convert("RGB"))


def over_grey(number):
    return np.rint(GREY + (np.array(CLASSES[number].colour) - GREY) * np.float32(OPACITY))


def test_colours_and_outlines_by_hand():
    labels = np.zeros((5, 8), np.uint8)
    labels[:, 2:] = 1
    labels[:, 6:] = NOT_ANALYSED
    laid_over = lay_over(np.full((5, 8, 3), GREY, np.uint8), labels, CLASSES)
    for column in (0, 1, 6, 7):  # background and what was not analysed: neither colour nor outline
        assert (laid_over[:, column] == GREY).all()
    for column in (3, 4):
        np.testing.assert_allclose(laid_over[:, column], over_grey(1)[None].repeat(5, 0), atol=1)
    for column in (2, 5):  # the border of the picture has no outline
        np.testing.assert_allclose(laid_over[:, column], outline_colour(CLASSES[1].colour)[None].repeat(5, 0), atol=1)


def test_outlines_stand_out_from_their_colours():
    np.testing.assert_allclose(outline_colour((240, 200, 20)), (180, 150, 15))
    np.testing.assert_allclose(outline_colour((60, 40, 160)), (177, 169, 217))


@pytest.mark.parametrize("step", [1, 37, 1000])
def test_classes_lie_on_their_tissue(tmp_path, step):
    classes = np.full((300, 450), NOT_ANALYSED, np.uint8)  # the slide is twice as large
    classes[100:200, 150:300] = 2
    seen = overlay(tmp_path, classes, (600, 900), step=step)
    picture = seen[MARGIN : MARGIN + 600, MARGIN : MARGIN + 900]
    expected = np.full((600, 900, 3), GREY, float)
    expected[200:400, 300:600] = outline_colour(CLASSES[2].colour)
    expected[201:399, 301:599] = over_grey(2)
    np.testing.assert_allclose(picture, expected, atol=1)
    assert (seen[:, -MARGIN:] == PAPER).all() and (seen[-MARGIN:] == PAPER).all()


def test_a_tiny_image_is_enlarged(tmp_path):
    classes = np.zeros((60, 100), np.uint8)
    classes[30:, 50:] = 1
    seen = overlay(tmp_path, classes, (60, 100))
    assert seen.shape[1] == SHORTEST + 2 * MARGIN
    picture = seen[MARGIN : MARGIN + 230, MARGIN : MARGIN + 384]
    assert (picture[:114, :191] == GREY).all()
    np.testing.assert_allclose(picture[117:, 194:], np.broadcast_to(over_grey(1), (113, 190, 3)), atol=1)


@pytest.mark.parametrize("size", [(900, 3700), (3700, 900), (5200, 300), (3000, 3000)])
def test_a_large_slide_is_reduced(tmp_path, size):
    classes = np.zeros(size, np.uint8)
    classes[size[0] // 2 :] = 3
    seen = overlay(tmp_path, classes, size, step=211)
    assert 0.8 * LONGEST < max(seen.shape) <= LONGEST
    fat = np.flatnonzero(np.abs(seen[:, MARGIN + 5].astype(int) - over_grey(3)).max(-1) <= 1)
    grey = np.flatnonzero((seen[:, MARGIN + 5] == GREY).all(-1))
    assert len(fat) == pytest.approx(len(grey), abs=2)


def test_the_most_frequent_class_of_a_block_shows():
    sums = BlockSums(10, 7, 2, longest=4)
    assert (sums.factor, sums.height, sums.width) == (3, 4, 3)
    first = np.arange(70).reshape(10, 7) % 2 == 0
    got = [sums.add([rows, ~rows]) for rows in (first[:1], first[1:5], first[5:6], first[6:])]
    assert [part.shape for part in got] == [(2, 0, 3), (2, 1, 3), (2, 1, 3), (2, 2, 3)]
    padded = np.pad(np.stack([first, ~first]).astype(np.float32), ((0, 0), (0, 2), (0, 2)))
    np.testing.assert_array_equal(np.concatenate(got, 1), padded.reshape(2, 4, 3, 3, 3).sum((2, 4)))


@pytest.mark.parametrize("longest", [1, 5, 13, 95, 400])
def test_sums_over_blocks_are_those_of_their_pixels(longest):
    """Whatever the heights of the bands: of counts to the bit, of a quantity to rounding."""
    rng = np.random.default_rng(longest)
    seen, values = rng.random((331, 95)) < 0.3, rng.random((331, 95), np.float32)
    sums = BlockSums(331, 95, 2, longest=longest)
    got, top = [], 0
    while top < 331:
        rows = slice(top, top + int(rng.integers(1, 60)))
        got.append(sums.add([seen[rows], values[rows]]))
        top = rows.stop
    blocks = [
        [plane[y : y + sums.factor, x : x + sums.factor].sum() for x in range(0, 95, sums.factor)]
        for plane in (seen.astype(np.float64), values.astype(np.float64))
        for y in range(0, 331, sums.factor)
    ]
    counts, totals = np.array(blocks).reshape(2, sums.height, sums.width)
    np.testing.assert_array_equal(np.concatenate(got, 1)[0], counts)
    np.testing.assert_allclose(np.concatenate(got, 1)[1], totals, rtol=1e-5)


def test_the_legend_tells_the_shares_of_pixels(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        writing_overlay, "legend", lambda entries, width: told.append(entries) or legend(entries, width)
    )
    classes = np.full((3000, 50), NOT_ANALYSED, np.uint8)  # blocks of 2 x 2
    classes[100:1001, 3:10] = 1  # 6307 pixels
    classes[1001:1002, 3:10] = 3  # 7 pixels, half of their blocks
    overlay(tmp_path, classes, classes.shape)
    assert [text for text, _ in told[0]] == [
        "background 0.0 %",
        "tumour 99.9 %",
        "stroma 0.0 %",
        "fat 0.1 %",
        "not analysed: 95.8 % of the picture",
    ]


def test_shares_by_hand():
    assert [percent(share) for share in (0.0, 0.0001, 0.0005, 0.1234, 1.0)] == [
        "0.0 %",
        "< 0.1 %",
        "0.1 %",
        "12.3 %",
        "100.0 %",
    ]


def test_a_legend_takes_the_rows_that_it_needs():
    entries = [(f"class {number} with a rather long name", (number, 0, 0)) for number in range(20)]
    for width in (SHORTEST, 1500, LONGEST):
        drawn = legend(entries, width)
        assert drawn.shape[1] == width
        assert (drawn[:, -1] == PAPER).all()  # nothing is cut off
        for number in range(20):  # every swatch is there
            assert (drawn == (number, 0, 0)).all(-1).any()


def test_a_name_longer_than_a_row_is_shortened():
    drawn = legend([("x" * 500, (1, 2, 3)), ("short", (4, 5, 6))], SHORTEST)
    assert drawn.shape[0] == 2 * round(1.9 * text_size(SHORTEST))
    assert (drawn[:, -1] == PAPER).all()


def test_the_bar_is_as_long_as_it_says():
    drawn = scale_bar(1000, 0.5)  # at most 250 pixels, 125 µm: 100 µm are 200 pixels
    middle = drawn[drawn.shape[0] // 2]
    assert (middle[:200] == INK).all() and (middle[200:205] == PAPER).all()


def test_many_classes_with_long_names_stay_in_the_picture(tmp_path):
    infos = [ClassInfo(f"class {number} " + "long " * 12, (number, 100, 100)) for number in range(40)]
    classes = np.tile(np.arange(40, dtype=np.uint8), (1000, 20))
    slide = Picture(np.full((1000, 800, 3), GREY, np.uint8))
    writer = OverlayWriter(tmp_path, OutputGrid(1000, 800, (1.0, 1.0), 0.5), infos, slide)
    write(writer, bands(classes, np.zeros((1000, 800, 40), np.float32), height=500))
    with Image.open(tmp_path / "overlay.png") as image:
        assert max(image.size) <= LONGEST


def test_nothing_analysed(tmp_path):
    seen = overlay(tmp_path, np.full((700, 700), NOT_ANALYSED, np.uint8), (700, 700))
    assert (seen[MARGIN : MARGIN + 700, MARGIN : MARGIN + 700] == GREY).all()
