"""TIFF of every layout and kind, region by region against what was written."""

import struct

import numpy as np
import pytest
import tifffile
from concurrent_reads import assert_threads_read

from crcfp_jax.common.errors import UserError
from data_pipelines.reading import tiff
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.pixels import ANY_LAID_ON_WHITE, GREY, TURNED, deep, lay_on_white
from data_pipelines.reading.tiff import TiffSlide
from data_pipelines.reading.tiff_pages import LEFT_OUT

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (210, 330, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (210, 330, 1), np.uint8)
TILED = {"tile": (64, 48)}
RGB = {"photometric": "rgb"}


def write(path, pixels=PIXELS, **settings):
    tifffile.imwrite(path, pixels, **{**RGB, "metadata": None, **settings})
    return path


def check(path, expected=PIXELS, level=0):
    """Compares the whole and random regions, some of which reach over the edges; returns the notes."""
    with open_slide(path) as slide:
        assert isinstance(slide, TiffSlide)
        height, width = slide.levels[level]
        np.testing.assert_array_equal(slide.read(level, 0, 0, height, width), expected)
        padded = np.pad(expected, ((50, 50), (50, 50), (0, 0)), constant_values=255)
        for _ in range(20):
            top, left = RNG.integers(-50, height), RNG.integers(-50, width)
            h, w = RNG.integers(1, 50, 2)
            region = slide.read(level, int(top), int(left), int(h), int(w))
            np.testing.assert_array_equal(region, padded[top + 50 : top + 50 + h, left + 50 : left + 50 + w])
        return slide.notes


LAYOUTS = {
    "one_strip": {},
    "strips": {"rowsperstrip": 16},
    "strips_lzw": {"rowsperstrip": 16, "compression": "lzw", "predictor": True},
    "one_strip_deflate": {"compression": "deflate", "rowsperstrip": 210},
    "tiled": {"tile": (64, 48)},
    "tiled_deflate": {**TILED, "compression": "deflate", "predictor": True},
    "tiled_zstd": {**TILED, "compression": "zstd"},
    "tiled_jpeg2000": {**TILED, "compression": "jpeg2000"},
    "tiled_big_endian": {**TILED, "byteorder": ">"},
    "big_tiff": {**TILED, "bigtiff": True},
    "larger_tile_than_image": {"tile": (512, 512), "compression": "lzw"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lossless_layouts_to_the_bit(tmp_path, layout):
    assert check(write(tmp_path / "a.tif", **LAYOUTS[layout])) == ()


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 16, "compression": "lzw"}, TILED])
def test_planes_of_their_own(tmp_path, layout):
    check(write(tmp_path / "a.tif", np.moveaxis(PIXELS, -1, 0), planarconfig="separate", **layout))


@pytest.mark.parametrize("layout", [{}, TILED, {"byteorder": ">"}, {"byteorder": ">", "rowsperstrip": 7}])
def test_sixteen_bit_colour(tmp_path, layout):
    path = write(tmp_path / "a.tif", PIXELS.astype(np.uint16) * 257, **layout)
    assert check(path) == (deep(16),)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("layout", [{}, TILED, {"planarconfig": "separate"}])
def test_fewer_bits_in_sixteen_are_scaled_by_their_own_range(tmp_path, bits, layout):
    """As cameras store them; as 16 bits they would be black."""
    stored = np.round(PIXELS * ((2**bits - 1) / 255)).astype(np.uint16)
    stored[0, 0] = 2**bits - 1
    pixels = PIXELS.copy()
    pixels[0, 0] = 255
    given = np.moveaxis(stored, -1, 0) if "planarconfig" in layout else stored
    assert check(write(tmp_path / "a.tif", given, **layout), pixels) == (deep(bits),)


