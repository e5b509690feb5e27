"""A suggested place as people look at it."""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from crcfp_jax.portable_model.card import Card
from crcfp_jax.slides.options import Options
from crcfp_jax.slides.plan import plan_picture
from crcfp_jax.suggest.candidates import BATCH
from crcfp_jax.suggest.suggestions import Suggestion
from data_pipelines.geometry import pad_to
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.resample import View

SHOWN = 280  # pixels of the longer side
LARGEST = 8  # windows along the side of a picture: larger places are shown by their middle


def show(
    each: Suggestion, card: Card, forward: Callable[[Any], Mapping[str, Any]], options: Options
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Pixels of a place, at most SHOWN of them along a side, and the label that the network gives it.

    Raises:
        UserError: the slide can't be read.
    """
    side = card.window
    with open_slide(each.picture.path) as slide:
        view = plan_picture(slide, card, options).view
        down, across = (seen / own for own, seen in zip(slide.size, view.size, strict=True))
        parts = []  # of both axes: start and length of what is shown, as the network sees it
        for start, extent, factor, whole in zip(
            (each.top, each.left), (each.height, each.width), (down, across), view.size, strict=True
        ):
            length = max(1, min(round(extent * factor), LARGEST * side, whole))
            parts.append((min(max(0, round((start + extent / 2) * factor - length / 2)), whole - length), length))
        (top, height), (left, width) = parts
        pixels = view.read(top, left, height, width)
        closer = View(slide, max(1.0, each.width / SHOWN, each.height / SHOWN))
        scales = [now / seen for now, seen in zip(closer.size, view.size, strict=True)]
        place = [round(start * scale) for (start, _), scale in zip(parts, scales, strict=True)]
        size = [
            max(1, min(round(length * scale), whole - start))
            for (_, length), scale, whole, start in zip(parts, scales, closer.size, place, strict=True)
        ]
        shown = closer.read(*place, *size)
    label = cv2.resize(_label(pixels, side, forward), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return shown, label


def _label(
    pixels: UInt8[np.ndarray, "h w 3"], side: int, forward: Callable[[Any], Mapping[str, Any]]
) -> UInt8[np.ndarray, "h w"]:
    """What the model says, window by window."""
    height, width = pixels.shape[:2]
    padded, _ = pad_to(pixels, None, -(-height // side) * side, -(-width // side) * side)
    label = np.zeros(padded.shape[:2], np.uint8)
    for y in range(0, padded.shape[0], side):
        for x in range(0, padded.shape[1], side):
            batch = np.zeros((BATCH, side, side, 3), np.uint8)
            batch[0] = padded[y : y + side, x : x + side]
            label[y : y + side, x : x + side] = np.asarray(forward(batch)["probabilities"][0]).argmax(-1)
    return label[:height, :width]
