"""Grids of predictions: which pixel gets which colour."""

import cv2
import numpy as np
import pytest
from PIL import Image

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.drawing import HATCH_COLOURS, save_picture
from crcfp_jax.common.errors import UserError
from crcfp_jax.evaluation import pictures
from crcfp_jax.evaluation.pictures import WRONG, Sample

CLASSES = (ClassInfo("tumour", (200, 30, 30)), ClassInfo("stroma", (30, 90, 200)))
LABEL = np.array([[0, 1], [255, 1]], np.uint8)
PREDICTION = np.array([[0, 0], [1, 1]], np.uint8)
SAMPLE = Sample("hospital-1-x0-y0", np.zeros((2, 2, 3), np.uint8), LABEL, PREDICTION)


def test_colours_by_hand():
    painted = pictures.colourise(LABEL, CLASSES)
    np.testing.assert_array_equal(painted, [[(200, 30, 30), (30, 90, 200)], [HATCH_COLOURS[0], (30, 90, 200)]])


def test_only_wrong_labelled_pixels_are_errors():
    faded = (150, 150, 150)  # of a black input
    np.testing.assert_array_equal(pictures.error_map(SAMPLE), [[faded, WRONG], [faded, faded]])


def test_cells_of_the_grid():
    grid = pictures.prediction_grid([SAMPLE, SAMPLE], CLASSES, cell=40)
    column = pictures.MARGIN + np.arange(4) * (40 + pictures.GAP)
    top = pictures.MARGIN + 24
    middle = 10  # of a pixel of the sample, 20 pixels wide in the grid
    assert tuple(grid[top + middle, column[1] + middle]) == (200, 30, 30)
    assert tuple(grid[top + middle, column[1] + 20 + middle]) == (30, 90, 200)
    assert tuple(grid[top + middle, column[2] + 20 + middle]) == (200, 30, 30)
    assert tuple(grid[top + middle, column[3] + 20 + middle]) == WRONG
    for x in (column[1], column[3]):  # the ignored pixel, hatched in truth and errors
        hatched = grid[top + 20 : top + 40, x : x + 20].reshape(-1, 3)
        assert {tuple(colour) for colour in np.unique(hatched, axis=0)} == set(HATCH_COLOURS)


def test_sizes_may_differ_and_long_captions_are_cut(tmp_path):
    wide = Sample("x" * 300, np.zeros((30, 90, 3), np.uint8), np.ones((30, 90), np.uint8), np.ones((30, 90), np.uint8))
    grid = pictures.prediction_grid([SAMPLE, wide], CLASSES, cell=60)
    only = pictures.prediction_grid([SAMPLE], CLASSES, cell=60)
    assert grid.shape[0] - only.shape[0] == 20 + 24  # its cell is 60 x 20 pixels, and a line of text
    assert (grid[:, -pictures.MARGIN :] == 255).all()


def test_a_tile_without_labels_can_be_drawn():
    blank = Sample("blank", np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 255, np.uint8), PREDICTION)
    assert pictures.prediction_grid([blank], CLASSES, cell=40).dtype == np.uint8


def test_a_grid_needs_a_sample():
    with pytest.raises(ValueError, match="no samples"):
        pictures.prediction_grid([], CLASSES)


def test_saved_picture_reads_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    save_picture(tmp_path / "pictures" / "a.png", picture)
    with Image.open(tmp_path / "pictures" / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "pictures" / "a.png")), picture[..., ::-1])


def test_an_unwritable_folder_is_told_plainly(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*a\.png"):
        save_picture(tmp_path / "file" / "a.png", np.zeros((1, 1, 3), np.uint8))