@pytest.mark.parametrize(
    ("settings", "microns"),
    [
        ({}, 0.499),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, 0.499),  # a screen's
        ({"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}, 0.25),  # a microscope's: it counts
    ],
)
def test_a_crop_that_kept_the_description_of_its_slide(tmp_path, settings, microns):
    description = (
        "Aperio Image Library v11.2.1 \r\n46000x32914 [0,0 330x210] JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990|Left = 25"
    )
    path = write(tmp_path / "crop.tif", description=description, **settings)
    with open_slide(path) as slide:
        assert slide.microns_per_pixel == pytest.approx(microns)
        assert slide.notes == (("pixel size of 0.499 µm as its description says",) if microns == 0.499 else ())


def first_pixel(path):
    with open_slide(path) as slide:
        return int(slide.read(0, 0, 0, 1, 1)[0, 0, 0]), slide.notes


def test_the_depth_that_a_file_declares_counts_where_its_values_fit(tmp_path):
    stored = np.full((70, 90, 3), 1000, np.uint16)  # a dark part of a brighter slide of 12 bits
    for value, expected in ((4095, (62, (deep(12),))), (65535, (249, (deep(10),)))):
        path = write(tmp_path / f"{value}.tif", stored, extratags=[(281, "H", 3, (value,) * 3, True)])
        assert first_pixel(path) == expected
    assert first_pixel(write(tmp_path / "none.tif", stored)) == (249, (deep(10),))
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, stored, photometric="rgb", metadata={"axes": "YXS", "SignificantBits": 12}, ome=True)
    assert first_pixel(path)[0] == 62


def test_the_greatest_value_is_looked_for_all_over_the_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "LOOKED_AT", 3)
    stored = np.full((640, 64, 3), 200, np.uint16)
    stored[-64:] = 4095  # the last of ten tiles
    assert first_pixel(write(tmp_path / "a.tif", stored, tile=(64, 64))) == (12, (deep(12),))


def test_deep_transparency_has_a_depth_of_its_own(tmp_path):
    four = np.concatenate([np.full((30, 40, 3), 4095, np.uint16), np.full((30, 40, 1), 65535, np.uint16)], -1)
    path = write(tmp_path / "a.tif", four, extrasamples=["unassalpha"])
    assert first_pixel(path) == (255, (deep(12), ANY_LAID_ON_WHITE))


def test_uncompressed_rows_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "PART", 330 * 3 * 17)
    check(write(tmp_path / "a.tif"))
    check(write(tmp_path / "b.tif", np.moveaxis(PIXELS, -1, 0), planarconfig="separate"))


def test_jpeg_tiles_as_the_library_decodes_them(tmp_path):
    smooth = np.kron(PIXELS[::10, ::10], np.ones((10, 10, 1), np.uint8))
    for name, settings in (("ycbcr", {}), ("rgb", {"compressionargs": {"outcolorspace": "rgb"}})):
        path = write(tmp_path / f"{name}.tif", smooth, compression="jpeg", tile=(64, 64), **settings)
        expected = tifffile.imread(path)
        assert np.abs(expected.astype(int) - smooth).mean() < 15
        check(path, expected)


