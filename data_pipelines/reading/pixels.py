"""Stored pixels of every usable kind as 8-bit RGB."""

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16

GREY = "grey repeated in three channels, where colour is expected"
DEEP = "16-bit colour scaled to 8 bits"
LAID_ON_WHITE = "transparency laid on white"
TURNED = "the orientation tag is not applied"
ORIENTATION = 274  # that tag, of EXIF and of TIFF

_TO_8_BIT = ((np.arange(65536) + 128) // 257).astype(np.uint8)


def to_8_bit(pixels: Shaped[np.ndarray, "*any"]) -> UInt8[np.ndarray, "*any"]:
    """Full-range uint16 as uint8 (65535 becomes 255); uint8 as it is."""
    return _TO_8_BIT[pixels] if pixels.dtype == np.uint16 else pixels


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
