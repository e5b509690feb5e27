"""The classes laid over the slide's picture, for people."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.areas import AreaCount
from crcfp_jax.slides.writing.band import NOT_ANALYSED, Band, OutputGrid
from crcfp_jax.slides.writing.blocks import BlockSums
from crcfp_jax.slides.writing.geojson import BACKGROUND
from crcfp_jax.slides.writing.legend import MARGIN, Entry, legend, on_paper, save_fast, scale_bar, text_size
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
        self._path, self._grid, self._classes, self._slide = folder / "overlay.png", grid, classes, slide
        self._count = AreaCount(len(classes))
        self._blocks = BlockSums(grid.height, grid.width, len(classes) + 1, longest=LONGEST)
        self._labels: list[np.ndarray] = []  # rows of blocks

    def write(self, band: Band) -> None:
        """Keeps the most frequent class of each block of pixels."""
        numbers = np.array([*range(len(self._classes)), NOT_ANALYSED], np.uint8)
        sums = self._blocks.add([band.classes == number for number in numbers])
        self._labels.append(numbers[sums.argmax(0)])
        *pixels, not_analysed = sums.sum((1, 2), dtype=np.float64).astype(np.int64)
        self._count.pixels += pixels
        self._count.not_analysed += int(not_analysed)

    def finish(self) -> None:
        """Reads the slide's picture and writes the file."""
        height, width = self._slide.size
        whole = max(height, width)
        paper = LONGEST - 2 * MARGIN
        longer = min(paper / (1 + SAME), max(ENLARGED, whole))  # a view may be a little larger than it was asked to be
        # What stands below takes its room from a tall picture, with a row to spare as that makes the picture narrower.
        below = legend(self._entries(), max(SHORTEST, round(longer * width / whole)))
        room = paper - below.shape[0] - 2 * MARGIN - 5 * text_size(below.shape[1])
        longer = min(longer, room / (1 + SAME) * whole / height)
        view = View(self._slide, whole / longer)
        picture = view.read(0, 0, *view.size)
        microns_per_pixel = self._grid.microns_per_pixel * self._grid.width / view.size[1]
        laid_over = lay_over(picture, self._labels_at(view.size), self._classes)
        below_width = max(SHORTEST, view.size[1])
        if below.shape[1] != below_width:  # below small images it is as wide as before, and drawing it takes time
            below = legend(self._entries(), below_width)
        parts = [laid_over, scale_bar(below_width, microns_per_pixel), below]
        save_fast(on_paper(parts), self._path)

    def close(self) -> None:
        """There is nothing to give up."""

    def _labels_at(self, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
        """The class at the centre of each pixel of a picture of the whole slide."""
        rows, columns = (
            ((np.arange(pixels) + 0.5) * whole / (pixels * self._blocks.factor)).astype(np.int64)
            for pixels, whole in zip(size, (self._grid.height, self._grid.width), strict=True)
        )
        return np.concatenate(self._labels)[rows[:, None], columns]

    def _entries(self) -> list[Entry]:
        entries: list[Entry] = []
        for info, share in zip(self._classes, self._count.shares, strict=True):
            entries.append((f"{info.name} {percent(share)}", None if info.name == BACKGROUND else info.colour))
        if self._count.not_analysed:
            share = self._count.not_analysed / (self._grid.height * self._grid.width)
            entries.append((f"not analysed: {percent(share)} of the picture", None))
        return entries


def lay_over(
    picture: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"], classes: Sequence[ClassInfo]
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture with the colours of its pixels' classes over it, and outlines inside each class's regions."""
    colours, outlines = (np.zeros((256, 3), np.float32) for _ in range(2))
    opacity = np.zeros(256, np.float32)
    for number, info in enumerate(classes):
        if info.name != BACKGROUND:
            colours[number], outlines[number], opacity[number] = info.colour, outline_colour(info.colour), OPACITY
    edge = _edges(labels)
    laid_over = np.empty_like(picture)
    for top in range(0, len(picture), ROWS):
        rows = slice(top, top + ROWS)
        alpha = opacity[labels[rows]][..., None]
        mixed = picture[rows] * (1 - alpha) + colours[labels[rows]] * alpha
        laid_over[rows] = np.where(edge[rows, :, None] & (alpha > 0), outlines[labels[rows]], mixed)
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
