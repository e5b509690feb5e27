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


def run(found, tissue=None, rows=1):
    """Pushes what was found of a whole output, some rows at a time, to two writers."""
    height, width = found["classes"].shape
    writers = Kept(), Kept()
    output = Output(grid(height, width), tissue, writers, num_classes=2)
    try:
        for top in range(0, height, rows):
            part = {name: values[top : top + rows] for name, values in found.items()}
            output.write(len(part["classes"]), part)
        output.finish()
    finally:
        output.close()
    for kept in writers:
        assert [b.top for b in kept.bands] == np.cumsum([0, *(len(b.classes) for b in kept.bands)])[:-1].tolist()
        assert kept.finished == 1
        np.testing.assert_array_equal(kept.joined("classes"), writers[0].joined("classes"))
    return writers[0], output


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_what_comes_goes_to_every_writer_in_bands_of_one_height(rows, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    classes = np.array([[0, 255, 1], [255, 1, 255], [1, 1, 0]], np.uint8)
    probabilities = np.random.default_rng(0).integers(0, 256, (3, 3, 2), np.uint8)
    uncertainty = np.random.default_rng(0).integers(0, 65536, (3, 3), np.uint16)
    kept, output = run({"classes": classes, "probabilities8": probabilities, "uncertainty16": uncertainty}, rows=rows)
    np.testing.assert_array_equal(kept.joined("classes"), classes)
    np.testing.assert_array_equal(kept.joined("probabilities"), probabilities)
    np.testing.assert_array_equal(kept.joined("uncertainty"), uncertainty)
    assert output.areas.pixels.tolist() == [2, 4] and output.areas.not_analysed == 3
    assert [band.top for band in kept.bands] == [0, 2]


def test_a_band_of_which_the_network_has_seen_a_part(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 4)
    kept = Kept()
    output = Output(grid(5, 2), None, [kept], num_classes=2)
    output.write(3, None)
    output.write(2, {"classes": np.ones((2, 2), np.uint8), "probabilities8": np.full((2, 2, 2), 9, np.uint8)})
    output.finish()
    output.close()
    assert [band.top for band in kept.bands] == [0, 4]
    assert kept.joined("classes")[:, 0].tolist() == [255, 255, 255, 1, 1]
    assert kept.joined("probabilities")[:, 0, 0].tolist() == [0, 0, 0, 9, 9]


def test_tissue_lies_where_it_lies_on_the_slide():
    mask = np.array([[False, False, True], [False, True, False]])  # 2 x 2 pixels each
    found = {
        "classes": np.ones((4, 6), np.uint8),
        "probabilities8": np.full((4, 6, 2), 100, np.uint8),
        "uncertainty16": np.full((4, 6), 7, np.uint16),
    }
    kept, _ = run(found, Tissue(mask))
    expected = np.kron(mask, np.ones((2, 2))).astype(bool)
    np.testing.assert_array_equal(kept.joined("classes"), np.where(expected, 1, NOT_ANALYSED))
    np.testing.assert_array_equal(kept.joined("uncertainty"), np.where(expected, 7, 0))
    np.testing.assert_array_equal(kept.joined("probabilities").any(-1), expected)
    assert (found["classes"] == 1).all()  # the device's own are left as they are


def test_rows_that_no_window_touches():
    kept = Kept()
    output = Output(grid(5, 3), None, [kept], num_classes=2)
    output.write(5, None)
    output.finish()
    output.close()
    assert (kept.joined("classes") == NOT_ANALYSED).all() and kept.bands[0].probabilities is None
    assert output.areas.not_analysed == 15


def test_rows_that_never_came_are_a_defect():
    output = Output(grid(4, 3), None, [], num_classes=2)
    output.write(3, None)
    with pytest.raises(RuntimeError, match="3 rows of 4 came"):
        output.finish()


@pytest.mark.parametrize("where", ["write", "finish"])
def test_an_error_of_one_writer_is_raised_and_the_others_end(where, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 1)

    class Full(Kept):
        def write(self, band):
            if where == "write" and band.top == 2:
                raise OSError("no space")

        def finish(self):
            raise OSError("no space")

    others = Kept()
    output = Output(grid(9, 3), None, [Full(), others], num_classes=2)
    with pytest.raises(OSError, match="no space"):
        try:
            for _ in range(9):
                output.write(1, None)
            output.finish()
        finally:
            output.close()
    assert len(others.bands) >= 3 and others.finished == (where == "finish")


def test_small_slides_keep_their_pixels_and_large_ones_the_coarser_ones(monkeypatch):
    assert output_grid((100, 60), 0.25, (50, 30)) == OutputGrid(100, 60, (1.0, 1.0), 0.25)
    monkeypatch.setattr(module, "PNG_PIXELS", 1000)
    assert output_grid((100, 60), 0.25, (50, 30)) == OutputGrid(50, 30, (2.0, 2.0), 0.5)
    assert output_grid((100, 60), 0.25, (200, 120)) == OutputGrid(100, 60, (1.0, 1.0), 0.25)
