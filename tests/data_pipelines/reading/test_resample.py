"""Resampling: values by hand, OpenCV's, and the same bits however the output is cut."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_pipelines.reading.axis import Axis
from data_pipelines.reading.resample import View, resample
from data_pipelines.reading.slide import Slide

RNG = np.random.default_rng(0)
SCALES = (0.3, 0.625, 0.99, 1.0, 1.02, 1.6, 2.56, 4.0, 7.3)


class Picture(Slide):
    """Levels in memory, white beyond."""

    def __init__(self, *levels):
        self.pixels = levels
        super().__init__(Path("picture"), tuple(level.shape[:2] for level in levels), 0.5, ())
        self.asked = []

    def _read(self, level, top, left, height, width):
        self.asked.append((level, height, width))
        return self.pixels[level][top : top + height, left : left + width]

    def close(self):
        pass


def whole(source, height, width):
    vertical, horizontal = Axis(source.shape[0], height), Axis(source.shape[1], width)
    return resample(source, vertical, horizontal, (0, height), (0, width))


def test_areas_by_hand():
    source = np.array([10, 20, 30, 40, 50], np.float32)[:, None, None]
    # 5 pixels to 2: each the mean of 2.5
    np.testing.assert_allclose(whole(source, 2, 1).ravel(), [(10 + 20 + 15) / 2.5, (15 + 40 + 50) / 2.5], rtol=1e-6)
    assert Axis(5, 2).weights(0, 2).toarray() == pytest.approx(np.array([[2, 2, 1, 0, 0], [0, 0, 1, 2, 2]]) / 5)
    assert Axis(5, 2).source_range(0, 1) == (0, 3) and Axis(5, 2).source_range(1, 2) == (2, 5)
    assert Axis(6, 2).source_range(1, 2) == (3, 6)


def test_interpolation_by_hand():
    source = np.array([10, 20], np.float32)[:, None, None]
    np.testing.assert_allclose(whole(source, 4, 1).ravel(), [10, 12.5, 17.5, 20], rtol=1e-6)
    assert Axis(2, 4).source_range(0, 1) == (0, 1) and Axis(2, 4).source_range(1, 2) == (0, 2)
    assert Axis(100, 200).source_range(50, 52) == (24, 27)
    assert Axis(1, 3).weights(0, 3).toarray().ravel().tolist() == [1, 1, 1]


@pytest.mark.parametrize("scale", SCALES)
def test_ranges_are_just_what_the_weights_use(scale):
    axis = Axis(round(97 * scale), 97)
    for start, stop in ((0, 97), (0, 1), (96, 97), (13, 14), (20, 61)):
        first, last = axis.source_range(start, stop)
        weights = axis.weights(start, stop).toarray()
        assert 0 <= first < last <= axis.source and weights.shape == (stop - start, last - first)
        np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
        whole_weights = axis.weights(0, 97).toarray()[start:stop]
        np.testing.assert_array_equal(weights, whole_weights[:, first:last])
        assert whole_weights[:, :first].sum() == whole_weights[:, last:].sum() == 0
    for available in range(axis.source + 1):
        complete = axis.complete(available)
        assert complete == 0 or axis.source_range(complete - 1, complete)[1] <= available
        assert complete == 97 or axis.source_range(complete, complete + 1)[1] > available


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("scale", SCALES)
def test_as_opencv_does(scale, kind):
    source = RNG.integers(0, 256, (round(61 * scale), round(83 * scale), 3)).astype(kind)
    method = cv2.INTER_AREA if scale >= 1 else cv2.INTER_LINEAR
    expected = cv2.resize(source, (83, 61), interpolation=method)
    output = whole(source, 61, 83)
    assert output.dtype == kind and np.abs(output.astype(float) - expected).max() <= 1


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_constant_stays(kind):
    for value in (0, 1, 127, 255):
        for scale in SCALES:
            source = np.full((round(50 * scale), round(40 * scale), 3), value, kind)
            np.testing.assert_allclose(whole(source, 50, 40), value, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6])
@pytest.mark.parametrize(("height", "width"), [(61, 83), (300, 420), (61, 420), (150, 200)])
def test_cutting_changes_nothing(height, width, channels):
    """Also where one axis grows and the other shrinks."""
    source = RNG.random((150, 200, channels), np.float32)
    vertical, horizontal = Axis(150, height), Axis(200, width)
    expected = whole(source, height, width)
    for _ in range(10):
        top, bottom = sorted(int(n) for n in RNG.choice(height + 1, 2, replace=False))
        left, right = sorted(int(n) for n in RNG.choice(width + 1, 2, replace=False))
        (above, below), (before, after) = vertical.source_range(top, bottom), horizontal.source_range(left, right)
        part = resample(source[above:below, before:after], vertical, horizontal, (top, bottom), (left, right))
        np.testing.assert_array_equal(part, expected[top:bottom, left:right])


def test_a_block_of_another_size_is_a_defect():
    with pytest.raises(ValueError, match=r"expected uint8 or float32 \(10, 10\)"):
        resample(np.zeros((9, 10, 3), np.uint8), Axis(10, 5), Axis(10, 5), (0, 5), (0, 5))
    with pytest.raises(ValueError, match="not float64"):
        resample(np.zeros((10, 10, 3)), Axis(10, 5), Axis(10, 5), (0, 5), (0, 5))


PICTURE = cv2.resize(RNG.integers(0, 256, (90, 120, 3), np.uint8), (701, 503), interpolation=cv2.INTER_CUBIC)
HALF = cv2.resize(PICTURE, (350, 251), interpolation=cv2.INTER_AREA)
EIGHTH = cv2.resize(PICTURE, (88, 63), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    ("scale", "level", "size"),
    [
        (1.0, 0, (503, 701)),
        (1.015, 0, (503, 701)),  # within 2 %: the level itself
        (1.03, 0, (488, 681)),
        (1.9, 0, (265, 369)),
        (1.97, 1, (251, 350)),
        (2.0, 1, (251, 350)),
        (2.56, 1, (196, 274)),
        (8.0, 2, (63, 88)),
        (20.0, 2, (25, 35)),
        (0.5, 0, (1006, 1402)),
        (5000.0, 2, (1, 1)),
    ],
)
def test_view_takes_the_coarsest_level_that_will_do(scale, level, size):
    slide = Picture(PICTURE, HALF, EIGHTH)
    view = View(slide, scale)
    assert view.size == size
    pixels = view.read(0, 0, *size)
    assert {asked for asked, _, _ in slide.asked} == {level}
    source = slide.pixels[level]
    expected = source if size == source.shape[:2] else whole(source, *size)
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("scale", [0.625, 1.6, 2.56, 30.0])
def test_view_cut_anywhere_gives_the_same(scale, monkeypatch):
    view = View(Picture(PICTURE, HALF, EIGHTH), scale)
    height, width = view.size
    expected = view.read(0, 0, height, width)
    monkeypatch.setattr("data_pipelines.reading.resample.BLOCK", (50, 70))
    np.testing.assert_array_equal(view.read(0, 0, height, width), expected)
    for _ in range(10):
        top, bottom = sorted(int(n) for n in RNG.choice(height + 1, 2, replace=False))
        left, right = sorted(int(n) for n in RNG.choice(width + 1, 2, replace=False))
        part = view.read(top, left, bottom - top, right - left)
        np.testing.assert_array_equal(part, expected[top:bottom, left:right])


def test_view_of_a_huge_level_is_read_by_blocks():
    slide = Picture(np.zeros((3000, 9000, 3), np.uint8))
    assert View(slide, 10.0).read(0, 0, 300, 900).shape == (300, 900, 3)
    assert all(height <= 512 and width <= 4096 for _, height, width in slide.asked)
    assert sum(height * width for _, height, width in slide.asked) == 3000 * 9000


def test_view_is_asked_within_its_canvas():
    with pytest.raises(ValueError, match="outside a canvas"):
        View(Picture(PICTURE), 2.0).read(0, 0, 300, 10)


def test_view_in_several_threads():
    view = View(Picture(PICTURE, HALF), 1.6)
    expected, results = view.read(0, 0, *view.size), [None] * 4

    def work(index):
        results[index] = np.concatenate([view.read(top, 0, 10, view.size[1]) for top in range(0, 300, 10)])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected[:300])