def test_kinds_of_pixels(tmp_path):
    grey = PIXELS[..., 0]
    three = np.repeat(grey[..., None], 3, -1)
    assert check(write(tmp_path / "grey.tif", grey, photometric="minisblack", **TILED), three) == (GREY,)
    assert check(write(tmp_path / "white.tif", grey, photometric="miniswhite"), 255 - three) == (GREY,)
    table = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    for name, colours in (("full", table * 257), ("low", table)):
        path = write(tmp_path / f"{name}.tif", grey, photometric="palette", colormap=colours, **TILED)
        assert check(path, table.T[grey].astype(np.uint8)) == ()
    four = np.concatenate([PIXELS, ALPHA], -1)
    path = write(tmp_path / "alpha.tif", four, extrasamples=["unassalpha"], **TILED)
    assert check(path, lay_on_white(PIXELS, ALPHA[..., 0])) == (ANY_LAID_ON_WHITE,)
    multiplied = (four.astype(np.uint16) * ALPHA // 255).astype(np.uint8)
    multiplied[..., 3] = ALPHA[..., 0]
    path = write(tmp_path / "associated.tif", multiplied, extrasamples=["assocalpha"])
    assert check(path, multiplied[..., :3] + (255 - ALPHA)) == (ANY_LAID_ON_WHITE,)
    assert check(write(tmp_path / "fourth.tif", four, extrasamples=["unspecified"]), PIXELS) == (LEFT_OUT,)
    assert check(write(tmp_path / "turned.tif", extratags=[(274, "H", 1, 6, True)])) == (TURNED,)


def test_kinds_that_are_refused(tmp_path):
    grey, deep = PIXELS[..., 0], PIXELS.astype(np.uint16)
    cases = {
        "cmyk": (np.concatenate([PIXELS, ALPHA], -1), {"photometric": "separated"}, "pixels of type CMYK"),
        "lab": (PIXELS, {"photometric": "cielab"}, "pixels of type CIELAB"),
        "deep_grey": (deep[..., 0], {"photometric": "minisblack"}, "16-bit grey"),
        "float": (PIXELS.astype(np.float32), {}, "32-bit pixels"),
        "whole": (PIXELS.astype(np.int8), {}, "8-bit pixels .int8"),
        "two": (PIXELS[..., :2], {"photometric": "minisblack", "planarconfig": "contig"}, "2 channels"),
        "six": (np.tile(PIXELS, 2), {"extrasamples": ["unspecified"] * 3}, "6 channels"),
        "stack": (np.stack([PIXELS] * 3), {}, "3 images of one size"),
        "channels": (np.stack([grey] * 4), {"photometric": "minisblack"}, "4 images of one size"),
    }
    for name, (pixels, settings, reason) in cases.items():
        for layout in ({}, TILED):
            path = write(tmp_path / f"{name}.tif", pixels, **settings, **layout)
            with pytest.raises(UserError, match=rf"{name}.tif.*{reason}.*save it as an 8-bit RGB TIFF"):
                open_slide(path)
    tifffile.imwrite(tmp_path / "fiji.tif", np.stack([PIXELS] * 5), imagej=True)
    with pytest.raises(UserError, match="5 images of one size"):
        open_slide(tmp_path / "fiji.tif")


@pytest.mark.parametrize("kind", ["pages", "subifds", "ome"])
def test_pyramids(tmp_path, kind):
    levels = [PIXELS, PIXELS[::2, ::2], PIXELS[::4, ::4][:-1]]  # the last rounded down
    path = tmp_path / "a.ome.tif"
    reduced = {**RGB, **TILED, "subfiletype": 1, "compression": "deflate"}
    with tifffile.TiffWriter(path, ome=kind == "ome", bigtiff=kind == "ome") as file:
        file.write(PIXELS, **{**reduced, "subfiletype": 0}, **({} if kind == "pages" else {"subifds": 2}))
        for level in levels[1:]:
            file.write(level, **reduced)
        if kind == "pages":
            file.write(PIXELS[:40, :40], **RGB)  # a label
            file.write(PIXELS[:40, :170], **reduced)  # of other proportions: no level
    with open_slide(path) as slide:
        assert slide.levels == ((210, 330), (105, 165), (52, 83))
    for number, level in enumerate(levels):
        check(path, level, number)


def test_sparse_tiles_are_white(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((128, 96, 3), np.uint8), compression="deflate", **TILED)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = file.pages[0].tags["TileByteCounts"]
        tag.overwrite([0, *tag.value[1:]])
    with open_slide(path) as slide:
        pixels = slide.read(0, 0, 0, 128, 96)
        assert (pixels[:64, :48] == 255).all() and pixels.sum() == 64 * 48 * 3 * 255


MICRONS = {
    "centimetres": ({"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}, 0.5),
    "inches": ({"resolution": (101600, 101600), "resolutionunit": "INCH"}, 0.25),
    "screen": ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
    "no_unit": ({"resolution": (20000, 20000), "resolutionunit": "NONE"}, None),
    "nothing": ({}, None),
    "ome": ({"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}}, 0.25),
    "ome_nm": (
        {
            "ome": True,
            "metadata": {
                "PhysicalSizeX": 250,
                "PhysicalSizeXUnit": "nm",
                "PhysicalSizeY": 250,
                "PhysicalSizeYUnit": "nm",
            },
        },
        0.25,
    ),
    "imagej": ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "micron"}}, 0.25),
}


@pytest.mark.parametrize("case", MICRONS)
def test_microns_per_pixel(tmp_path, case):
    settings, expected = MICRONS[case]
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, **({} if "imagej" in settings else RGB), **settings)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.microns_per_pixel == (expected and pytest.approx(expected, rel=1e-6))


def test_a_pixel_that_is_no_square_is_noted(tmp_path):
    with open_slide(write(tmp_path / "a.tif", resolution=(20000, 25000), resolutionunit="CENTIMETER")) as slide:
        assert slide.microns_per_pixel == pytest.approx(0.45)
        assert slide.notes == ("pixels are 0.5 µm wide and 0.4 µm high, taken as squares of 0.45 µm",)


@pytest.mark.parametrize("layout", ["one_strip", "strips_lzw", "tiled", "tiled_deflate", "tiled_jpeg2000"])
def test_truncated_anywhere(tmp_path, layout, capfd):
    path = write(tmp_path / "a.tif", **LAYOUTS[layout])
    content = path.read_bytes()
    for share in (0.0001, 0.001, 0.05, 0.3, 0.7, 0.999):
        path.write_bytes(content[: int(len(content) * share) + 1])
        with pytest.raises(UserError, match=r"a.tif .*copy it again"):
            open_slide(path)
    assert capfd.readouterr() == ("", "")


def test_damage_shows_at_its_region_only(tmp_path, capfd):
    path = write(tmp_path / "a.tif", **LAYOUTS["tiled_deflate"])
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[0].dataoffsets[9], file.pages[0].databytecounts[9]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 0, 64, 330), PIXELS[:64])
        with pytest.raises(UserError, match=r"a.tif: cannot read rows 60 to 100, columns 0 to 330 .*damaged"):
            slide.read(0, 60, 0, 40, 330)
    path.write_bytes(content[:offset])  # while it is open, too
    assert capfd.readouterr() == ("", "")


