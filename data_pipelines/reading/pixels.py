"""Stored pixels of every usable kind as 8-bit RGB."""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16

GREY = "grey repeated in three channels, where colour is expected"
LAID_ON_WHITE = "transparency laid on white"
ANY_LAID_ON_WHITE = "transparency, where there is any, laid on white"  # of what is not read whole at once
TURNED = "the orientation tag is not applied"
ORIENTATION = 274  # that tag, of EXIF and of TIFF

AT_ONCE = 2**18  # pixels that are converted at once; each takes some ten times its own memory meanwhile
DEPTHS = (8, 10, 12, 14, 16)  # bits of what cameras put into 16


def by_bands(
    convert: Callable[[int, int], UInt8[np.ndarray, "_ w 3"]], height: int, width: int
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """A picture put together from bands of rows, `convert(top, bottom)` each, to hold little else meanwhile."""
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, AT_ONCE // max(1, width))
    for top in range(0, height, rows):
        pixels[top : top + rows] = convert(top, min(top + rows, height))
    return pixels


def to_8_bit(pixels: Shaped[np.ndarray, "*any"], bits: int = 16) -> UInt8[np.ndarray, "*any"]:
    """uint16 of so many bits as uint8, the greatest value of these bits as 255; uint8 as it is."""
    return _table(bits)[pixels] if pixels.dtype == np.uint16 else pixels


@functools.cache
def _table(bits: int) -> UInt8[np.ndarray, "65536"]:
    most = 2**bits - 1
    return ((np.minimum(np.arange(65536), most) * 255 + most // 2) // most).astype(np.uint8)


def depth(greatest: int, declared: int = 0) -> int:
    """Bits that the values of an image have in 16: as many as its greatest value needs, or more where it says so.

    A section seen in transmitted light has something brighter than a quarter of the range. That it has all 16 bits is
    what software writes without knowing.
    """
    needed = next(bits for bits in DEPTHS if greatest < 2**bits)
    return max(needed, declared if declared < 16 else 0) if greatest else 16


def deep(bits: int) -> str:
    """The note on colour of more than 8 bits."""
    return f"{bits}-bit colour scaled to 8 bits" if bits == 16 else f"{bits}-bit colour, stored in 16, scaled to 8 bits"


def lay_on_white(
    colour: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"], *, premultiplied: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """Colour seen through its transparency (alpha 0) on a white ground."""
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(colour)
    share = alpha[..., None].astype(np.uint16)
    over = colour.astype(np.uint16) if premultiplied else (colour * share + 127) // 255
    return np.minimum(over + (255 - share), 255).astype(np.uint8)


def palette_table(colours: Shaped[np.ndarray, "3 n"]) -> UInt8[np.ndarray, "n 3"]:
    """A TIFF's colour map as RGB; its 16 bits are full range, except where a writer put 8-bit values."""
    table: UInt16[np.ndarray, "n 3"] = np.asarray(colours, np.uint16).T
    return to_8_bit(table) if table.max() > 255 else table.astype(np.uint8)
