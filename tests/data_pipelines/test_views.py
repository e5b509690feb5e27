import numpy as np
import pytest

from crcfp_jax.common.errors import UserError
from data_pipelines import views


def place(seed, height=200, width=150, **changes):
    settings = {"side": 64, "stride": 8, "scale": 230 / 200, "overlap": (0.1, 1.0)} | changes
    return views.draw_placement(height, width, np.random.default_rng(seed), **settings)


def overlap_of(offset, side, stride):
    height, width = (side - stride * abs(cells) for cells in offset)
    return height * width / (2 * side**2 - height * width)


@pytest.mark.parametrize("overlap", [(0.1, 1.0), (0.3, 0.6), (0.0, 0.2), (1.0, 1.0)])
@pytest.mark.parametrize(("height", "width"), [(200, 150), (64, 64), (40, 300), (1, 5), (2000, 1500)])
def test_views_overlap_within_the_range_and_lie_inside_the_image_or_around_it(overlap, height, width):
    for seed in range(60):
        placement = place(seed, height, width, overlap=overlap)
        dy, dx = placement.offset
        assert overlap[0] <= overlap_of((dy, dx), 64, 8) <= overlap[1]
        assert (placement.box_height, placement.box_width) == (64 + 8 * abs(dy), 64 + 8 * abs(dx))
        for start, part, length in (
            (placement.top, placement.height, height),
            (placement.left, placement.width, width),
        ):
            assert 0 <= start <= start + part <= length or start <= 0 <= length <= start + part


def test_the_image_is_scaled_as_asked_however_small_it_is():
    for seed in range(30):
        placement = place(seed, 1000, 800, scale=0.5)
        assert placement.height == round(placement.box_height * 2)
        assert placement.width == round(placement.box_width * 2)
        narrow = place(seed, 1000, 160, scale=0.5, overlap=(0.1, 0.8))  # 80 wide: room for 2 cells
        assert narrow.height == round(narrow.box_height * 2)
        tiny = place(seed, 10, 10, scale=0.5, overlap=(1.0, 1.0))
        assert (tiny.height, tiny.width) == (128, 128)
        # An overlap of at most 0.8 needs a shift: (1, 0) is IoU 0.78. There is no room for it, nor for a larger one.
        small = place(seed, 36, 36, scale=0.5, overlap=(0.1, 0.8))
        assert sorted((abs(small.offset[0]), abs(small.offset[1]))) in ([0, 1], [1, 1])
        assert (small.height, small.width) == (2 * small.box_height, 2 * small.box_width)


def test_overlaps_of_all_sizes_and_shifts_in_all_directions_are_drawn():
    placements = [place(seed, 700, 700, side=320, scale=1.0) for seed in range(2000)]
    ratios = [overlap_of(placement.offset, 320, 8) for placement in placements]
    counts, _ = np.histogram(ratios, bins=10, range=(0.1, 1.0))
    assert counts.min() >= 150  # of 200 expected; standard deviation 13
    offsets = np.array([placement.offset for placement in placements])
    for axis in (0, 1):
        assert (offsets[:, axis] > 0).sum() > 500
        assert (offsets[:, axis] < 0).sum() > 500


def test_an_overlap_that_no_offset_gives_is_an_error():
    with pytest.raises(UserError, match=r"data\.overlap 0\.9 to 0\.95"):
        place(0, overlap=(0.9, 0.95))


def painted(height, width):
    """A picture whose red is the row, green the column."""
    row, column = np.mgrid[:height, :width]
    return np.stack([row, column, np.zeros_like(row)], -1).astype(np.uint8)


def draw(image, seed, **changes):
    settings = {"side": 32, "stride": 8, "scale": 1.0, "overlap": (0.1, 1.0)} | changes
    example = views.overlapping_views(image, np.random.default_rng(seed), **settings)
    flip_a, flip_b = example["flip"]
    view_a = example["view_a"][:, ::-1] if flip_a else example["view_a"]
    view_b = example["view_b"][:, ::-1] if flip_b else example["view_b"]
    return example, view_a, view_b


def test_the_same_place_has_the_same_pixel_in_both_views():
    flips, shifts = set(), set()
    for seed in range(100):
        example, view_a, view_b = draw(painted(120, 90), seed)
        assert example["view_a"].shape == example["view_b"].shape == (32, 32, 3)
        assert example["offset"].dtype == np.int32
        assert example["flip"].dtype == np.bool_
        dy, dx = example["offset"]
        compared = 0
        for y in range(32):
            for x in range(32):
                if 0 <= y - dy * 8 < 32 and 0 <= x - dx * 8 < 32:
                    assert (view_a[y, x] == view_b[y - dy * 8, x - dx * 8]).all()
                    compared += 1
        assert compared == (32 - 8 * abs(dy)) * (32 - 8 * abs(dx))
        # At scale 1 the views are the picture's own pixels: origins differ by the offset in pixels.
        np.testing.assert_array_equal(view_a[..., 0] - view_a[0, 0, 0], np.mgrid[:32, :32][0])
        np.testing.assert_array_equal(view_b[0, 0, :2].astype(int) - view_a[0, 0, :2], (dy * 8, dx * 8))
        flips.add(tuple(example["flip"].tolist()))
        shifts.add((np.sign(dy), np.sign(dx)))
    assert len(flips) == 4
    assert len(shifts) == 9


@pytest.mark.parametrize("scale", [0.6, 2.0])
def test_views_of_a_scaled_image_agree_to_the_bit(scale):
    image = np.random.default_rng(5).integers(0, 256, (100, 90, 3), dtype=np.uint8)
    for seed in range(20):
        example, view_a, view_b = draw(image, seed, scale=scale)
        dy, dx = example["offset"] * 8
        height, width = 32 - abs(dy), 32 - abs(dx)
        part_a = view_a[max(dy, 0) :, max(dx, 0) :][:height, :width]
        part_b = view_b[max(-dy, 0) :, max(-dx, 0) :][:height, :width]
        np.testing.assert_array_equal(part_a, part_b)


def test_an_image_smaller_than_two_views_is_reflected_at_its_own_magnification():
    for seed in range(20):
        example, view_a, view_b = draw(painted(20, 60), seed)
        assert example["offset"][0] == 0  # 20 rows have no room for 32, much less for a vertical shift
        for view in (view_a, view_b):
            rows = view[:, 0, 0].astype(int)
            assert set(np.abs(np.diff(rows))) == {1}  # a row of the picture for a row of the view, up and down
            assert set(rows) == set(range(20))
            np.testing.assert_array_equal(np.diff(view[0, :, 1].astype(int)), np.ones(31, int))
