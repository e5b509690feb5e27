"""What counts as tissue: pictures made by hand and real ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipelines.reading.open import open_slide
from data_pipelines.reading.slide import Slide
from data_pipelines.reading.tissue import Tissue, find_tissue

RNG = np.random.default_rng(0)
GLASS, EOSIN, PALE, HAEMATOXYLIN, DUST, BLACK = (
    (242, 242, 243),
    (222, 150, 190),
    (245, 228, 238),
    (88, 60, 130),
    (120, 121, 119),
    (0, 0, 0),
)
GREEN_PEN, BLUE_PEN, BLACK_PEN = (30, 140, 70), (40, 50, 180), (25, 24, 28)


class Picture(Slide):
    def __init__(self, pixels, microns=8.0):
        self.pixels, self.asked = pixels, []
        super().__init__(Path("picture"), (pixels.shape[:2],), microns, ())

    def _read(self, level, top, left, height, width):
        self.asked.append(height * width)
        return self.pixels[top : top + height, left : left + width]

    def close(self):
        pass


def canvas(colour=GLASS, height=400, width=500):
    """A noisy plane of one colour."""
    noise = RNG.normal(0, 1.5, (height, width, 1))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def with_patch(colour, picture=None):
    picture = canvas() if picture is None else picture
    picture[100:300, 100:300] = canvas(colour, 200, 200)
    return picture


def mask_of(picture, microns=8.0):
    return find_tissue(Picture(picture, microns)).mask


def faded(share, saturation, glass=255):
    """Real stain is not at hand here: collagen and nuclei of a pale stain, on half of a picture."""
    picture = canvas((glass,) * 3, 320, 400).astype(float)
    tissue = np.where(RNG.random((20, 25, 1)) < 0.2, HAEMATOXYLIN, EOSIN).repeat(16, 0).repeat(8, 1)[:320, :200]
    pale = glass - (255 - tissue) * share
    grey = pale.mean(-1, keepdims=True)
    picture[:, :200] = grey + (pale - grey) * saturation
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("glass", [255, 228])
@pytest.mark.parametrize(("share", "saturation"), [(1.0, 1.0), (0.3, 0.4), (0.2, 0.4), (0.15, 1.0)])
def test_pale_tissue_of_a_small_picture_is_looked_at(glass, share, saturation):
    mask = mask_of(faded(share, saturation, glass), 2.0)
    assert mask[:, :195].mean() > 0.99 and not mask[:, 230:].any()


def test_a_small_picture_without_glass_stays_whole():
    """What is brighter than 215 and has no colour can't be told from glass."""
    collagen = canvas((207, 198, 204), 320, 200)
    collagen[::40, ::40] = (120, 112, 125)
    assert mask_of(collagen, 2.0).all()
    assert not mask_of(np.tile(collagen, (1, 8, 1)), 2.0).any()  # 3.2 mm: a slide may hold anything grey


def test_full_is_full_and_empty_is_empty():
    for colour in (EOSIN, PALE, HAEMATOXYLIN):
        assert mask_of(canvas(colour)).all()
    for colour in (GLASS, DUST, BLACK, (255, 255, 255), (225, 224, 228)):
        assert not mask_of(canvas(colour)).any()


@pytest.mark.parametrize("colour", [EOSIN, PALE, HAEMATOXYLIN, (200, 40, 60), (98, 108, 160), (60, 25, 40)])
def test_tissue_and_a_margin_of_it(colour):
    mask = mask_of(with_patch(colour))
    assert mask[97:303, 100:300].all() and mask[100:300, 97:303].all()  # 3 pixels of 8 µm
    assert mask.sum() == mask[97:303, 97:303].sum()


@pytest.mark.parametrize("colour", [DUST, BLACK, GREEN_PEN, BLUE_PEN, BLACK_PEN, (160, 160, 158)])
def test_dust_padding_and_pen_are_none(colour):
    assert not mask_of(with_patch(colour)).any()


@pytest.mark.parametrize("colour", [GREEN_PEN, BLUE_PEN])
def test_pen_leaves_no_rim_and_takes_no_tissue_with_it(colour):
    picture = with_patch(EOSIN)
    cv2.line(picture, (50, 50), (450, 50), colour, 12, cv2.LINE_AA)
    cv2.line(picture, (200, 50), (200, 350), colour, 12, cv2.LINE_AA)
    picture = cv2.GaussianBlur(picture, (5, 5), 0)
    mask = mask_of(picture)
    assert not mask[:90].any() and not mask[310:].any()
    assert mask[100:300, 100:180].all() and mask[100:300, 220:300].all()
    assert not mask[120:280, 196:204].any()


def test_padding_beside_tissue():
    picture = with_patch(EOSIN)
    picture[:, 400:] = BLACK
    picture[350:] = BLACK
    mask = mask_of(picture)
    assert mask[100:300, 100:300].all() and not mask[:, 310:].any()


