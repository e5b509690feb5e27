"""Areas within frames: by hand, and against a test of every pixel's centre."""

import csv

import numpy as np
import pytest
import shapely
from writer_inputs import CLASSES, bands, write

from crcfp_jax.slides.writing.band import NOT_ANALYSED, OutputGrid
from crcfp_jax.slides.writing.frame_areas import Frame, FrameAreaWriter


def class_map(height, width, seed=0):
    classes = np.random.default_rng(seed).integers(0, len(CLASSES) + 1, (height, width), np.uint8)
    classes[classes == len(CLASSES)] = NOT_ANALYSED
    return classes


def count(folder, classes, areas, *, scale=(1.0, 1.0), **heights):
    """Pixels of each class, and those not analysed, per area."""
    frames = [Frame(str(number), area) for number, area in enumerate(areas)]
    writer = FrameAreaWriter(folder, OutputGrid(*classes.shape, scale, 0.5), CLASSES, frames)
    write(writer, bands(classes, **heights))
    return [[*count.pixels.tolist(), count.not_analysed] for count in writer.counts]


def expected(classes, area, scale=(1.0, 1.0)):
    """The same by looking at every pixel's centre."""
    rows, columns = np.mgrid[: classes.shape[0], : classes.shape[1]]
    inside = shapely.contains_xy(area, (columns + 0.5) * scale[1], (rows + 0.5) * scale[0])
    return [int(np.count_nonzero(classes[inside] == number)) for number in (*range(len(CLASSES)), NOT_ANALYSED)]


def blob(rng, size):
    """A star-shaped area with a hole, anywhere on a picture and beyond."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radii = rng.uniform(0.1, 0.6, 40) * max(size)
    centre = rng.uniform(0, size[1]), rng.uniform(0, size[0])
    ring = np.stack([centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)], axis=1)
    hole = centre + 0.3 * (ring - centre)
    return shapely.Polygon(ring, [hole[::-1]])


def test_a_file_by_hand(tmp_path):
    classes = np.array([[0, 0, 1, 1], [0, 2, 1, NOT_ANALYSED], [3, 2, 2, NOT_ANALYSED]], np.uint8)
    frames = [Frame("core A", shapely.box(1, 1, 4, 3)), Frame("", shapely.box(0.4, 0.4, 2.5, 1.5))]
    writer = FrameAreaWriter(tmp_path, OutputGrid(3, 4, (1.0, 1.0), 500.0), CLASSES, frames)  # 0.25 mm² a pixel
    write(writer, bands(classes, height=2))
    with open(tmp_path / "areas_by_region.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["region", "name", "class", "pixels", "mm2", "share"],
            ["1", "core A", "background", "0", "0.000000000", "0.000000"],
            ["1", "core A", "tumour", "1", "0.250000000", "0.250000"],
            ["1", "core A", "stroma", "3", "0.750000000", "0.750000"],
            ["1", "core A", "fat", "0", "0.000000000", "0.000000"],
            ["1", "core A", "not_analysed", "2", "0.500000000", ""],
            ["2", "", "background", "2", "0.500000000", "1.000000"],
            ["2", "", "tumour", "0", "0.000000000", "0.000000"],
            ["2", "", "stroma", "0", "0.000000000", "0.000000"],
            ["2", "", "fat", "0", "0.000000000", "0.000000"],
            ["2", "", "not_analysed", "0", "0.000000000", ""],
        ]
    assert writer.describe()[0] == {
        "region": 1,
        "name": "core A",
        "areas": {
            "background": {"pixels": 0, "mm2": 0.0, "share": 0.0},
            "tumour": {"pixels": 1, "mm2": 0.25, "share": 0.25},
            "stroma": {"pixels": 3, "mm2": 0.75, "share": 0.75},
            "fat": {"pixels": 0, "mm2": 0.0, "share": 0.0},
        },
        "not_analysed": {"pixels": 2, "mm2": 0.5},
    }


@pytest.mark.parametrize(
    ("area", "pixels"),
    [
        (shapely.box(2, 1, 5, 4), 9),  # whole pixels
        (shapely.box(2.4, 1.4, 4.6, 3.6), 9),
        (shapely.box(2.6, 1.6, 4.4, 3.4), 1),
        (shapely.box(2.5, 1.5, 4.5, 3.5), 4),  # centres on its border: left and upper ones belong, right and lower not
        (shapely.box(2.6, 1.6, 3.4, 3.4), 0),  # between centres
        (shapely.box(-9, -9, 3, 2), 6),  # beyond the picture
        (shapely.box(5, 4, 99, 99), 6),
        (shapely.box(-9, -9, 99, 99), 48),
        (shapely.box(8, 0, 99, 99), 0),
        (shapely.box(0, 0, 8, 6) - shapely.box(1, 1, 7, 5), 24),  # a hole
        (shapely.box(0, 0, 2, 2) | shapely.box(4, 4, 6, 6), 8),  # of two parts
        (shapely.Polygon([(0, 0), (0, 5.9), (5.9, 0)]), 15),  # x + y < 5.9: 5 + 4 + 3 + 2 + 1
    ],
)
def test_pixels_whose_centres_lie_inside(tmp_path, area, pixels):
    classes = np.ones((6, 8), np.uint8)
    assert count(tmp_path, classes, [area], height=4) == [[0, pixels, 0, 0, 0]]


def test_neighbours_share_out_every_pixel_between_them(tmp_path):
    """Centres on a common border, straight or slanted, belong to one of the two."""
    classes = class_map(20, 20)
    halves = [shapely.Polygon([(0, 0), (20, 0), (20, 20)]), shapely.Polygon([(0, 0), (20, 20), (0, 20)])]
    quarters = [shapely.box(x, y, x + 9.5 + x / 9.5, y + 9.5 + y / 9.5) for x in (0, 9.5) for y in (0, 9.5)]
    whole = np.array(expected(classes, shapely.box(0, 0, 20, 20)))
    assert np.array_equal(np.sum(count(tmp_path, classes, halves, height=3), axis=0), whole)
    assert np.array_equal(np.sum(count(tmp_path, classes, quarters, height=3), axis=0), whole)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (2.5, 2.0)])
def test_any_shapes_that_overlap_each_count_their_own(tmp_path, scale):
    rng = np.random.default_rng(1)
    classes = class_map(73, 91)
    areas = [blob(rng, (73 * scale[0], 91 * scale[1])) for _ in range(20)]
    assert all(area.is_valid for area in areas)
    found = count(tmp_path, classes, areas, scale=scale, rng=rng)
    assert found == [expected(classes, area, scale) for area in areas]
    assert sum(map(sum, found)) > classes.size


def test_the_heights_of_bands_change_nothing(tmp_path):
    rng = np.random.default_rng(2)
    classes = class_map(60, 50)
    areas = [blob(rng, classes.shape) for _ in range(5)]
    found = [count(tmp_path, classes, areas, height=height) for height in (1, 7, 60)]
    assert found[0] == found[1] == found[2]
