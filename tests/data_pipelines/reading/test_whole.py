"""Images of every kind: what a build stores is what a prediction reads, or both refuse with the same sentence."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from raw_folders import MONUSEG_TRAINING, REGION, write_bcss, write_monuseg

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build, main
from data_pipelines.reading import slide as slides
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.pixels import ANY_LAID_ON_WHITE, GREY, LAID_ON_WHITE, TURNED, deep
from data_pipelines.reading.whole import read_codes, read_image

A2 = REGION.format(site="A2")
COLOUR = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
HIDDEN = np.full((30, 40, 1), 255, np.uint8)
HIDDEN[:, :20] = 0  # the left half can't be seen
SEEN = np.where(HIDDEN == 0, np.uint8(255), COLOUR)
THREE = np.repeat(COLOUR[..., :1], 3, -1)
INDICES = (np.arange(1200) % 4).astype(np.uint8).reshape(30, 40)
PALETTE = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [10, 20, 30]], np.uint8)


def pillow(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def tiff(pixels: np.ndarray, **settings) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **settings)
    return file.getvalue()


def paletted(**settings) -> bytes:
    image = Image.frombytes("P", (40, 30), INDICES.tobytes())
    image.putpalette(PALETTE.tobytes())
    return pillow(image, **settings)


def turned(jpeg: bool) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return pillow(Image.fromarray(COLOUR), "JPEG" if jpeg else "PNG", exif=exif)


def two_bit_grey() -> bytes:
    """Written by hand, as no library at hand does: Pillow would read the codes 0 to 3 as 0, 85, 170 and 255."""
    packed = INDICES[:, ::4] << 6 | INDICES[:, 1::4] << 4 | INDICES[:, 2::4] << 2 | INDICES[:, 3::4]
    header = struct.pack(">IIBBBBB", 40, 30, 2, 0, 0, 0, 0)
    content = {b"IHDR": header, b"IDAT": zlib.compress(np.pad(packed, ((0, 0), (1, 0))).tobytes()), b"IEND": b""}
    file = b"\x89PNG\r\n\x1a\n"
    for name, data in content.items():
        file += struct.pack(">I", len(data)) + name + data + zlib.crc32(name + data).to_bytes(4)
    return file


def as_jpeg_has_it() -> np.ndarray:
    return imagecodecs.jpeg_decode(pillow(Image.fromarray(COLOUR), "JPEG"))


READ = {  # bytes of the file, pixels by hand, notes
    "colour": (lambda: pillow(Image.fromarray(COLOUR)), COLOUR, ()),
    "grey": (lambda: pillow(Image.fromarray(COLOUR[..., 0])), THREE, (GREY,)),
    "16-bit colour": (lambda: imagecodecs.png_encode(COLOUR.astype(np.uint16) * 257), COLOUR, (deep(16),)),
    "hidden colour": (lambda: pillow(Image.fromarray(np.dstack([COLOUR, HIDDEN]))), SEEN, (LAID_ON_WHITE,)),
    "palette": (paletted, PALETTE[INDICES], ()),
    "clear palette": (
        lambda: paletted(transparency=1),
        np.where(INDICES[..., None] == 1, np.uint8(255), PALETTE[INDICES]),
        (LAID_ON_WHITE,),
    ),
    "turned PNG": (lambda: turned(False), COLOUR, (TURNED,)),
    "turned JPEG": (lambda: turned(True), as_jpeg_has_it(), (TURNED,)),
    "BMP": (lambda: pillow(Image.fromarray(COLOUR), "BMP"), COLOUR, ()),
    "grey BMP": (lambda: pillow(Image.fromarray(COLOUR[..., 0]), "BMP"), THREE, (GREY,)),
    "TIFF": (lambda: tiff(COLOUR, photometric="rgb", compression="lzw", predictor=True), COLOUR, ()),
    "16-bit TIFF": (lambda: tiff(COLOUR.astype(np.uint16) * 257, photometric="rgb"), COLOUR, (deep(16),)),
    "TIFF, hidden colour": (
        lambda: tiff(np.dstack([COLOUR, HIDDEN]), photometric="rgb", extrasamples=["unassalpha"]),
        SEEN,
        (ANY_LAID_ON_WHITE,),
    ),
}
REFUSED = {  # bytes of the file, what is said of it
    "16-bit grey": (lambda: pillow(Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 257)), "a 16-bit grey picture"),
    "1 bit": (lambda: pillow(Image.fromarray(COLOUR[..., 0]).convert("1")), "a black and white picture"),
    "CMYK JPEG": (lambda: pillow(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"), "a CMYK picture"),
    "CMYK TIFF": (lambda: tiff(np.dstack([COLOUR, HIDDEN]), photometric="separated"), "pixels of type CMYK"),
    "float TIFF": (lambda: tiff(COLOUR.astype(np.float32), photometric="rgb"), "32-bit pixels"),
    "16-bit grey TIFF": (lambda: tiff(COLOUR[..., 0].astype(np.uint16), photometric="minisblack"), "16-bit grey"),
    "stack": (lambda: tiff(np.stack([COLOUR] * 3), photometric="rgb"), "3 images of one size"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\nshowpage\n", "no slide or picture"),
    "GIF": (lambda: pillow(Image.fromarray(COLOUR), "GIF"), "no slide or picture"),
    "1-bit BMP": (lambda: pillow(Image.fromarray(COLOUR[..., 0]).convert("1"), "BMP"), "a black and white picture"),
    "half a BMP": (lambda: pillow(Image.fromarray(COLOUR), "BMP")[:2000], "truncated or damaged"),
    "empty": (lambda: b"", "empty"),
    "half": (lambda: pillow(Image.fromarray(COLOUR))[:2000], "truncated or damaged"),
    "zeros": (lambda: pillow(Image.fromarray(COLOUR))[:2000] + bytes(2000), "truncated or damaged"),
    "half a TIFF": (lambda: tiff(COLOUR, photometric="rgb")[:2000], "truncated"),
}


@pytest.fixture(params=["bcss", "monuseg"])
def raw(request, tmp_path) -> tuple[str, Path, Path]:
    """Name of a data set, its raw folder, and the path in there of an image that a test writes."""
    folder = tmp_path / "raw"
    if request.param == "bcss":
        write_bcss(folder, height=30, width=40)
        return "bcss", folder, folder / "rgbs_colorNormalized" / f"{A2}.png"
    return "monuseg", folder, write_monuseg(folder, 30, 40)["training image"]


@pytest.mark.parametrize("kind", READ)
def test_what_is_stored_is_what_a_prediction_reads(tmp_path, raw, kind):
    name, folder, path = raw
    make, expected, notes = READ[kind]
    path.write_bytes(make())
    data_set = build(name, folder, tmp_path / "data")
    stored = data_set.source("train", labels=True)[0]["image"][:30, :40]
    with open_slide(path) as slide:
        np.testing.assert_array_equal(stored, slide.read(0, 0, 0, *slide.size))
        assert slide.size == (30, 40) and slide.notes == notes
    np.testing.assert_array_equal(stored, expected)
    assert data_set.notes == tuple(f"{note}: 1 image, first {path.stem}" for note in notes)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_prediction_refuses_is_refused_in_the_same_words(tmp_path, raw, kind):
    name, folder, path = raw
    make, reason = REFUSED[kind]
    path.write_bytes(make())
    with pytest.raises(UserError, match=reason) as predicting:
        open_slide(path)
    with pytest.raises(UserError) as building:
        build(name, folder, tmp_path / "data")
    assert str(building.value) == f"{predicting.value}; mend it, or leave it out with --skip_bad"
    assert str(path) in str(building.value) and "\n" not in str(building.value)


def test_a_bad_image_is_left_out_on_demand(tmp_path):
    write_bcss(tmp_path / "raw", ("A1", "A2", "OL"), height=30, width=40)
    path = tmp_path / "raw" / "rgbs_colorNormalized" / f"{A2}.png"
    path.write_bytes(REFUSED["CMYK JPEG"][0]())
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data", skip_bad=True)
    assert [record.hospital for record in data_set.records] == ["A1", "OL"]
    (skipped,) = data_set.skipped
    assert skipped.startswith(f"{path} is a CMYK picture") and data_set.notes == ()


def test_an_image_too_large_to_be_held(tmp_path, monkeypatch):
    png, tif = tmp_path / "a.png", tmp_path / "a.tif"
    png.write_bytes(READ["colour"][0]())
    tif.write_bytes(READ["TIFF"][0]())
    monkeypatch.setattr(slides, "LARGEST", 1200)
    assert read_image(png)[0].shape == read_image(tif)[0].shape == (30, 40, 3)
    monkeypatch.setattr(slides, "LARGEST", 1199)
    messages = []
    for read, path in ((read_image, png), (read_image, tif), (open_slide, png), (read_codes, png)):
        with pytest.raises(UserError, match="too many to be held at once: cut it into smaller images") as raised:
            read(path)
        messages.append(str(raised.value).removeprefix(str(path)))
    assert len(set(messages)) == 1
    open_slide(tif).close()  # is read by regions


def test_notes_are_told_by_kind(tmp_path, capsys):
    write_bcss(tmp_path / "raw", ("A1", "A2", "A7", "OL"), height=30, width=40)
    for site, kind in (("A1", "grey"), ("A7", "grey"), ("OL", "hidden colour")):
        path = tmp_path / "raw" / "rgbs_colorNormalized" / f"{REGION.format(site=site)}.png"
        path.write_bytes(READ[kind][0]())
    command = ["bcss", "--raw_dir", str(tmp_path / "raw"), "--data_dir", str(tmp_path / "data")]
    expected = [
        "notes:",
        f"  {GREY}: 2 images, first {REGION.format(site='A1')}",
        f"  {LAID_ON_WHITE}: 1 image, first {REGION.format(site='OL')}",
    ]
    for _ in ("built", "already built"):
        main(command)
        out = capsys.readouterr().out.split("\n")
        told = " ".join(line.strip() for line in out[out.index("notes:") :]).strip()  # rich breaks long lines
        assert told == " ".join(line.strip() for line in expected)


def test_ordinary_images_leave_the_index_as_it_was(tmp_path):
    write_bcss(tmp_path / "raw", height=30, width=40)
    data_set = build("bcss", tmp_path / "raw", tmp_path / "data")
    assert data_set.notes == () and '"notes"' not in (data_set.path / "index.json").read_text()


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palettes_indices_are_codes_as_stored(tmp_path, bits):
    codes = INDICES % min(4, 2**bits)
    image = Image.frombytes("P", (40, 30), codes.tobytes())
    image.putpalette(PALETTE[: 2 ** min(bits, 2)].tobytes())
    image.save(tmp_path / "mask.png", bits=bits, transparency=0)
    np.testing.assert_array_equal(read_codes(tmp_path / "mask.png"), codes)


@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_grey_values_are_codes(tmp_path, format):
    (tmp_path / "mask.png").write_bytes(pillow(Image.fromarray(COLOUR[..., 0]), format))
    np.testing.assert_array_equal(read_codes(tmp_path / "mask.png"), COLOUR[..., 0])


def test_one_bit_holds_the_codes_0_and_1(tmp_path):
    Image.fromarray(INDICES == 1).save(tmp_path / "mask.png")
    codes = read_codes(tmp_path / "mask.png")
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, INDICES == 1)


def test_a_bmp_with_a_palette_of_colours_holds_its_indices(tmp_path):
    image = Image.frombytes("P", (40, 30), INDICES.tobytes())
    image.putpalette(PALETTE.tobytes())
    image.save(tmp_path / "mask.bmp")
    np.testing.assert_array_equal(read_codes(tmp_path / "mask.bmp"), INDICES)


NO_MASKS = {
    "16-bit": (REFUSED["16-bit grey"][0], "is a picture in 16-bit grey, not a mask"),
    "2-bit": (two_bit_grey, "is a picture in 2-bit grey, not a mask"),
    "colour": (READ["colour"][0], "is a picture in 8-bit RGB, not a mask"),
    "transparency": (
        lambda: pillow(Image.fromarray(np.dstack([INDICES, HIDDEN[..., 0]]))),
        "is a picture in 8-bit grey with transparency, not a mask",
    ),
    "colour BMP": (READ["BMP"][0], "is a picture in 24-bit RGB, not a mask"),
    "JPEG": (lambda: pillow(Image.fromarray(INDICES), "JPEG"), "is no PNG, so it holds no class codes"),
    "text": (lambda: b"404 not found", "is no PNG, so it holds no class codes"),
    "empty": (lambda: b"", "is empty: copy it again"),
    "half": (lambda: pillow(Image.fromarray(COLOUR[..., 0]))[:500], "is truncated or damaged .*: copy it again"),
}


@pytest.mark.parametrize("kind", NO_MASKS)
def test_what_is_no_mask_is_told(tmp_path, kind):
    make, reason = NO_MASKS[kind]
    path = tmp_path / "mask.png"
    path.write_bytes(make())
    with pytest.raises(UserError, match=rf"mask\.png {reason}") as raised:
        read_codes(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for read in (read_codes, read_image):
        with pytest.raises(UserError, match=r"cannot read .*mask\.png: No such file"):
            read(tmp_path / "mask.png")
        with pytest.raises(UserError, match="is a folder"):
            read(tmp_path)


# ---------------------------------------------------------------- real files


def test_real_files_with_damage(real_data):
    faults = real_data / "faults"
    for read in (read_image, read_codes):
        for name in ("zero-tail.png", "zero-tail-mask.png"):
            with pytest.raises(UserError, match=f"{name} is truncated or damaged"):
                read(faults / name)
    with pytest.raises(UserError, match=r"eps-named\.tif is no slide or picture"):
        read_image(faults / "eps-named.tif")
    with pytest.raises(UserError, match=r"loop-186-bytes\.tif is damaged .*a circle"):
        read_image(faults / "loop-186-bytes.tif")


REAL = {
    "MoNuSeg": f"monuseg/MoNuSeg 2018 Training Data/Tissue Images/{MONUSEG_TRAINING}.tif",
    "GlaS": "glas/images/train_1.jpg",
    "Aperio": "slides/CMU-1-Small-Region.svs",
}


@pytest.mark.parametrize("kind", REAL)
def test_real_images_through_a_build(tmp_path, real_data, kind):
    paths = write_monuseg(tmp_path / "raw")
    path = paths["training image"]
    path.unlink()
    path.symlink_to(real_data / REAL[kind])
    data_set = build("monuseg", tmp_path / "raw", tmp_path / "data")
    tiles = data_set.source("train", labels=False)
    with open_slide(real_data / REAL[kind]) as slide:
        height, width = slide.size
        read = 0
        for record in data_set.records:
            if record.split == "train":
                y, x = record.y, record.x
                inside = (min(250, height - y), min(250, width - x))
                stored = tiles[record.position]["image"][: inside[0], : inside[1]]
                np.testing.assert_array_equal(stored, slide.read(0, y, x, *inside))
                read += inside[0] * inside[1]
    assert read == height * width and data_set.notes == ()


def test_real_region_as_pillow_reads_it(real_data):
    (path,) = (real_data / "bcss_sample" / "rgbs_colorNormalized").glob("*.png")
    (mask,) = (real_data / "bcss_sample" / "masks").glob("*.png")
    with Image.open(path) as image, Image.open(mask) as codes:
        np.testing.assert_array_equal(read_image(path)[0], np.asarray(image.convert("RGB")))
        np.testing.assert_array_equal(read_codes(mask), np.asarray(codes))


# ---------------------------------------------------------------- packages

LACKING = """
import sys
for name in ("imagecodecs", "openslide", "shapely", "tifffile"):
    sys.modules[name] = None
