"""One look for all figures: sizes, type, colours of the systems, a grid of pictures, labels of panels."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crcfp_jax.methods.systems.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from crcfp_jax.methods.systems.registry import systems

MILLIMETRE = 1 / 25.4  # inches
SINGLE, DOUBLE = 90 * MILLIMETRE, 190 * MILLIMETRE  # widths of a journal's column and page
TALLEST = 225 * MILLIMETRE  # leaves room for a caption on a journal's page
LARGEST_PICTURE = 42 * MILLIMETRE  # a few small pictures would be blown up to the page's width without showing more
TYPE = 8  # points, of all text

CYCLE = (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY, BLACK)
FAINT = "#D5D8DC"
MARKERS = "osD^vPX*<"
HATCH_PATTERN = "//////"

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": TYPE,
    "axes.titlesize": TYPE,
    "axes.labelsize": TYPE,
    "xtick.labelsize": TYPE,
    "ytick.labelsize": TYPE,
    "legend.fontsize": TYPE,
    "figure.dpi": 100,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E8EA",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.color": GREY,
    "hatch.linewidth": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "image.interpolation": "none",  # pixels as they are, also in SVG
    "savefig.dpi": 300,
    "svg.hashsalt": "crcfp-jax",  # the same picture, the same file
}


@dataclass(frozen=True)
class Look:
    """How a system is shown in every figure."""

    label: str
    colour: str
    marker: str


def look(system: str) -> Look:
    """The look of a system; one that isn't known is shown under its own name."""
    if (known := systems().get(system)) is None:
        return Look(system, BLUE, "h")
    _, variant = known
    return Look(variant.label, variant.colour, variant.marker)


@dataclass(frozen=True)
class Drawing:
    """A figure and what it shows, from which it can be drawn again.

    Attributes:
        figure: to be saved.
        rows: figures as a table, a dict a row, all of the same keys; or empty.
        numbers: figures as JSON, or empty.
        arrays: maps and label pictures, too large for JSON, or empty.
    """

    figure: Figure
    rows: Sequence[dict[str, Any]] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Draws, or saves, in this style, and leaves matplotlib's settings as they were."""

    @functools.wraps(draw)
    def inner(*arguments: Any, **options: Any) -> Any:
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **STYLE}):
            return draw(*arguments, **options)

    return inner


def rgb(colour: Sequence[int]) -> tuple[float, float, float]:
    """A colour of 0 to 255 as matplotlib's."""
    red, green, blue = (value / 255 for value in colour)
    return red, green, blue


def swatch(colour: Any, label: str, hatch: str | None = None) -> Patch:
    """An entry of a legend of areas."""
    return Patch(facecolor=colour, edgecolor=GREY, linewidth=0.5, label=label, hatch=hatch)


def picture_grid(
    row_heights: Sequence[float],
    captions: Sequence[float],
    columns: int,
    *,
    left: float,
    top: float,
    bottom: float,
    gap: float,
) -> tuple[Figure, list[list[Axes]]]:
    """A grid of pictures without axes, as large as a page and `LARGEST_PICTURE` let it be.

    Args:
        row_heights: of each row's pictures, as a multiple of their width.
        captions: room below each row, inches.
        columns: pictures a row.
        left, top, bottom: margins, inches.
        gap: between pictures, inches.
    """
    right = 0.03  # room for the frame's line
    across = (DOUBLE - left - right - gap * (columns - 1)) / columns
    down = (TALLEST - top - bottom - sum(captions)) / sum(row_heights)
    cell = min(across, down, LARGEST_PICTURE)
    width = left + cell * columns + gap * (columns - 1) + right
    height = top + bottom + cell * sum(row_heights) + sum(captions)
    figure, rows, y = Figure((width, height)), [], height - top
    for share, caption in zip(row_heights, captions, strict=True):
        y -= cell * share
        boxes = [(left + number * (cell + gap), y, cell, cell * share) for number in range(columns)]
        rows.append([figure.add_axes((x / width, y / height, w / width, h / height)) for x, y, w, h in boxes])
        y -= caption
        for axes in rows[-1]:
            bare(axes)
    return figure, rows


def hatched(axes: Axes, where: Bool[np.ndarray, "h w"]) -> None:
    """Hatches the pixels of a picture that don't count."""
    if where.any():
        axes.contourf(where, [0.5, 1.5], colors="none", hatches=[HATCH_PATTERN])


def bare(axes: Axes) -> None:
    """No ticks, no grid, a hair line around."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.4, edgecolor=GREY)
