"""What stands below a picture: a legend, a scale bar; and the paper that holds it all together."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from crcfp_jax.common.drawing import FAINT_INK, INK, PAPER, legible, own_font, shortened

Picture = UInt8[np.ndarray, "h w 3"]
Entry = tuple[str, tuple[int, int, int] | None]  # text, colour of its swatch; None: left blank

MARGIN = 16  # pixels around everything; half of it between parts
LONGEST_BAR = 0.25  # of the picture's width


def text_size(width: int) -> int:
    """Height of text in pixels, for a picture of this width."""
    return min(34, max(15, width // 60))


def legend_height(entries: Sequence[Entry], width: int) -> int:
    """Pixels of a legend's height."""
    return _pitch(width) * len(_rows(entries, width)[0])


def _pitch(width: int) -> int:
    return round(1.9 * text_size(width))


Placed = tuple[int, str, tuple[int, int, int] | None]  # column, text, colour


def _rows(entries: Sequence[Entry], width: int) -> tuple[list[list[Placed]], ImageFont.FreeTypeFont]:
    size = text_size(width)
    texts, font = legible([text for text, _ in entries], size)
    swatch, gap = round(1.2 * size), round(0.5 * size)
    rows: list[list[Placed]] = [[]]
    x = 0
    for text, (_, colour) in zip(texts, entries, strict=True):
        text = shortened(text, float(width - swatch - gap), font)
        extent = swatch + gap + math.ceil(font.getlength(text))
        if rows[-1] and x + extent > width:
            rows.append([])
            x = 0
        rows[-1].append((x, text, colour))
        x += extent + 3 * gap
    return rows, font


def legend(entries: Sequence[Entry], width: int) -> Picture:
    """Swatches and their texts in as many rows as it takes; a text longer than a row loses its middle."""
    rows, font = _rows(entries, width)
    size, pitch = text_size(width), _pitch(width)
    swatch, gap = round(1.2 * size), round(0.5 * size)
    canvas = Image.new("RGB", (width, pitch * len(rows)), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, row in enumerate(rows):
        middle = number * pitch + pitch // 2
        for x, text, colour in row:
            corner = (x, middle - swatch // 2, x + swatch - 1, middle - swatch // 2 + swatch - 1)
            draw.rectangle(corner, fill=colour or PAPER, outline=FAINT_INK, width=max(1, size // 16))
            draw.text((x + swatch + gap, middle), text, fill=INK, font=font, anchor="lm")
    return np.asarray(canvas)


def scale_bar(width: int, microns_per_pixel: float) -> Picture:
    """A bar of a round length, at most a quarter of the width, and that length."""
    size = text_size(width)
    font = own_font(size)
    microns, length = round_length(width * LONGEST_BAR * microns_per_pixel)
    pixels = round(microns / microns_per_pixel)
    canvas = Image.new("RGB", (width, round(1.9 * size)), PAPER)
    draw = ImageDraw.Draw(canvas)
    middle, thickness = canvas.height // 2, max(3, size // 5)
    draw.rectangle((0, middle - thickness // 2, pixels - 1, middle - thickness // 2 + thickness - 1), fill=INK)
    draw.text((pixels + size // 2, middle), length, fill=INK, font=font, anchor="lm")
    return np.asarray(canvas)


def round_length(microns: float) -> tuple[float, str]:
    """The longest of 1, 2, 5, 10, 20 ... µm that is not longer than `microns`; and how it is written, without µ.

    Pillow's own font has no letters beyond ASCII.
    """
    power = 10.0 ** math.floor(math.log10(microns))
    length = max(step * power for step in (1, 2, 5) if step * power <= microns * (1 + 1e-9))
    return length, f"{length:g} microns" if length < 1000 else f"{length / 1000:g} mm"


def save_fast(picture: Picture, path: Path) -> None:
    """Writes a PNG in a quarter of the usual time, a fifth larger: most of the work on hundreds of small images."""
    Image.fromarray(picture).save(path, compress_level=1)


def on_paper(parts: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Picture:
    """Pictures one below the other, left-aligned, with a margin around them and half of it between them."""
    width = max(part.shape[1] for part in parts)
    gap = MARGIN // 2
    height = sum(part.shape[0] for part in parts) + gap * (len(parts) - 1)
    paper = np.full((height + 2 * MARGIN, width + 2 * MARGIN, 3), PAPER, np.uint8)
    y = MARGIN
    for part in parts:
        paper[y : y + part.shape[0], MARGIN : MARGIN + part.shape[1]] = part
        y += part.shape[0] + gap
    return paper