from crcfp_jax.common.command import run_main
from data_pipelines.build import main
run_main(main)
"""


def test_png_needs_no_further_packages_and_tiff_says_which(tmp_path):
    write_bcss(tmp_path / "bcss", height=30, width=40)
    write_monuseg(tmp_path / "monuseg", 250, 250)
    told = {}
    for name in ("bcss", "monuseg"):
        arguments = [name, "--raw_dir", tmp_path / name, "--data_dir", tmp_path / "data"]
        done = subprocess.run([sys.executable, "-c", LACKING, *arguments], capture_output=True, text=True, check=False)
        told[name] = (done.returncode, done.stderr)
    assert told["bcss"] == (0, "")
    code, error = told["monuseg"]
    assert code == 1 and error.count("\n") == 1
    assert f"{MONUSEG_TRAINING}.tif: reading slides and TIFF needs a missing package" in error
    assert "pip install 'crcfp-jax[slides]' (or ./launch.sh install slides)" in error


ALONE = """
import sys
import data_pipelines.reading.vendor, data_pipelines.reading.tiff
from data_pipelines.build import build
build("monuseg", sys.argv[1], sys.argv[2])
print(*sorted(name for name in sys.modules if name.split(".")[0] in ("crcfp_jax", "flax", "jax", "tensorflow")))
"""


def test_reading_imports_neither_jax_nor_the_rest_of_the_package(tmp_path):
    write_monuseg(tmp_path / "raw", 250, 250)
    arguments = [sys.executable, "-c", ALONE, tmp_path / "raw", tmp_path / "data"]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    found = done.stdout.split()
    assert "crcfp_jax.common.files" in found
    assert all(name == "crcfp_jax" or name.startswith("crcfp_jax.common") for name in found)
