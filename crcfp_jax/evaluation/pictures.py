"""A grid of predictions for people: input, truth, prediction and errors, one row a sample, with a legend."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.drawing import FAINT_INK, HATCH_COLOURS, INK, PAPER, legible, own_font, shortened
from crcfp_jax.evaluation.metrics import accuracy, confusion_matrix, mean_iou

WRONG = (0, 0, 0)  # black stands out from every class colour, for every kind of colour vision
COLUMNS = ("Input", "Truth", "Prediction", "Errors")
GAP = 10  # pixels between cells
MARGIN = 16  # pixels around the grid


@dataclass(frozen=True)
class Sample:
    """One evaluated image: uint8 [h, w, 3], its labels and predictions, uint8 [h, w], and a caption."""

    caption: str
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    prediction: UInt8[np.ndarray, "h w"]


def prediction_grid(
    samples: Sequence[Sample], classes: Sequence[ClassInfo], *, cell: int = 240
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Draws the grid; every cell is `cell` pixels wide and keeps its image's aspect.

    Ignored pixels are hatched in truth and errors. The error column shows the input, faded, with wrong pixels black.
    """
    if not samples:
        raise ValueError("no samples to draw")
    heading = own_font(17)
    entries = [*((info.name, info.colour) for info in classes), ("ignored", None), ("wrong pixel", WRONG)]
    texts, text = legible([*(name for name, _ in entries), *(sample.caption for sample in samples)], 13)
    names, captions = texts[: len(entries)], texts[len(entries) :]
    rows = [_panels(sample, classes, cell) for sample in samples]
    grid_width = len(COLUMNS) * (cell + GAP) - GAP
    legend = _legend_rows([(name, colour) for name, (_, colour) in zip(names, entries, strict=True)], grid_width, text)
    header_height, caption_height, legend_height = 30, 24, 26
    height = 2 * MARGIN + header_height + len(legend) * legend_height + 6
    height += sum(row[0].shape[0] + caption_height for row in rows)
    canvas = Image.new("RGB", (grid_width + 2 * MARGIN, height), PAPER)
    draw = ImageDraw.Draw(canvas)

    y = MARGIN
    for column, title in enumerate(COLUMNS):
        draw.text((MARGIN + column * (cell + GAP) + cell // 2, y + 8), title, fill=INK, font=heading, anchor="mm")
    y += header_height - 6
    for sample, caption, row in zip(samples, captions, rows, strict=True):
        for column, panel in enumerate(row):
            canvas.paste(Image.fromarray(panel), (MARGIN + column * (cell + GAP), y))
        y += row[0].shape[0] + 4
        figures = _figures(sample, len(classes))
        right = MARGIN + grid_width
        draw.text((right, y), figures, fill=INK, font=text, anchor="ra")
        caption = shortened(caption, grid_width - text.getlength(figures) - 2 * GAP, text)
        draw.text((MARGIN, y), caption, fill=FAINT_INK, font=text, anchor="la")
        y += caption_height - 4
    y += 8
    for entries in legend:
        for x, name, colour in entries:
            _swatch(canvas, draw, (MARGIN + x, y), colour)
            draw.text((MARGIN + x + 26, y + 9), name, fill=INK, font=text, anchor="lm")
        y += legend_height
    return np.asarray(canvas).copy()


def colourise(label: UInt8[np.ndarray, "h w"], classes: Sequence[ClassInfo]) -> UInt8[np.ndarray, "h w 3"]:
    """Paints class numbers in the classes' colours and ignored pixels light grey."""
    palette = np.full((256, 3), HATCH_COLOURS[0], np.uint8)
    palette[: len(classes)] = [info.colour for info in classes]
    return palette[label]


def error_map(sample: Sample) -> UInt8[np.ndarray, "_ _ 3"]:
    """The input faded to light grey, with wrong pixels black; ignored pixels are never wrong."""
    grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
    faded = np.repeat((150 + grey.astype(np.int32) * 105 // 255).astype(np.uint8)[..., None], 3, axis=-1)
    wrong = (sample.label != sample.prediction) & (sample.label != IGNORED)
    return np.where(wrong[..., None], np.asarray(WRONG, np.uint8), faded)


def _panels(sample: Sample, classes: Sequence[ClassInfo], width: int) -> list[UInt8[np.ndarray, "_ {width} 3"]]:
    """The four cells of a row; hatched at their final size, so that the hatching looks the same in every row."""
    ignored = _fit((sample.label == IGNORED).astype(np.uint8), width, cv2.INTER_NEAREST).astype(bool)
    truth = _hatched(_fit(colourise(sample.label, classes), width, cv2.INTER_NEAREST), ignored)
    prediction = _fit(colourise(sample.prediction, classes), width, cv2.INTER_NEAREST)
    errors = _hatched(_fit(error_map(sample), width, cv2.INTER_NEAREST), ignored)
    return [_fit(sample.image, width, cv2.INTER_CUBIC), truth, prediction, errors]


def _fit(panel: np.ndarray, width: int, enlarge: int) -> np.ndarray:
    """Scales to a width, averaging where that shrinks the picture, by the given OpenCV rule where it enlarges it."""
    height = max(1, round(panel.shape[0] * width / panel.shape[1]))
    average = width < panel.shape[1] and panel.ndim == 3
    return cv2.resize(panel, (width, height), interpolation=cv2.INTER_AREA if average else enlarge)


def _hatched(panel: UInt8[np.ndarray, "h w 3"], where: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.where(where[..., None], _hatch(*where.shape), panel)


def _hatch(height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    diagonal = np.add.outer(np.arange(height), np.arange(width)) % 8 < 2
    return np.asarray(HATCH_COLOURS, np.uint8)[diagonal.astype(np.int64)]


def _figures(sample: Sample, num_classes: int) -> str:
    confusion = confusion_matrix(sample.label, sample.prediction, num_classes)
    if not confusion.any():
        return "no labelled pixel"
    return f"accuracy {100 * accuracy(confusion):.1f} %   mIoU {100 * mean_iou(confusion):.1f} %"


def _legend_rows(entries: list[tuple], width: int, font: ImageFont.FreeTypeFont) -> list[list[tuple]]:
    rows, x = [[]], 0
    for name, colour in entries:
        extent = 26 + int(font.getlength(name)) + 22
        if rows[-1] and x + extent > width:
            rows.append([])
            x = 0
        rows[-1].append((x, name, colour))
        x += extent
    return rows


def _swatch(canvas: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], colour) -> None:
    x, y = corner
    if colour is None:
        canvas.paste(Image.fromarray(_hatch(18, 18)), (x, y))
        draw.rectangle((x, y, x + 17, y + 17), outline=FAINT_INK)
    else:
        draw.rectangle((x, y, x + 17, y + 17), fill=tuple(colour), outline=FAINT_INK)
