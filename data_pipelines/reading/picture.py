"""PNG, JPEG and BMP pictures, held in memory whole."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.words import one_line
from data_pipelines.reading.pixels import (
    GREY,
    LAID_ON_WHITE,
    ORIENTATION,
    TURNED,
    by_bands,
    deep,
    depth,
    lay_on_white,
    to_8_bit,
)
from data_pipelines.reading.slide import INSTALL, Slide, check_size, described_size, pixel_size, too_large

FORMATS = ("PNG", "JPEG", "BMP")
BIT_DEPTH, COLOUR_TYPE = 24, 25  # bytes of a PNG
BMP_DEPTH = 28  # byte, of two
DESCRIPTION = 270  # tag of EXIF
GREY_TYPES = (0, 4)  # without and with transparency
REFUSED = {
    "CMYK": "CMYK",
    "I;16": "16-bit grey",
    "I": "32-bit grey",
    "F": "floating-point grey",
    "1": "black and white",
}


class ImageSlide(Slide):
    """A PNG, JPEG or BMP file."""

    def __init__(self, path: Path):
        with picture(path) as image:
            is_deep, grey = _kind(path, image)
            image.load()
            turned = (TURNED,) if image.getexif().get(ORIENTATION, 1) != 1 else ()
            microns, remarks = _microns(image)
            if is_deep:
                image.close()  # which frees its pixels; that they can all be decoded is known now
                self._pixels, notes = _decode_deep(path)
            else:
                self._pixels, notes = _convert(image)
        notes = (*((GREY,) if grey else ()), *notes, *turned, *remarks)
        super().__init__(path, (self._pixels.shape[:2],), microns, notes)

    def _read(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        return self._pixels[top : top + height, left : left + width].copy()

    def close(self) -> None:
        pass


@contextmanager
def picture(path: Path) -> Iterator[Image.Image]:
    """Opens a PNG, JPEG or BMP for the block, its pixels not yet decoded.

    Raises:
        UserError: it is too large, or damaged: what Pillow raises in the block is told as that, too.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size and odd metadata; pixels that can't be read raise
            with Image.open(path, formats=FORMATS) as image:
                check_size(path, image.height, image.width)
                image.verify()  # a PNG's check sums, which decoding passes over; it leaves nothing to be read
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except Image.DecompressionBombError as error:
        raise too_large(path) from error
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow raises what it likes for damaged bytes
        raise UserError(f"{path} is truncated or damaged ({one_line(error)}): copy it again") from error


def _kind(path: Path, image: Image.Image) -> tuple[bool, bool]:
    """Whether a picture has 16 bits, and whether it is grey; UserError for one that a network can't take."""
    stored_bits, colours = png_kind(path) if image.format == "PNG" else (8, None)
    is_deep = stored_bits == 16  # of which Pillow would cut the lower bytes off
    grey = image.mode.startswith("L") or (is_deep and colours in GREY_TYPES)
    if image.mode in REFUSED or (is_deep and grey):
        kind = REFUSED.get(image.mode, "16-bit grey")
        raise UserError(f"{path} is a {kind} picture, not the colours of a stained section: save it as 8-bit RGB")
    return is_deep, grey


def _convert(image: Image.Image) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[str, ...]]:
    """A decoded picture as RGB, and notes."""
    width, transparent = image.width, image.has_transparency_data
    laid = False

    def band(top: int, bottom: int) -> UInt8[np.ndarray, "_ w 3"]:
        nonlocal laid
        rows = np.asarray(image.crop((0, top, width, bottom)).convert("RGBA" if transparent else "RGB"))
        if not transparent:
            return rows
        laid |= int(rows[..., 3].min(initial=255)) < 255
        return lay_on_white(rows[..., :3], rows[..., 3])

    return by_bands(band, image.height, width), (LAID_ON_WHITE,) if laid else ()


def _decode_deep(path: Path) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[str, ...]]:
    """A PNG of 16-bit colour as RGB, and notes."""
    try:
        import imagecodecs  # OpenCV would print libpng's warnings, and take the rows that a damaged file lacks as black
    except ImportError as error:
        raise UserError(f"{path}: 16-bit colour needs a missing package ({error}): {INSTALL}") from error
    decoded = imagecodecs.png_decode(path.read_bytes())
    bits = depth(int(decoded[..., :3].max(initial=0)))
    transparent = decoded.shape[2] == 4
    alpha_bits = depth(int(decoded[..., 3].max(initial=0))) if transparent else 16
    laid = transparent and int(decoded[..., 3].min(initial=2**16 - 1)) < 2**alpha_bits - 1

    def band(top: int, bottom: int) -> UInt8[np.ndarray, "_ w 3"]:
        rows = decoded[top:bottom]
        colour = to_8_bit(rows[..., :3], bits)
        return lay_on_white(colour, to_8_bit(rows[..., 3], alpha_bits)) if transparent else colour

    notes = (*((LAID_ON_WHITE,) if laid else ()), deep(bits))
    return by_bands(band, *decoded.shape[:2]), notes


def png_kind(path: Path) -> tuple[int, int]:
    """Bits of a channel and colour type of a PNG, as its header has them."""
    with open(path, "rb") as file:
        header = file.read(COLOUR_TYPE + 1)
    return header[BIT_DEPTH], header[COLOUR_TYPE]


def bmp_depth(path: Path) -> int:
    """Bits of a pixel of a BMP, as its header has them."""
    with open(path, "rb") as file:
        file.seek(BMP_DEPTH)
        return int.from_bytes(file.read(2), "little")


def _microns(image: Image.Image) -> tuple[float | None, tuple[str, ...]]:
    across, down = image.info.get("dpi", (0, 0))
    found = pixel_size(25400 / down, 25400 / across) if across > 0 and down > 0 else (None, ())
    if found[0] is not None:
        return found
    return described_size(image.getexif().get(DESCRIPTION), *image.info.values())
