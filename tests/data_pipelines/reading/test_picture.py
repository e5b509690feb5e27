"""PNG and JPEG of every kind."""

import warnings

import imagecodecs
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from crcfp_jax.common.errors import UserError
from data_pipelines.reading import slide as slides
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.pixels import GREY, LAID_ON_WHITE, TURNED, deep, depth, lay_on_white, to_8_bit

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (50, 60, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (50, 60), np.uint8)


def read(path):
    with open_slide(path) as slide:
        return slide.read(0, 0, 0, *slide.size), slide


def test_png_is_read_to_the_bit(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    pixels, slide = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, PIXELS)
    np.testing.assert_array_equal(slide.read(0, 7, 11, 20, 30), PIXELS[7:27, 11:41])
    assert slide.notes == () and slide.microns_per_pixel is None


def test_what_is_returned_is_the_callers_own(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    pixels, slide = read(tmp_path / "a.png")
    pixels[:] = 0
    np.testing.assert_array_equal(slide.read(0, 0, 0, 50, 60), PIXELS)


def test_transparency_is_laid_on_white(tmp_path):
    Image.fromarray(np.dstack([PIXELS, ALPHA])).save(tmp_path / "rgba.png")
    pixels, slide = read(tmp_path / "rgba.png")
    expected = 255 - (255 - PIXELS.astype(float)) * ALPHA[..., None] / 255
    assert np.abs(pixels - expected).max() <= 0.51 and slide.notes == (LAID_ON_WHITE,)
    assert (lay_on_white(PIXELS, np.zeros((50, 60), np.uint8)) == 255).all()
    np.testing.assert_array_equal(lay_on_white(PIXELS, np.full((50, 60), 255, np.uint8)), PIXELS)


def test_grey_and_palette(tmp_path):
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    pixels, slide = read(tmp_path / "grey.png")
    np.testing.assert_array_equal(pixels, np.repeat(PIXELS[..., :1], 3, -1))
    assert slide.notes == (GREY,)
    Image.fromarray(np.dstack([PIXELS[..., 0], ALPHA])).save(tmp_path / "la.png")
    assert read(tmp_path / "la.png")[1].notes == (GREY, LAID_ON_WHITE)
    palette = Image.fromarray(PIXELS).quantize(50)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read(tmp_path / "palette.png")[0], np.asarray(palette.convert("RGB")))
    palette.save(tmp_path / "clear.png", transparency=3)
    pixels, slide = read(tmp_path / "clear.png")
    assert (pixels[np.asarray(palette) == 3] == 255).all() and slide.notes == (LAID_ON_WHITE,)


def test_sixteen_bits_are_scaled_by_257(tmp_path):
    assert to_8_bit(np.array([0, 128, 129, 257, 65535, 65406], np.uint16)).tolist() == [0, 0, 1, 1, 255, 254]
    stored = PIXELS.astype(np.uint16) * 257
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(stored))
    pixels, slide = read(tmp_path / "deep.png")
    np.testing.assert_array_equal(pixels, PIXELS)
    assert slide.notes == (deep(16),)
    (tmp_path / "rgba.png").write_bytes(imagecodecs.png_encode(np.dstack([stored, ALPHA.astype(np.uint16) * 257])))
    pixels, slide = read(tmp_path / "rgba.png")
    np.testing.assert_array_equal(pixels, lay_on_white(PIXELS, ALPHA))
    assert slide.notes == (LAID_ON_WHITE, deep(16))


def test_fewer_bits_in_sixteen_are_scaled_by_their_own_range(tmp_path):
    stored = np.round(PIXELS * (4095 / 255)).astype(np.uint16)
    stored[0, 0] = 4095
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(stored))
    pixels, slide = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels[1:], PIXELS[1:])
    assert slide.notes == (deep(12),) == ("12-bit colour, stored in 16, scaled to 8 bits",)
    opaque = np.full((50, 60), 65535, np.uint16)
    (tmp_path / "rgba.png").write_bytes(imagecodecs.png_encode(np.dstack([stored, opaque])))
    np.testing.assert_array_equal(read(tmp_path / "rgba.png")[0][1:], PIXELS[1:])


