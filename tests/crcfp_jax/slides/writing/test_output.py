"""From canvas rows to bands, by hand: classes, what was not analysed, other pixel sizes."""

import numpy as np
import pytest

from crcfp_jax.slides.writing import output as module
from crcfp_jax.slides.writing.band import NOT_ANALYSED, OutputGrid
from crcfp_jax.slides.writing.output import Output, output_grid
from data_pipelines.reading.tissue import Tissue


class Kept:
    """Keeps what it is given."""

    def __init__(self):
        self.bands, self.finished = [], 0

    def write(self, band):
        self.bands.append(band)

    def finish(self):
        self.finished += 1

    def close(self):
        pass

    def joined(self, name):
        return np.concatenate([getattr(band, name) for band in self.bands])


def grid(height, width, scale=(1.0, 1.0)):
    return OutputGrid(height, width, scale, 1.0)


def run(values, size, tissue=None, rows=1):
    """Pushes [h, w, 3] values, two classes and an uncertainty, some rows at a time."""
    kept = Kept()
    output = Output(values.shape[:2], grid(*size), tissue, [kept], num_classes=2)
    for top in range(0, len(values), rows):
        output.write(values[top : top + rows])
    output.finish()
    assert [band.top for band in kept.bands] == np.cumsum([0, *(len(b.classes) for b in kept.bands)])[:-1].tolist()
    assert kept.finished == 1
    return kept, output


def test_the_class_is_the_most_probable_and_unseen_pixels_have_none():
    values = np.zeros((2, 3, 3), np.float32)
    values[0, 0] = (0.7, 0.3, 0.1)
    values[0, 2] = (0.2, 0.8, 0.4)
    values[1, 1] = (0.1, 0.9, 0.6)
    kept, output = run(values, (2, 3))
    assert kept.joined("classes").tolist() == [[0, NOT_ANALYSED, 1], [NOT_ANALYSED, 1, NOT_ANALYSED]]
    np.testing.assert_allclose(kept.joined("probabilities"), values[..., :2], rtol=1e-6)
    np.testing.assert_allclose(kept.joined("uncertainty"), values[..., 2], rtol=1e-6)
    assert output.areas.pixels.tolist() == [1, 2] and output.areas.not_analysed == 3


def test_tissue_lies_where_it_lies_on_the_slide():
    values = np.tile(np.array([0.25, 0.75, 0.5], np.float32), (4, 6, 1))
    mask = np.array([[False, False, True], [False, True, False]])  # 2 x 2 pixels each
    kept, _ = run(values, (4, 6), Tissue(mask))
    expected = np.kron(mask, np.ones((2, 2))).astype(bool)
    np.testing.assert_array_equal(kept.joined("classes"), np.where(expected, 1, NOT_ANALYSED))
    np.testing.assert_array_equal(kept.joined("uncertainty"), np.where(expected, np.float32(0.5), 0))
    assert not kept.joined("probabilities")[~expected].any()


@pytest.mark.parametrize("rows", [1, 3, 6])
def test_a_finer_canvas_is_averaged(rows):
    values = np.random.default_rng(0).random((6, 4, 3)).astype(np.float32)
    values[..., :2] /= values[..., :2].sum(-1, keepdims=True)
    kept, _ = run(values, (3, 2), rows=rows)
    expected = values.reshape(3, 2, 2, 2, 3).mean((1, 3))
    np.testing.assert_allclose(kept.joined("probabilities"), expected[..., :2], rtol=1e-5)
    np.testing.assert_allclose(kept.joined("uncertainty"), expected[..., 2], rtol=1e-5)
    np.testing.assert_array_equal(kept.joined("classes"), expected[..., :2].argmax(-1))


def test_next_to_what_was_not_looked_at_probabilities_still_add_up_to_one():
    values = np.zeros((2, 2, 3), np.float32)
    values[0] = (0.4, 0.6, 0.2)
    kept, _ = run(values, (1, 1))
    np.testing.assert_allclose(kept.joined("probabilities"), [[[0.4, 0.6]]], rtol=1e-6)
    np.testing.assert_allclose(kept.joined("uncertainty"), [[0.2]], rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_coarser_canvas_is_interpolated_to_an_odd_size(rows):
    values = np.zeros((5, 3, 3), np.float32)
    values[..., 0] = np.linspace(0.1, 0.5, 5)[:, None]
    values[..., 1] = 1 - values[..., 0]
    kept, _ = run(values, (11, 7), rows=rows)
    centres = np.clip((np.arange(11) + 0.5) * 5 / 11 - 0.5, 0, 4)
    expected = np.interp(centres, np.arange(5), np.linspace(0.1, 0.5, 5))
    np.testing.assert_allclose(kept.joined("probabilities")[..., 0], np.tile(expected[:, None], 7), atol=1e-6)


def test_rows_that_never_came_are_a_defect():
    output = Output((4, 3), grid(4, 3), None, [], num_classes=2)
    output.write(np.ones((3, 3, 3), np.float32))
    with pytest.raises(RuntimeError, match="3 rows of 4 came"):
        output.finish()


def test_small_slides_keep_their_pixels_and_large_ones_the_coarser_ones(monkeypatch):
    assert output_grid((100, 60), 0.25, (50, 30)) == OutputGrid(100, 60, (1.0, 1.0), 0.25)
    monkeypatch.setattr(module, "PNG_PIXELS", 1000)
    assert output_grid((100, 60), 0.25, (50, 30)) == OutputGrid(50, 30, (2.0, 2.0), 0.5)
    assert output_grid((100, 60), 0.25, (200, 120)) == OutputGrid(100, 60, (1.0, 1.0), 0.25)
