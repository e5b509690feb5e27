"""Numbers behind the pictures: which images, errors, distances, boundaries, contexts."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.figures import choice, clusters, embeddings, umaps
from crcfp_jax.figures.choice import Example
from crcfp_jax.figures.predictions import Compared, draw_predictions, error_colours
from crcfp_jax.figures.runs import MissingRuns
from crcfp_jax.methods.systems.palette import BLUE, VERMILION
from data_pipelines.data_set import Record

RECORD = Record("a", "test", 0, "h", "p", "i", 0, 0, True, 0.5)
TWO = (ClassInfo("background", (235, 235, 235)), ClassInfo("nuclei", (60, 40, 160)))
THREE = (*TWO, ClassInfo("other", (0, 255, 0)))


def example(label):
    label = np.asarray(label, np.uint8)
    return Example(RECORD, np.full((*label.shape, 3), 200, np.uint8), label)


def test_images_are_spread_over_the_ranks_of_difficulty():
    scores = [0.9, 0.1, 0.5, 0.3, 0.7, 0.2]
    assert choice.by_difficulty(scores, 3) == [5, 2, 0]  # ranks 1, 3 and 5 of 0.1 0.2 0.3 0.5 0.7 0.9
    assert choice.by_difficulty(scores, 9) == [1, 5, 3, 2, 4, 0]
    assert evenly_spaced(5, 3) == [0, 2, 4] and evenly_spaced(2, 3) == [0, 1]


def test_an_image_shows_a_boundary_if_two_classes_have_two_percent_each():
    label = np.zeros((10, 10), np.uint8)
    assert not choice.mixed(label)
    label[0, 0] = 1
    assert not choice.mixed(label)
    label[0, 1] = 1
    assert choice.mixed(label)
    label[1:] = 255  # 2 of the 10 pixels that count
    assert choice.class_shares(label)[:2].tolist() == [0.8, 0.2]


def test_the_hardest_image_of_three_comes_first():
    examples = [example([[0, 1]]), example([[1, 1]]), example([[0, 0]])]
    predictions = [np.asarray([[0, 1]], np.uint8), np.asarray([[0, 1]], np.uint8), np.asarray([[1, 1]], np.uint8)]
    chosen = choice.choose(examples, lambda _: predictions, 2)  # mIoU 1, 1/4, 0
    assert [examples.index(one) for one in chosen] == [2, 1, 0]


def test_errors_are_coloured_by_the_class_wrongly_predicted():
    one, prediction = example([[0, 1, 1, 255]]), np.asarray([[1, 0, 1, 0]], np.uint8)
    picture = error_colours(one, prediction, TWO)
    assert picture[0, 0].tolist() == pytest.approx(to_rgb(VERMILION))  # false positive
    assert picture[0, 1].tolist() == pytest.approx(to_rgb(BLUE))  # false negative
    faded = [0.8 + 0.2 * 200 / 255] * 3
    assert picture[0, 2].tolist() == pytest.approx(faded) and picture[0, 3].tolist() == pytest.approx(faded)
    assert error_colours(one, prediction + np.uint8(1), THREE)[0, 0].tolist() == [0.0, 1.0, 0.0]


def test_predictions_are_drawn_with_their_figures():
    compared = Compared(example([[0, 1], [1, 255]]), {"supervised": np.asarray([[0, 1], [0, 0]], np.uint8)})
    assert compared.figures("supervised", 2) == pytest.approx((50.0, 200 / 3))  # IoU 1/2 and 1/2; 2 of 3 right
    figure = draw_predictions([compared], TWO)
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "mIoU | acc. %", "50.0 | 66.7"]


def test_local_distance_is_the_mean_over_the_neighbours_that_exist():
    places = np.zeros((3, 3, 1))
    places[1, 1] = 8.0
    expected = [[8 / 3, 8 / 5, 8 / 3], [8 / 5, 8.0, 8 / 5], [8 / 3, 8 / 5, 8 / 3]]
    assert clusters.local_distance(places).tolist() == [pytest.approx(row) for row in expected]
    assert clusters.local_distance(np.asarray([[[0.0, 0.0], [3.0, 4.0]]])).tolist() == [[5.0, 5.0]]


def test_colour_patches_are_the_cell_and_half_of_its_neighbours():
    image = np.zeros((4, 4, 3), np.uint8)
    image[2, 2] = 255
    patches = clusters.colour_patches(image, 2)
    assert patches.shape == (2, 2, 4 * 4 * 3)
    # Rows and columns -1 to 2, 1 to 4: (2, 2) is the last of the first cell's patch.
    assert patches[0, 0].reshape(3, 4, 4)[:, 3, 3].tolist() == [1.0] * 3 and patches[0, 0].sum() == 3.0
    assert patches[1, 1].reshape(3, 4, 4)[:, 1, 1].tolist() == [1.0] * 3


def test_boundary_ratio_on_a_toy_map():
    label = np.asarray([[0, 0, 0, 1, 1, 1, 255, 0]], np.uint8)
    assert clusters.boundaries(label, 0).tolist() == [[False, False, True, True, False, False, False, False]]
    band = clusters.boundaries(label, 1)
    assert band.tolist() == [[False, True, True, True, True, False, False, False]]
    distance = np.asarray([[1.0, 3.0, 3.0, 3.0, 3.0, 2.0, 99.0, 3.0]])
    assert clusters.boundary_ratio(distance, label, band) == pytest.approx(3.0 / 2.0)
    assert np.isnan(clusters.boundary_ratio(distance, label, np.zeros_like(band)))


def test_the_map_of_an_image_shows_its_edge_at_its_place_and_no_window():
    image = np.zeros((40, 48, 3), np.uint8)
    image[:, 24:] = 255

    def describe(windows):
        assert windows.shape[1:] == (16, 16, 3)
        return [clusters.colour_patches(window, 2) for window in windows]

    found = clusters.distance_map(image, 16, describe)
    assert found.shape == (40, 48)
    assert (found[:, 23:25] > 1).all() and np.abs(found - found[:1]).max() < 0.02
    assert (found[:, :19] < 1e-6).all() and (found[:, 29:] < 1e-6).all()
    assert found[0] == pytest.approx(found[0, ::-1], abs=1e-5)


def test_windows_share_a_region_whose_cells_lie_on_one_another():
    place = embeddings.place_windows(30, 28, side=16, stride=2, grid=4)
    assert (place.shift, place.top, place.left) == (4, 3, 2)
    assert place.origins[:2] == [(3, 2), (3, 6)] and place.origins[-1] == (11, 10)
    assert place.shared == (11, 10, 8) and place.extent == 24
    # Each cell's feature is its place in the image: the same cell has the same one in every window.
    rows, columns = np.mgrid[0:30, 0:28]
    where = np.stack([rows, columns], -1).astype(float)
    features = np.stack([where[top : top + 16 : 2, left : left + 16 : 2] for top, left in place.origins])
    cells = embeddings.same_cells(features, place)
    assert cells.shape == (9, 16, 2) and (cells == cells[:1]).all()
    assert cells[0, 0].tolist() == [11.0, 10.0] and cells[0, -1].tolist() == [17.0, 16.0]


def test_windows_that_share_nothing_are_told():
    with pytest.raises(MissingRuns, match="of 32 pixels, 3 that lie 16 apart"):
        embeddings.place_windows(64, 64, side=32, stride=8, grid=16)


def test_small_images_are_enlarged_to_hold_the_windows():
    one = embeddings.enlarge(
        Example(RECORD, np.zeros((50, 100, 3), np.uint8), np.zeros((50, 100), np.uint8)), 40, 0.625
    )
    assert one.label.shape == (60, 120)  # 40 x 80 as evaluation scales it: its short side is less than 60
    same = embeddings.enlarge(example(np.zeros((100, 100))), 40, 0.625)
    assert same.label.shape == (80, 80)


def test_cells_have_the_class_of_most_of_their_pixels():
    label = np.asarray([[0, 1, 255, 255], [1, 255, 255, 255]], np.uint8)
    assert embeddings.cell_classes(label, 2).tolist() == [1, 255]


def test_context_ratio_by_hand():
    up, right = [0.0, 2.0], [3.0, 0.0]
    diagonal = [1.0, 1.0]
    # One place moves from up to the diagonal, the other stays: mean 1 - cos = (1 - 1/sqrt 2) / 2. To the other class:
    # the mean of 1 (up against right) and 1 - 1/sqrt 2 (diagonal against right).
    found = np.asarray([[up, right], [diagonal, right]])
    half = 1 - 0.5**0.5
    assert embeddings.context_ratio(found, np.asarray([0, 1])) == pytest.approx((half / 2) / ((1 + half) / 2))
    assert np.isnan(embeddings.context_ratio(found, np.asarray([0, 0])))
    with_ignored = np.concatenate([found, np.full((2, 1, 2), 7.0)], axis=1)
    expected = embeddings.context_ratio(found, np.asarray([0, 1]))
    assert embeddings.context_ratio(with_ignored, np.asarray([0, 1, 255])) == pytest.approx(expected)


def test_marked_cells_are_a_cross_without_those_that_do_not_count():
    classes = np.zeros(64, int)
    assert umaps.marked_cells(classes) == [18, 22, 36, 50, 54]
    classes[36] = 255
    assert umaps.marked_cells(classes) == [18, 22, 50, 54]


def seen_once():
    place = embeddings.place_windows(24, 24, side=16, stride=2, grid=4)
    classes = np.arange(16) // 8
    return embeddings.WindowedExample(example(np.zeros((24, 24))), place, classes)


def test_a_star_a_place_and_a_panel_a_space():
    seen = seen_once()
    assert embeddings.balance(seen) == pytest.approx(np.log(2))
    assert seen.windows().shape == (9, 16, 16, 3)
    points = np.random.default_rng(0).normal(size=(9, 16, 2))
    panel = umaps.Panel("Supervised, shared features", points, 0.1, 0.2, 0.03)
    figure = umaps.draw_umaps(seen, [panel, panel], TWO, 4)
    assert [axes.get_title().splitlines()[-1] for axes in figure.axes][1:] == ["0.10 | 0.20 ± 0.03"] * 2
    assert sum(len(c.get_offsets()) for c in figure.axes[1].collections if hasattr(c, "get_sizes")) >= 9 * 16


@pytest.mark.slow  # numba compiles for half a minute
def test_umap_keeps_groups_apart_and_gives_the_same_map_again():
    pytest.importorskip("umap")
    generator = np.random.default_rng(0)
    groups = np.repeat(np.eye(8)[[0, 1]], 20, axis=0) + 0.05 * generator.normal(size=(2, 40, 8))
    points = umaps.project(groups)
    assert points.shape == (2, 40, 2)
    centres = points[:, :20].mean((0, 1)), points[:, 20:].mean((0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * points[:, :20].std((0, 1)).max()
    assert (umaps.project(groups) == points).all()


def test_maps_are_drawn_with_their_ratios():
    label = np.zeros((16, 16), np.uint8)
    label[:, 8:] = 1
    label[:2] = 255
    maps = {"colour": np.ones((16, 16)), "crcfp": np.ones((16, 16))}
    shown = clusters.Maps(example(label), maps, {"colour": 1.0, "crcfp": 1.5})
    figure = clusters.draw_clusters([shown], {"colour": (1.1, 0.1), "crcfp": (1.6, 0.2)}, 32)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == ["true boundaries\nmean of 32 images:", "colour\n1.10 ± 0.10", "features, CRCFP\n1.60 ± 0.20"]
    assert figure.axes[2].get_xlabel() == "1.50"