def test_bits_by_the_greatest_value_and_by_what_is_declared():
    assert [depth(n) for n in (0, 1, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535)] == [
        16, 8, 8, 10, 10, 12, 12, 14, 14, 16, 16
    ]  # fmt: skip
    assert (depth(700, 12), depth(5000, 12), depth(700, 16)) == (12, 14, 10)
    assert to_8_bit(np.array([0, 8, 9, 4095, 9999], np.uint16), 12).tolist() == [0, 0, 1, 255, 255]


def test_a_pixel_size_in_a_description(tmp_path):
    text, exif = PngImagePlugin.PngInfo(), Image.Exif()
    text.add_text("Description", "Aperio|AppMag = 40|MPP = 0.2522|")
    exif[270] = "AppMag = 20|MPP = 0.5"
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=text)
    Image.fromarray(PIXELS).save(tmp_path / "b.jpg", exif=exif)
    Image.fromarray(PIXELS).save(tmp_path / "c.jpg", comment="MPP = 900")
    found = [read(tmp_path / name)[1] for name in ("a.png", "b.jpg", "c.jpg")]
    assert [slide.microns_per_pixel for slide in found] == [0.2522, 0.5, None]
    assert found[0].notes == ("pixel size of 0.2522 µm as its description says",)


def test_kinds_that_are_refused(tmp_path):
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "a.jpg")
    Image.fromarray(PIXELS[..., 0].astype(np.uint16)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(imagecodecs.png_encode(np.dstack([ALPHA, ALPHA]).astype(np.uint16)))
    Image.fromarray(PIXELS).convert("1").save(tmp_path / "d.png")
    for name, kind in (("a.jpg", "CMYK"), ("b.png", "16-bit grey"), ("c.png", "16-bit grey"), ("d.png", "black and")):
        with pytest.raises(UserError, match=rf"{name} is a {kind}.*save it as 8-bit RGB"):
            open_slide(tmp_path / name)


def test_jpeg(tmp_path):
    smooth = np.asarray(Image.fromarray(PIXELS).resize((600, 500)))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95, dpi=(25400 / 0.5, 25400 / 0.5))
    pixels, slide = read(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(pixels, np.asarray(image))
    assert slide.microns_per_pixel == pytest.approx(0.5, rel=1e-3)
    Image.fromarray(smooth[..., 0]).save(tmp_path / "grey.jpeg")
    assert read(tmp_path / "grey.jpeg")[1].notes == (GREY,)


@pytest.mark.parametrize(("dpi", "microns"), [((72, 72), None), ((101600, 101600), 0.25), (None, None)])
def test_density_of_png(tmp_path, dpi, microns):
    Image.fromarray(PIXELS).save(tmp_path / "a.png", **({} if dpi is None else {"dpi": dpi}))
    assert read(tmp_path / "a.png")[1].microns_per_pixel == (microns and pytest.approx(microns, rel=1e-4))


def test_pixels_lie_as_stored_whatever_the_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    pixels, slide = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, PIXELS)
    assert slide.notes == (TURNED,)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_anywhere(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(PIXELS).save(path)
    content = path.read_bytes()
    for share in (0.01, 0.1, 0.5, 0.9, 0.97):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=rf"a{suffix} is truncated or damaged .*copy it again"):
            open_slide(path)


def test_too_many_pixels(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    monkeypatch.setattr(slides, "LARGEST", 2999)
    with pytest.raises(UserError, match=r"a.png has more than .* pixels.*vips tiffsave"):
        open_slide(tmp_path / "a.png")
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow's own limit gives the same advice
    with pytest.raises(UserError, match=r"vips tiffsave"):
        open_slide(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # and its warning is none of the reader's
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_slide(tmp_path / "a.png")
    assert not caught


def test_transparency_that_hides_nothing_is_not_worth_a_note(tmp_path):
    colour = np.random.default_rng(4).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    opaque = np.dstack([colour, np.full((5, 6), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    pixels, slide = read(tmp_path / "opaque.png")
    np.testing.assert_array_equal(pixels, colour)
    assert slide.notes == ()