def test_flipped_bytes_are_told_or_read(tmp_path, capfd):
    path = write(tmp_path / "a.tif", PIXELS[:40, :50], rowsperstrip=8, compression="lzw")
    content = path.read_bytes()
    places = [*range(200), *RNG.integers(200, len(content), 40)]  # tags lie at the beginning
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << RNG.integers(8)
        path.write_bytes(changed)
        try:
            with open_slide(path) as slide:
                slide.read(0, 0, 0, min(400, slide.size[0]), min(400, slide.size[1]))
        except UserError as error:
            assert "a.tif" in str(error) and "\n" not in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("target", [0, 1])
def test_a_chain_of_pages_without_end(tmp_path, target):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for level in (PIXELS, PIXELS[::2, ::2]):
            writer.write(level, subfiletype=int(level is not PIXELS), **RGB)
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
        last = file.pages[1]
        place = last.offset + 2 + 12 * len(last.tags)  # of the next page's offset, which is 0
    content = bytearray(path.read_bytes())
    assert content[place : place + 4] == bytes(4)
    content[place : place + 4] = offsets[target].to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.tif is damaged \(its chain of images is a circle\): copy it again"):
        open_slide(path)


def test_a_sparse_picture_of_a_million_pixels_square(tmp_path):
    """92 kB that say so; each of its 3,844 tiles is absent, which is white."""
    side, tile = 10**6, 16384
    count = (-(-side // tile)) ** 2
    place = 8 + 2 + 12 * 10 + 4
    entries = [
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 3, place), (259, 3, 1, 8), (262, 3, 1, 2), (277, 3, 1, 3),
        (322, 4, 1, tile), (323, 4, 1, tile), (324, 4, count, place + 6), (325, 4, count, place + 6 + 4 * count),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + struct.pack("<3H", 8, 8, 8)
    (tmp_path / "a.tif").write_bytes(head + bytes(8 * count))
    with pytest.raises(UserError, match=r"a\.tif says that it has 1000000 x 1000000 pixels, more than any slide has"):
        open_slide(tmp_path / "a.tif")


def test_a_strip_too_large_to_be_held(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "LARGEST", 1000)
    with pytest.raises(UserError, match=r"has strips of 210 x 330 pixels.*vips tiffsave"):
        open_slide(write(tmp_path / "a.tif", compression="deflate", rowsperstrip=210))


def test_only_what_a_region_needs_is_decoded_and_little_is_kept(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", compression="deflate", **TILED)
    tile = 64 * 48 * 3
    monkeypatch.setattr(tiff, "CACHE", 3 * tile)
    decoded = []
    read = tiff._Segments.read

    def recorded(self, index, convert):
        decoded.append(index)
        return read(self, index, convert)

    monkeypatch.setattr(tiff._Segments, "read", recorded)
    with open_slide(path) as slide:
        decoded.clear()
        slide.read(0, 60, 40, 10, 10)
        assert sorted(decoded) == [1, 7, 8]  # 0 was, to see that it can be
        slide.read(0, 64, 48, 16, 48)
        assert sorted(decoded) == [1, 7, 8]
        slide.read(0, 0, 0, 210, 330)
        assert slide._cached <= 3 * tile and slide._cached == sum(part.nbytes for part in slide._cache.values())


def test_several_threads(tmp_path):
    for layout in (TILED, {"rowsperstrip": 3}):
        with open_slide(write(tmp_path / "a.tif", **layout)) as slide:
            assert_threads_read(slide, PIXELS, rounds=50, most=150, side=60)
