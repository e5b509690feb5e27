import numpy as np
import pytest
import shapely

from data_pipelines.annotations.painting import Painted, Painting, inside


def square(left, top, side):
    return shapely.box(left, top, left + side, top + side)


def test_a_square_labels_the_pixels_inside_it():
    label = Painting([Painted(square(1, 1, 2), 3)]).paint(0, 0, 4, 5)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(
        label, [[255, 255, 255, 255, 255], [255, 3, 3, 255, 255], [255, 3, 3, 255, 255], [255, 255, 255, 255, 255]]
    )


def test_a_pixel_belongs_to_what_covers_its_centre():
    assert inside(square(0.4, 0.4, 1), 0, 0, 2, 2).tolist() == [[True, False], [False, False]]
    assert inside(square(0.6, 0.6, 1), 0, 0, 2, 2).tolist() == [[False, False], [False, True]]
    assert not inside(square(0.6, 0.6, 0.8), 0, 0, 2, 2).any()


def test_holes_and_several_parts():
    ring = square(0, 0, 5).difference(square(1, 1, 3))
    assert inside(ring, 0, 0, 5, 5).sum() == 25 - 9
    both = shapely.MultiPolygon([square(0, 0, 1), square(3, 3, 2)])
    assert np.argwhere(inside(both, 0, 0, 5, 5)).tolist() == [[0, 0], [3, 3], [3, 4], [4, 3], [4, 4]]


def test_scale_and_place_of_the_window():
    painting = Painting([Painted(square(20, 40, 20), 1)])
    label = painting.paint(9, 4, 12, 8, (4.0, 4.0))  # rows 10 to 14, columns 5 to 9 of four image pixels each
    expected = np.full((12, 8), 255, np.uint8)
    expected[1:6, 1:6] = 1
    np.testing.assert_array_equal(label, expected)
    stretched = Painting([Painted(shapely.box(0, 0, 8, 4), 1)]).paint(0, 0, 3, 3, (4.0, 8.0))
    assert np.argwhere(stretched == 1).tolist() == [[0, 0]]


def test_what_lies_inside_something_else_shows_whatever_the_order():
    large, small = Painted(square(0, 0, 4), 1), Painted(square(1, 1, 1), 2)
    for areas in ((large, small), (small, large)):
        label = Painting(areas).paint(0, 0, 4, 4)
        assert label[1, 1] == 2 and (label == 1).sum() == 15


def test_of_equal_areas_the_later_shows():
    areas = [Painted(square(0, 0, 2), 1), Painted(square(1, 0, 2), 2)]
    assert Painting(areas).paint(0, 0, 1, 3).tolist() == [[1, 2, 2]]


def test_rank_comes_before_size():
    areas = [Painted(square(0, 0, 4), 1, rank=1), Painted(square(1, 1, 1), 2, rank=0)]
    assert (Painting(areas).paint(0, 0, 4, 4) == 1).all()


def test_frames_lie_below_areas_and_above_elsewhere():
    painting = Painting([Painted(square(0, 0, 2), 1)], [square(1, 1, 2)], inside_frames=0, elsewhere=255)
    np.testing.assert_array_equal(
        painting.paint(0, 0, 4, 4), [[1, 1, 255, 255], [1, 1, 0, 255], [255, 0, 0, 255], [255, 255, 255, 255]]
    )
    everywhere = Painting([Painted(square(0, 0, 1), 1)], elsewhere=5)
    assert everywhere.paint(0, 0, 1, 2).tolist() == [[1, 5]]
    assert painting.boxes.tolist() == [[1, 1, 3, 3], [0, 0, 2, 2]]


def random_area(generator):
    """A polygon with holes, or several, of random corners."""
    outline = shapely.make_valid(shapely.Polygon(generator.uniform(0, 40, (generator.integers(3, 12), 2))))
    areas = [part for part in shapely.get_parts(outline) if part.geom_type == "Polygon"]
    return shapely.union_all(areas)


def test_equals_a_test_of_every_centre():
    generator = np.random.default_rng(0)
    for _ in range(100):
        area, scale = random_area(generator), tuple(generator.uniform(0.5, 3, 2))
        top, left = generator.integers(-3, 10, 2).tolist()
        rows, columns = np.mgrid[top : top + 20, left : left + 25] + 0.5
        expected = shapely.contains_xy(area, columns * scale[1], rows * scale[0])
        np.testing.assert_array_equal(inside(area, top, left, 20, 25, scale), expected)


def test_windows_fit_together():
    generator = np.random.default_rng(1)
    painting = Painting([Painted(random_area(generator), label) for label in range(9)], elsewhere=9)
    whole = painting.paint(0, 0, 40, 40)
    for top, left, height, width in ((0, 0, 13, 40), (13, 0, 27, 17), (13, 17, 27, 23)):
        part = painting.paint(top, left, height, width)
        np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.7, 0.7), (4 / 3, 1.1), (2.5, 2.5)])
def test_neighbours_share_out_the_pixels(scale):
    """Areas without gaps between them label every pixel once, also where a side goes through centres."""
    generator = np.random.default_rng(2)
    corners = generator.integers(0, 80, (60, 2)) / 2 * scale[::-1]  # at corners of label pixels and in their middle
    triangles = shapely.get_parts(shapely.delaunay_triangles(shapely.MultiPoint(corners)))
    count = sum(inside(triangle, 0, 0, 40, 40, scale).astype(int) for triangle in triangles)
    whole = inside(shapely.MultiPoint(corners).convex_hull, 0, 0, 40, 40, scale)
    np.testing.assert_array_equal(count, whole)


def test_windows_fit_together_at_every_scale():
    generator = np.random.default_rng(3)
    for _ in range(20):
        scale = tuple(generator.choice([0.3, 1 / 3, 1.0, 1.1, 2.5], 2).tolist())
        corners = generator.integers(0, 80, (7, 2)) / 2 * scale[::-1]
        area = shapely.make_valid(shapely.Polygon(corners))
        areas = [Painted(part, 1) for part in shapely.get_parts(area) if part.area]
        whole = Painting(areas).paint(0, 0, 40, 40, scale)
        for top, left in ((0, 0), (3, 7), (11, 1), (20, 19)):
            part = Painting(areas).paint(top, left, 20, 20, scale)
            np.testing.assert_array_equal(part, whole[top : top + 20, left : left + 20])


def test_an_area_across_the_border_of_a_frame_labels_both_sides():
    painting = Painting([Painted(shapely.box(1, 0, 3, 1), 1)], [shapely.box(0, 0, 2, 1)], inside_frames=0)
    assert painting.paint(0, 0, 1, 4).tolist() == [[0, 1, 1, 255]]


def test_a_stroke_labels_what_its_round_pen_covers():
    stroke = shapely.LineString([(2, 2), (6, 2)]).buffer(1.2)
    expected = np.zeros((4, 8), bool)
    expected[1:3, 1:7] = True  # centres at most 1.2 from the line: half a pixel beyond its ends too
    np.testing.assert_array_equal(inside(stroke, 0, 0, 4, 8), expected)


@pytest.mark.parametrize("shape", [shapely.box(50, 50, 60, 60), shapely.box(0.1, 0.1, 0.2, 0.2)])
def test_what_lies_elsewhere_or_between_centres_labels_nothing(shape):
    assert (Painting([Painted(shape, 1)]).paint(0, 0, 10, 10) == 255).all()
