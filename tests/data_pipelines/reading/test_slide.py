"""Which reader takes which file, and what can't be read told in one line."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from crcfp_jax.common.errors import UserError
from data_pipelines.reading.open import is_slide_file, open_slide
from data_pipelines.reading.slide import Slide, pixel_size

PIXELS = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


def reason(path) -> str:
    with pytest.raises(UserError) as raised:
        open_slide(path).close()
    message = str(raised.value)
    assert str(path) in message and "\n" not in message
    return message


def test_faults_of_the_file_in_one_line(tmp_path):
    assert "No such file" in reason(tmp_path / "none.svs")
    assert "is a folder" in reason(tmp_path)
    (tmp_path / "empty.tif").touch()
    assert "is empty" in reason(tmp_path / "empty.tif")
    for name in ("text.svs", "text.tif", "text.png"):
        (tmp_path / name).write_text("this is no slide\n" * 100)
        assert "no slide or picture" in reason(tmp_path / name)
    (tmp_path / "alone.mrxs").write_bytes(b"\xff\xd8\xff" + bytes(100))
    assert f"without its folder of data, {tmp_path / 'alone'}" in reason(tmp_path / "alone.mrxs")


def test_the_content_tells_the_reader_not_the_suffix(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "png.tif", format="PNG")
    tifffile.imwrite(tmp_path / "tiff.png", PIXELS, photometric="rgb")
    for name in ("png.tif", "tiff.png"):
        with open_slide(tmp_path / name) as slide:
            np.testing.assert_array_equal(slide.read(0, 0, 0, 70, 90), PIXELS)
            assert slide.path == tmp_path / name and slide.size == (70, 90) and slide.levels == ((70, 90),)


def test_a_folder_is_listed_by_suffix(tmp_path):
    for name in ("a.svs", "b.SVS", "c.ome.tif", "d.jpeg", "e.mrxs", "f.ndpi"):
        assert is_slide_file(tmp_path / name)
    for name in ("notes.txt", "slide.dcm", "._a.svs", "noext", "x.tif.part"):
        assert not is_slide_file(tmp_path / name)


class Ramp(Slide):
    """Pixels that are their row and column."""

    def __init__(self):
        super().__init__(Path("ramp"), ((10, 20),), None, ())

    def _read(self, level, top, left, height, width):
        rows, columns = np.mgrid[top : top + height, left : left + width]
        if (rows == 7).any():
            raise ValueError("no\nsuch tile")
        return np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)

    def close(self):
        self.closed = True


def test_beyond_the_slide_it_is_white():
    slide = Ramp()
    region = slide.read(0, -2, 18, 4, 5)
    assert (region[:2] == 255).all() and (region[:, 2:] == 255).all()
    np.testing.assert_array_equal(region[2:, :2], [[(0, 18, 0), (0, 19, 0)], [(1, 18, 0), (1, 19, 0)]])
    assert (slide.read(0, 50, 50, 3, 2) == 255).all() and slide.read(0, -9, 0, 3, 2).min() == 255
    assert slide.read(0, 2, 2, 0, 4).shape == (0, 4, 3)


def test_a_reader_that_fails_names_file_and_region():
    told = r"^ramp: cannot read rows 5 to 9, columns 1 to 3 of level 0 \(no such tile\): the file is damaged, copy"
    with pytest.raises(UserError, match=told):
        Ramp().read(0, 5, 1, 4, 2)


def test_a_with_statement_closes():
    with Ramp() as slide:
        pass
    assert slide.closed


def test_pixel_sizes_by_hand():
    assert pixel_size(0.25, 0.25) == (0.25, ())
    assert pixel_size(352.8, 352.8) == (None, ())  # 72 dpi
    assert pixel_size(0.01, 0.01) == pixel_size(None, 0.5) == pixel_size(float("nan"), 0.5) == (None, ())
    mean, notes = pixel_size(0.4, 0.6)
    assert mean == 0.5 and notes == ("pixels are 0.6 µm wide and 0.4 µm high, taken as squares of 0.5 µm",)
    assert pixel_size(0.5, 0.505) == (0.5025, ())
