"""The classes laid over the slide's picture, for people."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.areas import AreaCount
from crcfp_jax.slides.writing.band import NOT_ANALYSED, Band, OutputGrid
from crcfp_jax.slides.writing.blocks import BlockSums
from crcfp_jax.slides.writing.geojson import BACKGROUND
from crcfp_jax.slides.writing.legend import (
    MARGIN,
    Entry,
    legend,
    legend_height,
    on_paper,
    save_fast,
    scale_bar,
    text_size,
)
from data_pipelines.reading.resample import SAME, View
from data_pipelines.reading.slide import Slide

LONGEST = 2400  # pixels of the file's longer side
SHORTEST = 640  # pixels of the legend's width, so that it can be read below the picture of a small image
ENLARGED = 384  # pixels of the longer side that the picture of a smaller image gets
OPACITY = 0.35  # of a class's colour over the tissue
ROWS = 256  # coloured at a time: bounds the memory
DARK = 110  # a colour of less luminance gets a light outline, as tissue is dark too; others get a dark one


class OverlayWriter:
    """Writes `overlay.png`: the slide, its classes in translucent colours with outlines, a legend and a scale bar.

    A class named 'background' and what was not analysed stay as they are. Each pixel of the picture has the class that
    most of the output's pixels have there. The legend tells each class's share of the analysed area.
    """

    def __init__(self, folder: Path, grid: OutputGrid, classes: Sequence[ClassInfo], slide: Slide):
        self._path, self._grid, self._classes = folder / "overlay.png", grid, classes
        self._count = AreaCount(len(classes))
        self._blocks = BlockSums(grid.height, grid.width, len(classes) + 1, longest=LONGEST)
        self._labels: list[np.ndarray] = []  # rows of blocks
        self._view = self._fitting_view(slide)
        # The slide's picture is read while the network is at work: finer levels of large slides take seconds.
        self._reader = ThreadPoolExecutor(1, "overview")
        self._picture = self._reader.submit(self._view.read, 0, 0, *self._view.size)

    def _fitting_view(self, slide: Slide) -> View:
        """The slide at the size that leaves room for what stands below it, whatever the shares will be."""
        height, width = slide.size
        whole, paper = max(height, width), LONGEST - 2 * MARGIN
        longer = min(paper / (1 + SAME), max(ENLARGED, whole))  # a view may be a little larger than it was asked to be
        # What stands below takes its room from a tall picture, with a row to spare as that makes the picture narrower.
        below = max(SHORTEST, round(longer * width / whole))
        entries = self._entries([1.0] * len(self._classes), 1.0)
        room = paper - legend_height(entries, below) - 2 * MARGIN - 5 * text_size(below)
        return View(slide, whole / min(longer, room / (1 + SAME) * whole / height))

    def write(self, band: Band) -> None:
        """Keeps the most frequent class of each block of pixels."""
        numbers = np.array([*range(len(self._classes)), NOT_ANALYSED], np.uint8)
        sums = self._blocks.add([band.classes == number for number in numbers])
        self._labels.append(numbers[sums.argmax(0)])
        *pixels, not_analysed = sums.sum((1, 2), dtype=np.float64).astype(np.int64)
        self._count.pixels += pixels
        self._count.not_analysed += int(not_analysed)

    def finish(self) -> None:
        """Writes the file."""
        picture = self._picture.result()
        height, width = self._view.size
        microns_per_pixel = self._grid.microns_per_pixel * self._grid.width / width
        laid_over = lay_over(picture, self._labels_at((height, width)), self._classes)
        below = max(SHORTEST, width)
        entries = self._entries(self._count.shares, self._count.not_analysed / (self._grid.height * self._grid.width))
        parts = [laid_over, scale_bar(below, microns_per_pixel), legend(entries, below)]
        save_fast(on_paper(parts), self._path)

    def close(self) -> None:
        """Ends what reads the slide."""
        self._reader.shutdown(cancel_futures=True)

    def _labels_at(self, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
        """The class at the centre of each pixel of a picture of the whole slide."""
        rows, columns = (
            ((np.arange(pixels) + 0.5) * whole / (pixels * self._blocks.factor)).astype(np.int64)
            for pixels, whole in zip(size, (self._grid.height, self._grid.width), strict=True)
        )
        return np.concatenate(self._labels)[rows[:, None], columns]

    def _entries(self, shares: Sequence[float], not_analysed: float) -> list[Entry]:
        """Of the legend: `shares` of the analysed area for each class, and the share of the picture that was not."""
        entries: list[Entry] = []
        for info, share in zip(self._classes, shares, strict=True):
            entries.append((f"{info.name} {percent(share)}", None if info.name == BACKGROUND else info.colour))
        if not_analysed:
            entries.append((f"not analysed: {percent(not_analysed)} of the picture", None))
        return entries


def lay_over(
    picture: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"], classes: Sequence[ClassInfo]
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with the colours of its pixels' classes over it, and outlines inside each class's regions."""
    colours, outlines = (np.zeros((256, 3), np.uint8) for _ in range(2))
    shown = np.zeros(256, np.uint8)
    for number, info in enumerate(classes):
        if info.name != BACKGROUND:
            colours[number], outlines[number], shown[number] = info.colour, outline_colour(info.colour), 255
    edge = _edges(labels)
    laid_over = picture.copy()
    for top in range(0, len(picture), ROWS):
        rows = slice(top, top + ROWS)
        visible = cv2.LUT(labels[rows], shown)
        colour = cv2.LUT(cv2.merge([labels[rows]] * 3), colours[None])
        cv2.copyTo(cv2.addWeighted(picture[rows], 1 - OPACITY, colour, OPACITY, 0), visible, laid_over[rows])
        y, x = np.nonzero(edge[rows] & (visible > 0))
        laid_over[rows][y, x] = outlines[labels[rows][y, x]]
    return laid_over


def outline_colour(colour: tuple[int, int, int]) -> Float64[np.ndarray, "3"]:
    """A darker shade of a colour; a lighter one of a colour that is dark itself."""
    shade = np.array(colour, np.float64)
    return 0.75 * shade if shade @ (0.299, 0.587, 0.114) >= DARK else 255 - 0.4 * (255 - shade)


def percent(share: float) -> str:
    """A share in words that never call something nothing."""
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def _edges(labels: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels next to one of another class; beyond the picture's border there is none."""
    edge = np.zeros(labels.shape, bool)
    differs = labels[1:] != labels[:-1]
    edge[1:] |= differs
    edge[:-1] |= differs
    differs = labels[:, 1:] != labels[:, :-1]
    edge[:, 1:] |= differs
    edge[:, :-1] |= differs
    return edge
