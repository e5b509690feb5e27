"""Colours, shortened captions and PNG files of every picture that people look at."""

import functools
import io
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFont

from crcfp_jax.common.files import write_atomic

PAPER = (255, 255, 255)
INK = (33, 37, 41)
FAINT_INK = (108, 117, 125)
# Tried where Pillow's own, which has few letters beyond ASCII, lacks one; found by name in the system's folders.
FONTS = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "arial.ttf", "Arial Unicode.ttf",
         "NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc")  # fmt: skip
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


def legible(texts: Sequence[str], size: int) -> tuple[list[str], ImageFont.FreeTypeFont]:
    """Texts of one line each, and the font for them: Pillow's own, or the one of FONTS that has most of their letters.

    Of letters that it lacks the accents are left out; what is missing still are question marks.
    """
    texts = [" ".join(text.split()) for text in texts]
    letters = set("".join(texts))
    own = own_font(size)
    fonts = [own] if all(_has(own, letter) for letter in letters) else [own, *_installed(size)]
    font = max(fonts, key=lambda font: sum(_has(font, letter) for letter in letters))
    return ["".join(letter if _has(font, letter) else _plain(letter, font) for letter in text) for text in texts], font


@functools.cache
def own_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, of letters so many pixels high; it is read once, as hundreds of pictures need it."""
    return ImageFont.load_default(size)


def _installed(size: int) -> Iterator[ImageFont.FreeTypeFont]:
    for name in FONTS:
        with suppress(OSError):
            yield ImageFont.truetype(name, size)


def _plain(letter: str, font: ImageFont.FreeTypeFont) -> str:
    parts = [part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part)]
    return "".join(part if _has(font, part) else "?" for part in parts)


@functools.lru_cache(4096)
def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    """Whether a font draws a letter otherwise than one that no font has."""
    return letter.isspace() or _drawn(font, letter) != _drawn(font, "\uffff")


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
