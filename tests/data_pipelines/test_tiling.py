"""Windows and their blending: places, weights and joined values by hand."""

import numpy as np
import pytest

from data_pipelines.tiling import (
    OVERLAP,
    Tiling,
    blend_windows,
    blending_weight,
    cut_windows,
    window_step,
)


def random_image(height, width):
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_windows_cover_a_length_and_the_last_one_ends_with_it():
    tiling = Tiling(10, 23, side=8, step=6)
    assert tiling.tops == (0, 2)
    assert tiling.lefts == (0, 6, 12, 15)
    assert Tiling(8, 14, 8, 6).lefts == (0, 6)  # exactly
    assert Tiling(5, 3, 8, 6).tops == (0,) and Tiling(5, 3, 8, 6).lefts == (0,)
    assert window_step(96, 0.25) == 72 and window_step(96, 0.0) == 96 and window_step(3, 0.9) == 1


def test_the_papers_tiles_take_two_windows_along_each_axis():
    assert OVERLAP == 0.25 and window_step(320, OVERLAP) == 240
    _, tiling = cut_windows(random_image(400, 400), 320)
    assert tiling == Tiling(400, 400, 320, 240) and tiling.tops == tiling.lefts == (0, 80)


def test_weights_fall_as_the_square_of_the_distance_to_the_border():
    assert blending_weight(4).tolist() == [
        [0.0625, 0.5625, 0.5625, 0.0625],
        [0.5625, 5.0625, 5.0625, 0.5625],
        [0.5625, 5.0625, 5.0625, 0.5625],
        [0.0625, 0.5625, 0.5625, 0.0625],
    ]


SIZES = [(16, 16), (1, 1), (5, 40), (17, 31), (32, 48), (33, 50), (100, 16), (15, 15), (64, 79)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_blended_windows_equal_the_image(height, width):
    image = random_image(height, width)
    windows, tiling = cut_windows(image, 16)
    # Each window but the first brings 12 new pixels or fewer.
    rows, columns = (-(-(max(length, 16) - 4) // 12) for length in (height, width))
    assert windows.shape == (rows * columns, 16, 16, 3)
    assert (len(tiling.tops), len(tiling.lefts)) == (rows, columns)
    for origins in (tiling.tops, tiling.lefts):
        assert (np.diff(origins) <= 12).all() and (np.diff(origins) > 0).all()
    np.testing.assert_allclose(blend_windows(windows.astype(np.float32), tiling), image, rtol=1e-6)


def test_the_last_window_is_moved_back_and_small_images_are_reflected():
    windows, tiling = cut_windows(random_image(6, 25), 10)
    assert tiling.lefts == (0, 8, 15)  # a quarter of 10 is 2, rounded to even
    assert tiling.tops == (0,)
    np.testing.assert_array_equal(windows[1, 6:], windows[1, 4:0:-1])


def test_overlapping_windows_are_averaged_with_weights_that_fall_to_the_border():
    _, tiling = cut_windows(random_image(4, 6), 4)
    assert tiling.lefts == (0, 2)
    probabilities = np.stack([np.full((4, 4, 2), value, np.float32) for value in (0.25, 0.75)])
    blended = blend_windows(probabilities, tiling)
    assert blended.dtype == np.float32
    # Weights of a window's columns: 0.25, 2.25, 2.25, 0.25.
    np.testing.assert_allclose(blended[..., 1], np.broadcast_to([0.25, 0.25, 0.3, 0.7, 0.75, 0.75], (4, 6)), rtol=1e-6)


def test_windows_of_another_image_are_an_error():
    windows, tiling = cut_windows(random_image(4, 6), 4)
    with pytest.raises(ValueError, match=r"expected windows \[2, 4, 4, 'c'\], not \[1, 4, 4, 3\]"):
        blend_windows(windows[:1].astype(np.float32), tiling)