def test_specks_go_unless_the_edge_cuts_them():
    picture = canvas()
    picture[200:204, 200:204] = EOSIN  # 32 µm wide
    assert not mask_of(picture).any()
    picture[0:4, 200:204] = EOSIN
    assert mask_of(picture)[0:4, 200:204].all()
    picture[200:210, 200:210] = EOSIN
    assert mask_of(picture)[200:210, 200:210].all()


def test_small_holes_are_closed_and_large_ones_stay():
    picture = with_patch(EOSIN)
    picture[120:140, 120:140] = GLASS  # 160 µm
    picture[180:260, 180:260] = GLASS  # 640 µm
    mask = mask_of(picture)
    assert mask[110:150, 110:150].all()
    assert not mask[190:250, 190:250].any() and mask[180:183, 180:260].all()


def test_fat_is_tissue():
    picture = with_patch(GLASS)
    for start in range(100, 301, 8):  # membranes around cells of 64 µm
        picture[start, 100:300] = picture[100:300, start] = PALE if start % 16 else EOSIN
    mask = mask_of(picture)
    assert mask[104:296, 104:296].all()


def test_a_grey_picture_goes_by_brightness():
    picture = np.full((400, 500, 3), 240, np.uint8)
    picture[100:300, 100:300] = 130
    picture[:, 450:] = 0
    mask = mask_of(picture)
    assert mask[100:300, 100:300].all() and mask.sum() == mask[97:303, 97:303].sum()


def test_the_thumbnails_size():
    for size, microns, expected in (
        ((4000, 5000), 1.0, (500, 625)),  # 8 µm
        ((1000, 1000), 0.25, (512, 512)),  # a region: finer
        ((100, 60), 0.5, (100, 60)),  # not finer than the slide
        ((3000, 30000), 8.0, (205, 2048)),
        ((1600, 16000), None, (100, 1000)),  # taken for 0.5 µm: 16 pixels are one
    ):
        slide = Picture(np.zeros((*size, 3), np.uint8), microns)
        mask = find_tissue(slide).mask
        assert mask.shape == expected
        assert max(slide.asked) <= 512 * 4096  # never the whole of a large level
    assert find_tissue(Picture(np.zeros((1600, 16000, 3), np.uint8), None), 1.0).mask.shape == (200, 2000)


def test_small_regions_keep_the_rule():
    """At 0.5 µm and 400 pixels, lengths in µm are many pixels."""
    assert mask_of(canvas(EOSIN), 0.5).all() and not mask_of(canvas(GLASS), 0.5).any()
    mask = mask_of(with_patch(EOSIN), 0.5)
    assert mask[60:340, 100:300].all() and not mask[:40].any() and not mask[:, 360:].any()
    assert mask_of(canvas(EOSIN, 20, 20), 0.5).all()


def test_window_takes_the_mask_at_each_pixels_centre():
    tissue = Tissue(np.array([[1, 0, 0], [0, 0, 1]], bool))
    assert tissue.share == pytest.approx(1 / 3)
    np.testing.assert_array_equal(tissue.window(0, 0, 2, 3, (2, 3)), tissue.mask)
    np.testing.assert_array_equal(tissue.window(0, 0, 4, 6, (4, 6)), np.kron(tissue.mask, np.ones((2, 2), bool)))
    np.testing.assert_array_equal(tissue.window(1, 4, 2, 2, (4, 6)), [[0, 0], [1, 1]])
    np.testing.assert_array_equal(tissue.window(0, 0, 1, 1, (1, 1)), [[0]])  # its centre lies at row 1, column 1


def test_touches_never_misses_what_window_shows():
    tissue = Tissue(RNG.random((37, 53)) > 0.98)
    for size in ((10, 12), (37, 53), (400, 333), (36, 54)):
        for _ in range(200):
            top, left = int(RNG.integers(size[0])), int(RNG.integers(size[1]))
            height, width = int(RNG.integers(1, size[0] - top + 1)), int(RNG.integers(1, size[1] - left + 1))
            shown = tissue.window(top, left, height, width, size)
            assert shown.shape == (height, width)
            assert tissue.touches(top, left, height, width, size) or not shown.any()
    alone = Tissue(np.pad(np.ones((1, 1), bool), 5))
    assert alone.touches(4, 4, 3, 3, (11, 11)) and not alone.touches(0, 0, 5, 11, (11, 11))
    assert alone.touches(0, 0, 4, 4, (4, 4))  # between the centres of its pixels


def test_real_slide(real_data):
    with open_slide(real_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        tissue = find_tissue(slide)
    assert 0.4 < tissue.share < 0.55
    assert tissue.touches(1200, 900, 100, 100, (2967, 2220))  # skin
    for left in (50, 1950):  # glass
        assert not tissue.touches(1500, left, 1000, 250, (2967, 2220))


def test_real_regions_are_tissue_all_over(real_data):
    regions = sorted((real_data / "monuseg" / "MoNuSegTestData").glob("*.tif"))
    regions += sorted((real_data / "bcss_sample" / "rgbs_colorNormalized").glob("*.png"))
    for path in regions:
        with open_slide(path) as slide:
            assert slide.microns_per_pixel is None and find_tissue(slide, 0.25).share > 0.97
            assert find_tissue(slide).share > 0.97
