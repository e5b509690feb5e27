"""A quantity between 0 and 1 over the whole slide, as a picture."""

import math
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageDraw

from crcfp_jax.common.drawing import FAINT_INK, HATCH_COLOURS, INK, PAPER, own_font
from crcfp_jax.slides.writing.blocks import BlockSums
from crcfp_jax.slides.writing.legend import legend, on_paper, save_fast, scale_bar, text_size

LONGEST = 2048  # pixels of the file's longer side
BELOW = 224  # pixels at most that margins and legend take
SHORTEST = 480  # pixels of the picture's longer side; a smaller one is enlarged
QUANTILE = 0.995  # of what is shown lies within the scale; a few outliers would make everything else dark
ROUNDING = 1.001  # a value that is this little above the end of a scale is at its end
LEAST_TOP = 0.001  # of the scale


class HeatMap:
    """Gathers a quantity as its rows come, and draws it in a perceptually even colour map (viridis).

    Each pixel of the picture is the mean over what was analysed there; what was not is grey. The scale begins at 0 and
    ends at the least of 0.001, 0.002, 0.005, 0.01 ... 1 that takes in 99.5 % of the pixels, printed on its bar: most
    quantities use a small part of 0 to 1 only.
    """

    def __init__(self, height: int, width: int, microns_per_pixel: float, title: str):
        """Args:
        height: rows that will come.
        width: of a row.
        microns_per_pixel: of these.
        title: what the quantity is.
        """
        self._blocks = BlockSums(height, width, 2, longest=LONGEST - BELOW)
        self._rows: list[np.ndarray] = []
        self._microns_per_pixel, self._title = microns_per_pixel, title

    def add(self, values: Float32[np.ndarray, "rows width"], seen: Bool[np.ndarray, "rows width"]) -> None:
        """Takes the next rows; `values` must be 0 where not `seen`."""
        total, count = self._blocks.add([values, seen])
        self._rows.append(np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32))

    def save(self, path: Path) -> None:
        """Writes the picture as PNG."""
        values = np.concatenate(self._rows)
        seen = np.isfinite(values)
        top = scale_top(values[seen])
        above = bool(seen.any()) and float(values[seen].max()) > top * ROUNDING
        places = np.nan_to_num(values / top * 255, nan=0).clip(0, 255).round().astype(np.uint8)
        picture = np.where(seen[..., None], _viridis()[places], np.array(HATCH_COLOURS[0], np.uint8))
        factor = max(1, -(-SHORTEST // max(values.shape)))
        picture = picture.repeat(factor, 0).repeat(factor, 1)
        width = max(picture.shape[1], SHORTEST)
        parts = [picture, _bar(width, self._title, top, above)]
        parts.append(scale_bar(width, self._microns_per_pixel * self._blocks.factor / factor))
        if not seen.all():
            parts.append(legend([("not analysed", HATCH_COLOURS[0])], width))
        save_fast(on_paper(parts), path)


def scale_top(values: Float32[np.ndarray, "n"]) -> float:
    """The end of a scale from 0: the least of 0.001, 0.002, 0.005, 0.01 ... 1 that takes in 99.5 % of the values."""
    if not len(values):
        return LEAST_TOP
    steps = [LEAST_TOP * 10**power * step for power in range(3) for step in (1, 2, 5)]
    most = float(np.quantile(values, QUANTILE))
    return next((top for top in steps if most <= top * ROUNDING), 1.0)


def _bar(width: int, title: str, top: float, above: bool) -> UInt8[np.ndarray, "_ {width} 3"]:
    """The colours from 0 to the top with numbers below them, and the title."""
    size = text_size(width)
    font = own_font(size)
    title_width = math.ceil(font.getlength(title)) + size
    length = min(width - title_width - 3 * size, 20 * size)
    colours = _viridis()[np.linspace(0, 255, length).round().astype(int)]
    canvas = Image.new("RGB", (width, round(2.6 * size)), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((0, round(0.6 * size)), title, fill=INK, font=font, anchor="lm")
    canvas.paste(Image.fromarray(np.repeat(colours[None], round(1.2 * size), 0)), (title_width, 0))
    draw.rectangle((title_width, 0, title_width + length - 1, round(1.2 * size) - 1), outline=FAINT_INK)
    for share in (0, 0.5, 1):
        text = f"{share * top:.3g}" + (" and more" if share == 1 and above else "")
        place = title_width + share * (length - 1)
        draw.text((place, round(1.4 * size)), text, fill=INK, font=font, anchor="ma")
    return np.asarray(canvas)


def _viridis() -> UInt8[np.ndarray, "256 3"]:
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_VIRIDIS)[0, :, ::-1]
