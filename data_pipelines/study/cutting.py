"""An image of a study cut into tiles: annotated ones where something is annotated, unlabelled ones in tissue.

The image, at the stored pixel size, is divided evenly into cells of about the wanted side. A tile is a cell with a
margin of context around it, which is labelled too, so that a crop at the cell's edge learns from all that it shows. The
cell is the tile's core: every annotated pixel counts in one tile.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.spacing import evenly_spaced
from data_pipelines.data_set import within
from data_pipelines.reading import READING
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.resample import SAME, View, canvas_size
from data_pipelines.reading.slide import Slide
from data_pipelines.reading.tissue import find_tissue
from data_pipelines.recipes import Source, Tile

FORM = 2  # of tiles; a change makes those of older builds be cut again, as one of READING does
MARGIN = 8  # the margin is the side's share of one in so many
CHUNK = 100 * 512**2  # pixels of the tiles of a source, which is held in memory whole
LEAST_TISSUE = 0.25  # share of an unlabelled tile

Cell = tuple[int, int]  # row, column


class Truth(Protocol):
    """What is annotated on an image."""

    def paint(
        self, top: int, left: int, height: int, width: int, scale: tuple[float, float]
    ) -> UInt8[np.ndarray, "h w"]:
        """The label of a window of the image seen at `scale` image pixels (down, across) per pixel."""


@dataclass(frozen=True)
class Cutting:
    """How one image is cut. Sizes are height, width in pixels."""

    name: str
    path: Path
    split: str
    size: tuple[int, int]  # of the file's largest level
    identity: tuple[int, int]  # of the file: what changes with its content
    own_microns: float  # of a pixel of the file
    microns: float  # of a stored pixel, wanted
    side: int  # of a tile, wanted
    patient: str
    hospital: str

    @property
    def scale(self) -> float:
        """Pixels of the file per stored pixel: 1 or more, so that nothing is enlarged."""
        scale = max(1.0, self.microns / self.own_microns)
        return 1.0 if scale - 1 <= SAME else scale

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        height, width = canvas_size(self.size, self.scale)
        return max(1, round(height / self.side)), max(1, round(width / self.side))

    def cells_within(self, boxes: np.ndarray) -> list[Cell]:
        """The cells that boxes (float64 [n, 4]: left, top, right, bottom in pixels of the file) touch, in order."""
        rows, columns = self.cells
        found = np.zeros((rows, columns), bool)
        for left, top, right, bottom in boxes:
            first, last = _span(top, bottom, self.size[0], rows), _span(left, right, self.size[1], columns)
            found[first[0] : first[1], last[0] : last[1]] = True
        return [(int(row), int(column)) for row, column in np.argwhere(found)]

    @property
    def all_cells(self) -> list[Cell]:
        """Every cell, row by row."""
        return [(row, column) for row in range(self.cells[0]) for column in range(self.cells[1])]

    def digest(self, *what) -> str:
        """Changes with everything that tiles depend on, `what` included."""
        own = vars(self) | {"path": ""}  # the folder may be moved
        content = json.dumps([FORM, READING, own, what], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def _span(start: float, stop: float, length: int, count: int) -> tuple[int, int]:
    """First and last + 1 of `count` equal parts of an axis that an interval touches, or may touch after rounding."""
    slack = 1e-3 * length
    first, last = (int((place * count) // length) for place in (start - slack, stop + slack))
    return max(0, first), min(count, last + 1)


def annotated_sources(
    cutting: Cutting, cells: Sequence[Cell], truth: Callable[[], Truth], truth_key: str, changed: Callable[[], None]
) -> Iterator[Source]:
    """The sources of annotated tiles, a few cells each.

    Args:
        cutting: of the image.
        cells: that may hold annotation.
        truth: gives what is annotated.
        truth_key: changes with that.
        changed: raises UserError where a file has changed since it was looked at.
    """
    for chunk, part in _parts(cutting, cells):
        tiles = partial(_annotated_tiles, cutting, chunk, truth, changed)
        yield Source(f"{cutting.name}{part}", cutting.split, tiles, cutting.digest("annotated", chunk, truth_key))


def _parts(cutting: Cutting, values: Sequence) -> Iterator[tuple[list, str]]:
    """What is to become tiles, in parts that can be held in memory, with words for the part where there are several."""
    count = max(1, CHUNK // cutting.side**2)
    for first in range(0, len(values), count):
        yield list(values[first : first + count]), f", part {first // count + 1}" if len(values) > count else ""


def unlabelled_sources(
    cutting: Cutting,
    touched: Sequence[Cell],
    truth: Callable[[], Truth] | None,
    truth_key: str,
    most: int,
    changed: Callable[[], None],
) -> Iterator[Source]:
    """The sources of unlabelled tiles: at most `most`, evenly over the tissue, where nothing is annotated.

    Args:
        cutting: of the image.
        touched: cells that may hold annotation, which `truth` tells; None where there is none.
        truth_key: changes with that.
        most: tiles.
        changed: as `annotated_sources` takes it.
    """
    for numbers, part in _parts(cutting, range(most)):
        tiles = partial(_unlabelled_tiles, cutting, frozenset(touched), truth, most, numbers, changed)
        key = cutting.digest("unlabelled", sorted(touched), truth_key, most, numbers)
        yield Source(f"{cutting.name}, unlabelled{part}", cutting.split, tiles, key)


def _annotated_tiles(
    cutting: Cutting, cells: Sequence[Cell], truth: Callable[[], Truth], changed: Callable[[], None]
) -> Iterator[Tile]:
    painting = truth()
    with open_slide(cutting.path) as slide:
        canvas = _Canvas(cutting, slide)
        for cell in cells:
            if (tile := canvas.annotated_tile(cell, painting)) is not None:
                yield tile
    changed()


def _unlabelled_tiles(
    cutting: Cutting,
    touched: frozenset[Cell],
    truth: Callable[[], Truth] | None,
    most: int,
    numbers: Sequence[int],
    changed: Callable[[], None],
) -> Iterator[Tile]:
    """Those of `numbers` among the at most `most` tiles."""
    painting = truth() if touched else None
    with open_slide(cutting.path) as slide:
        canvas = _Canvas(cutting, slide)
        free = [cell for cell in cutting.all_cells if cell not in touched or not canvas.is_annotated(cell, painting)]
        tissue = find_tissue(slide, cutting.own_microns) if free else None
        held = [cell for cell in free if canvas.tissue_share(cell, tissue) >= LEAST_TISSUE]
        places = evenly_spaced(len(held), most) if held else []
        for place in places[numbers[0] : numbers[-1] + 1]:
            yield canvas.tile(held[place])
    changed()


class _Canvas:
    """An image at the stored pixel size."""

    def __init__(self, cutting: Cutting, slide: Slide):
        if slide.size != cutting.size:
            raise UserError(f"{cutting.path} changed while it was read: run the build again")
        self._cutting, self._slide = cutting, slide
        self._view = View(slide, cutting.scale)
        self._edges = [
            [round(place * length / count) for place in range(count + 1)]
            for length, count in zip(self._view.size, cutting.cells, strict=True)
        ]
        self._factor = tuple(own / stored for own, stored in zip(slide.size, self._view.size, strict=True))
        self._margin = cutting.side // MARGIN

    def _cell(self, cell: Cell) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of a cell."""
        (top, bottom), (left, right) = (edges[i : i + 2] for edges, i in zip(self._edges, cell, strict=True))
        return top, left, bottom, right

    def _window(self, cell: Cell) -> tuple[int, int, int, int]:
        """Likewise of its tile."""
        top, left, bottom, right = self._cell(cell)
        height, width = self._view.size
        margin = self._margin
        return max(0, top - margin), max(0, left - margin), min(height, bottom + margin), min(width, right + margin)

    def annotated_tile(self, cell: Cell, truth: Truth) -> Tile | None:
        """The tile of a cell; None where nothing is annotated inside the cell itself."""
        top, left, bottom, right = self._window(cell)
        above, before, below, after = self._cell(cell)
        core = (above - top, before - left, below - top, after - left)
        label = truth.paint(top, left, bottom - top, right - left, self._factor)
        if (within(core, label) == IGNORED).all():
            return None
        return self.tile(cell, label, None if core == (0, 0, *label.shape) else core)

    def is_annotated(self, cell: Cell, truth: Truth) -> bool:
        """Whether anything is annotated inside a cell."""
        top, left, bottom, right = self._cell(cell)
        return bool((truth.paint(top, left, bottom - top, right - left, self._factor) != IGNORED).any())

    def tissue_share(self, cell: Cell, tissue) -> float:
        top, left, bottom, right = self._cell(cell)
        return float(tissue.window(top, left, bottom - top, right - left, self._view.size).mean())

    def tile(
        self, cell: Cell, label: UInt8[np.ndarray, "h w"] | None = None, core: tuple[int, int, int, int] | None = None
    ) -> Tile:
        top, left, bottom, right = self._window(cell)
        x, y = round(left * self._factor[1]), round(top * self._factor[0])
        cutting = self._cutting
        return Tile(
            id=f"{cutting.name}_{y}_{x}",
            image=self._view.read(top, left, bottom - top, right - left),
            label=label,
            hospital=cutting.hospital,
            patient=cutting.patient,
            source_image=cutting.name,
            x=x,
            y=y,
            notes=self._slide.notes,
            microns_per_pixel=cutting.own_microns * sum(self._factor) / 2,
            core=core,
        )
