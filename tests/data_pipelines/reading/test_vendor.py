"""Slides of OpenSlide's vendors, written by hand and real."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from concurrent_reads import assert_threads_read

from crcfp_jax.common.errors import UserError
from data_pipelines.reading import vendor
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.pixels import GREY
from data_pipelines.reading.vendor import VendorSlide
from data_pipelines.reading.vendor_server import BLOCK

RNG = np.random.default_rng(0)
PIXELS = cv2.resize(RNG.integers(0, 256, (140, 160, 3), np.uint8), (1303, 1100), interpolation=cv2.INTER_CUBIC)
APERIO = "Aperio Image Library v11.2.1 \r\n1303x1100 [0,0 1303x1100] (256x256) LZW|AppMag = 20|MPP = {}"
LEICA = """<?xml version="1.0"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="a">
<collection name="c" uuid="b" sizeX="600000" sizeY="500000"><image name="i" uuid="d">
<creationDate>2020-01-01T00:00:00Z</creationDate><device model="Leica SCN400" version="1"/>
<pixels sizeX="512" sizeY="256"><dimension sizeX="512" sizeY="256" r="0" ifd="0"/>
<dimension sizeX="256" sizeY="128" r="1" ifd="1"/></pixels>
<view sizeX="256000" sizeY="128000" offsetX="100000" offsetY="200000" spacingZ="0"/>
<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>
<numericalAperture>0.7</numericalAperture><illuminationSource>brightfield</illuminationSource>
</illuminationSettings></scanSettings></image></collection></scn>"""


def write_svs(path, levels, microns="0.2500"):
    """An Aperio slide as its scanners write it: the largest level, a thumbnail, the further levels."""
    description = APERIO.format(microns)
    settings = {"photometric": "rgb", "compression": "lzw", "metadata": None, "description": description}
    with tifffile.TiffWriter(path) as file:
        file.write(levels[0], tile=(256, 256), **settings)
        if len(levels) > 1:
            file.write(levels[-1][:50, :50], rowsperstrip=16, **settings)
        for level in levels[1:]:
            file.write(level, tile=(256, 256), **settings)
    return path


def reduced(factor):
    return cv2.resize(PIXELS, (1303 // factor, 1100 // factor), interpolation=cv2.INTER_AREA)


def test_levels_and_regions_of_a_pyramid(tmp_path):
    levels = [PIXELS, reduced(2), reduced(4)]
    with open_slide(write_svs(tmp_path / "a.svs", levels)) as slide:
        assert isinstance(slide, VendorSlide)
        assert slide.levels == ((1100, 1303), (550, 651), (275, 325))
        assert slide.microns_per_pixel == 0.25 and slide.notes == ()
        np.testing.assert_array_equal(slide.read(0, 0, 0, 1100, 1303), PIXELS)
        np.testing.assert_array_equal(slide.read(0, 300, 200, 40, 50), PIXELS[300:340, 200:250])
        corner = slide.read(0, 1090, -10, 20, 20)
        np.testing.assert_array_equal(corner[:10, 10:], PIXELS[1090:, :10])
        assert (corner[10:] == 255).all() and (corner[:, :10] == 255).all()
        np.testing.assert_array_equal(slide.read(2, 0, 0, 275, 325), reduced(4))


def test_a_pixel_of_a_level_has_one_value_wherever_the_region_begins(tmp_path):
    with open_slide(write_svs(tmp_path / "a.svs", [PIXELS, reduced(2)])) as slide:
        height, width = slide.levels[1]  # 1303 / 651 is no whole number
        assert height > BLOCK and width > BLOCK
        whole = slide.read(1, 0, 0, height, width)
        np.testing.assert_array_equal(whole[:BLOCK, :BLOCK], reduced(2)[:BLOCK, :BLOCK])
        assert np.abs(whole.astype(int) - reduced(2)).max() < 100  # further on, OpenSlide interpolates
        for _ in range(20):
            top, left = int(RNG.integers(height - 60)), int(RNG.integers(width - 60))
            np.testing.assert_array_equal(slide.read(1, top, left, 60, 50), whole[top : top + 60, left : left + 50])


def test_an_empty_canvas_is_cropped_to_what_was_scanned(tmp_path):
    pixels = PIXELS[:256, :512]
    with tifffile.TiffWriter(tmp_path / "a.scn", bigtiff=True) as file:
        settings = {"photometric": "rgb", "tile": (128, 128), "compression": "lzw", "metadata": None}
        size = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        file.write(pixels, description=LEICA, **settings, **size)
        file.write(pixels[::2, ::2], **settings)
    with open_slide(tmp_path / "a.scn") as slide:
        assert slide.levels == ((256, 512), (128, 256)) and slide.microns_per_pixel == pytest.approx(0.5)
        assert slide.origin == (400, 200)  # of 500 nm each: 200 µm and 100 µm
        np.testing.assert_array_equal(slide.read(0, 0, 0, 256, 512), pixels)
        np.testing.assert_array_equal(slide.read(1, 3, 5, 60, 70), pixels[6:126:2, 10:150:2])


def test_pixels_without_a_tile_are_white(tmp_path):
    path = write_svs(tmp_path / "a.svs", [np.zeros((512, 512, 3), np.uint8)])
    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = file.pages[0].tags["TileByteCounts"]
        tag.overwrite([0, *tag.value[1:]])
    with open_slide(path) as slide:
        pixels = slide.read(0, 0, 0, 512, 512)
        assert (pixels[:256, :256] == 255).all() and pixels.sum() == 255 * 3 * 256 * 256


@pytest.mark.parametrize(("text", "microns"), [("0.2500", 0.25), ("0", None), ("unknown", None), ("900", None)])
def test_pixel_size_as_the_scanner_wrote_it(tmp_path, text, microns):
    with open_slide(write_svs(tmp_path / "a.svs", [PIXELS[:300, :300]], text)) as slide:
        assert slide.microns_per_pixel == microns


def test_truncated_anywhere(tmp_path, capfd):
    path = write_svs(tmp_path / "a.svs", [PIXELS, reduced(4)])
    content = path.read_bytes()
    for share in (0.0001, 0.001, 0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share) + 1])
        with pytest.raises(UserError, match=r"a.svs.*copy it again"), open_slide(path) as slide:
            slide.read(0, 0, 0, *slide.size)
    assert capfd.readouterr() == ("", "")


def test_a_slide_that_ends_too_early_is_told_when_it_is_opened(tmp_path):
    path = write_svs(tmp_path / "a.svs", [PIXELS])
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[: whole // 2])
    with pytest.raises(UserError, match=rf"a.svs is truncated or damaged \({whole // 2} bytes instead of {whole}"):
        open_slide(path)


def test_damage_that_shows_at_a_later_region(tmp_path, capfd):
    path = write_svs(tmp_path / "a.svs", [PIXELS])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.raises(UserError) as raised, open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 0, 200, 200), PIXELS[:200, :200])
        slide.read(0, 900, 0, 100, 100)
    assert str(raised.value).startswith(f"{path}: cannot read rows 900 to 1000, columns 0 to 100 of level 0 (")
    assert "\n" not in str(raised.value) and capfd.readouterr() == ("", "")


def test_tiles_too_large_for_any_memory(tmp_path):
    path = write_svs(tmp_path / "a.svs", [PIXELS])
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["TileWidth"].overwrite(65520)
        file.pages[0].tags["TileLength"].overwrite(65520)
    with pytest.raises(
        UserError, match=r"a.svs cannot be opened \(tiles of 65520 x 65520 pixels\): the file is damaged"
    ):
        open_slide(path)


def test_grey_is_noted_and_what_openslide_would_cut_is_refused(tmp_path):
    """OpenSlide gives both as 8-bit colour: 12 bits in 16 as black."""
    settings = {"tile": (256, 256), "metadata": None, "description": APERIO.format("0.25"), "compression": "lzw"}
    tifffile.imwrite(tmp_path / "grey.svs", PIXELS[:300, :300, 0], photometric="minisblack", **settings)
    with open_slide(tmp_path / "grey.svs") as slide:
        assert isinstance(slide, VendorSlide) and slide.notes == (GREY,)
        np.testing.assert_array_equal(slide.read(0, 0, 0, 9, 9), np.repeat(PIXELS[:9, :9, :1], 3, -1))
    for name, pixels, kind in (("a", PIXELS, "rgb"), ("b", PIXELS[..., 0], "minisblack")):
        stored = pixels[:300, :300].astype(np.uint16) * 16
        tifffile.imwrite(tmp_path / f"{name}.svs", stored, photometric=kind, **settings)
        with pytest.raises(UserError, match=rf"{name}.svs has 16-bit pixels, of which OpenSlide reads 8: save it as"):
            open_slide(tmp_path / f"{name}.svs")


def test_the_end_of_a_reader_costs_its_slide_only(tmp_path):
    path = write_svs(tmp_path / "a.svs", [PIXELS])
    with open_slide(path) as other, open_slide(path) as slide:
        slide._reader._process.kill()
        for _ in range(2):
            with pytest.raises(
                UserError, match=r"a\.svs: cannot read rows 0 .*\(OpenSlide's process was killed\): memory has"
            ):
                slide.read(0, 0, 0, 9, 9)
        np.testing.assert_array_equal(other.read(0, 0, 0, 99, 99), PIXELS[:99, :99])
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 0, 99, 99), PIXELS[:99, :99])


def test_a_reader_that_does_not_answer_is_ended(tmp_path, monkeypatch):
    path = write_svs(tmp_path / "a.svs", [PIXELS])
    with open_slide(path) as slide:
        monkeypatch.setattr(vendor, "PATIENCE", 0.2)
        slide._reader._process.send_signal(signal.SIGSTOP)
        with pytest.raises(UserError, match=r"a\.svs: cannot read .* \(no answer for 0.2 s\)"):
            slide.read(0, 0, 0, 9, 9)
        assert not slide._reader.alive


def test_an_answer_that_cannot_be_read_ends_the_reader_at_once(tmp_path, monkeypatch):
    path = write_svs(tmp_path / "a.svs", [PIXELS])
    with open_slide(path) as slide:
        monkeypatch.setattr(vendor, "receive", lambda file: file.read(1) and b"".decode(1))
        with pytest.raises(UserError, match=r"a\.svs: cannot read rows 0 "):
            for _ in range(2):  # the first answer may be read as before
                slide.read(0, 0, 0, 9, 9)
        assert not slide._reader.alive


def test_memory_that_a_reader_lacks_is_not_damage(tmp_path):
    with open_slide(write_svs(tmp_path / "a.svs", [PIXELS])) as slide, pytest.raises(MemoryError):
        slide._reader.ask("read", 0, 0, 0, 2**40, 2**20)


def test_a_process_that_cannot_be_started_is_told(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(vendor, "_idle", [])
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(UserError, match=r"a\.svs: no process for OpenSlide can be started \(Resource temp"):
        open_slide(write_svs(tmp_path / "a.svs", [PIXELS]))


def test_readers_serve_one_slide_after_the_other(tmp_path):
    path, plain = write_svs(tmp_path / "a.svs", [PIXELS]), tmp_path / "plain.tif"
    tifffile.imwrite(plain, PIXELS, photometric="rgb")
    used = set()
    for name in (path, plain, path):
        with open_slide(name) as slide:
            used |= {slide._reader._process.pid} if isinstance(slide, VendorSlide) else set()
    assert len(used) == 1


KILLED = """
import os, signal, sys
from data_pipelines.reading.open import open_slide
slide = open_slide(sys.argv[1])
print(slide._reader._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reader_ends_with_the_process_that_asks(tmp_path):
    path = write_svs(tmp_path / "a.svs", [PIXELS])
    done = subprocess.run([sys.executable, "-c", KILLED, path], capture_output=True, text=True, check=False)
    reader, end = Path("/proc", done.stdout.strip()), time.monotonic() + 10
    while reader.exists() and reader.joinpath("stat").read_text().split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    assert done.returncode == -signal.SIGKILL and time.monotonic() < end


def test_a_real_file_that_ends_openslide(real_data):
    """Its tiles claim 2^50 bytes."""
    path = real_data / "faults" / "openslide-abort-ap.svs"
    with pytest.raises(UserError, match=r"ap\.svs is truncated or damaged \(669 bytes instead of 1125899906843089"):
        open_slide(path)
    with (
        pytest.raises(UserError, match=r"ap\.svs: cannot read .* \(OpenSlide's process ended by SIGABRT\)"),
        vendor.open_vendor(path) as slide,
    ):
        slide.read(0, 0, 0, 256, 256)


def test_several_threads(tmp_path):
    with open_slide(write_svs(tmp_path / "a.svs", [PIXELS])) as slide:
        assert_threads_read(slide, PIXELS, rounds=30, most=900, side=99)


def test_a_real_slide(real_data):
    with open_slide(real_data / "slides" / "CMU-1-Small-Region.svs") as slide:
        assert slide.size == (2967, 2220) and slide.microns_per_pixel == 0.499 and slide.notes == ()
        whole = slide.read(0, 0, 0, 2967, 2220)
        np.testing.assert_array_equal(slide.read(0, 500, 700, 333, 444), whole[500:833, 700:1144])
        with tifffile.TiffFile(slide.path) as file:
            assert np.abs(whole.astype(int) - file.pages[0].asarray()).mean() < 1
