"""Colours, shortened captions and PNG files of every picture that people look at."""

import io
import os

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFont

from crcfp_jax.common.files import write_atomic

PAPER = (255, 255, 255)
INK = (33, 37, 41)
FAINT_INK = (108, 117, 125)
HATCH_COLOURS = ((222, 224, 227), (176, 180, 185))  # ground and lines of ignored pixels


def save_picture(path: str | os.PathLike, picture: UInt8[np.ndarray, "_ _ 3"]) -> None:
    """Writes a PNG, whole or not at all; UserError where the disk is full or the folder unwritable."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    write_atomic(path, buffer.getvalue())


def shortened(caption: str, width: float, font: ImageFont.FreeTypeFont) -> str:
    """Cuts out the middle: a tile's origin and its position both matter."""
    shown, keep = caption, len(caption)
    while keep > 2 and font.getlength(shown) > width:
        keep -= 1
        shown = caption[: keep - keep // 2] + "…" + caption[len(caption) - keep // 2 :]
    return shown
