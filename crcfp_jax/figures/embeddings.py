"""Does its context move a place? Embeddings of the same cells seen in several overlapping windows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.figures.choice import Example, at_size, class_shares, mixed_examples
from crcfp_jax.figures.models import Model
from crcfp_jax.figures.runs import MissingRuns
from data_pipelines import geometry
from data_pipelines.reading.resample import canvas_size

CONTEXTS = 3  # windows along each axis
ROOM = 1.5  # least side of the image, in windows
IMAGES = 16  # over which the context ratio is averaged


@dataclass(frozen=True)
class Place:
    """How the windows lie: `shift` pixels from one to the next, `side` pixels each, the first at `top`, `left`."""

    side: int
    stride: int  # pixels of a cell
    shift: int
    top: int
    left: int

    @property
    def origins(self) -> list[tuple[int, int]]:
        """(top, left) of each window, row by row."""
        steps = [number * self.shift for number in range(CONTEXTS)]
        return [(self.top + down, self.left + right) for down in steps for right in steps]

    @property
    def extent(self) -> int:
        """Side, in pixels, of what any window sees."""
        return self.side + (CONTEXTS - 1) * self.shift

    @property
    def shared(self) -> tuple[int, int, int]:
        """Top, left and side, in pixels, of what all windows see."""
        reach = (CONTEXTS - 1) * self.shift
        return self.top + reach, self.left + reach, self.side - reach


def place_windows(height: int, width: int, *, side: int, stride: int, grid: int) -> Place:
    """Windows around the middle of an image of at least `ROOM` windows; shifted by a quarter of their side.

    Args:
        height, width: of the image, pixels.
        side: of a window, pixels.
        stride: pixels between the cells that are compared.
        grid: pixels; a multiple of every stride inside the network, of which the shift is a multiple, so that cells
            fall on cells and nothing but the context changes.

    Raises:
        MissingRuns: the windows are too small to share more than one cell.
    """
    shift = max(grid, side // 4 // grid * grid)
    if side - (CONTEXTS - 1) * shift < 2 * stride:
        raise MissingRuns(
            f"needs runs with greater windows: of {side} pixels, {CONTEXTS} that lie {shift} apart share no cells"
        )
    extent = side + (CONTEXTS - 1) * shift
    return Place(side, stride, shift, max(0, (height - extent) // 2), max(0, (width - extent) // 2))


def enlarge(example: Example, side: int, microns_per_pixel: float) -> Example:
    """The image as evaluation scales it, or larger where it would be smaller than `ROOM` windows."""
    height, width = canvas_size(example.image.shape[:2], microns_per_pixel / example.record.microns_per_pixel)
    factor = max(1.0, ROOM * side / min(height, width))
    return at_size(example, (round(height * factor), round(width * factor)))


def same_cells(features: Float[np.ndarray, "n h w d"], place: Place) -> Float[np.ndarray, "n cells d"]:
    """The cells that all windows see, from every window, in the same order."""
    reach, count = (CONTEXTS - 1) * place.shift // place.stride, place.shared[2] // place.stride
    cut = []
    for window, (top, left) in zip(features, place.origins, strict=True):
        row, column = reach - (top - place.top) // place.stride, reach - (left - place.left) // place.stride
        cut.append(window[row : row + count, column : column + count].reshape(-1, window.shape[-1]))
    return np.stack(cut)


def cell_classes(label: UInt8[np.ndarray, "h w"], stride: int) -> Int[np.ndarray, "cells"]:
    """The class that most pixels of each cell have, row by row; `IGNORED` where no pixel counts."""
    rows, columns = label.shape[0] // stride, label.shape[1] // stride
    cells = label[: rows * stride, : columns * stride].reshape(rows, stride, columns, stride).swapaxes(1, 2)
    shares = np.stack([class_shares(cell) for cell in cells.reshape(rows * columns, -1)])
    return np.where(shares.any(-1), shares.argmax(-1), IGNORED)


def context_ratio(embeddings: Float[np.ndarray, "n cells d"], classes: Int[np.ndarray, "cells"]) -> float:
    """How far its context moves a place, as a share of the way to another class.

    Mean cosine distance between the embeddings of the same place in two contexts, over the mean between two places of
    different classes (in any two contexts). 0: the context doesn't matter; 1: it matters as much as the class. NaN
    where there are fewer than two classes.
    """
    known = classes != IGNORED
    vectors, classes = embeddings[:, known].astype(np.float64), classes[known]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    contexts = len(vectors)
    # A sum over pairs of different contexts is the square of the sum less the pairs with itself.
    total = vectors.sum(0)
    same = ((total**2).sum(-1) - contexts) / (contexts * (contexts - 1))
    mean = vectors.mean(0)
    differs = classes[:, None] != classes
    if not differs.any():
        return float("nan")
    return float((1 - same.mean()) / (1 - (mean @ mean.T)[differs].mean()))


def entropy(shares: Float[np.ndarray, "n"]) -> float:
    """Of a distribution, in nats."""
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


@dataclass(frozen=True)
class WindowedExample:
    """An image, its windows, and the classes of the cells that all of them see."""

    example: Example
    place: Place
    classes: Int[np.ndarray, "cells"]

    def windows(self) -> UInt8[np.ndarray, "n s s 3"]:
        """The windows, in the order of `Place.origins`."""
        side, image = self.place.side, self.example.image
        return np.stack([geometry.crop(image, None, top, left, side, side)[0] for top, left in self.place.origins])

    def embed(self, model: Model) -> dict[str, Float[np.ndarray, "n cells d"]]:
        """Embeddings of the cells in every window, by space: 'shared', and 'projected' where there is a projector."""
        found = model.context(self.windows())
        return {space: same_cells(found[space], self.place) for space in ("shared", "projected") if space in found}


def place_on_example(example: Example, model: Model) -> WindowedExample:
    """Places the windows on an image, as this model's settings scale it."""
    config = model.parts.config
    example = enlarge(example, config.data.side, model.parts.microns_per_pixel)
    stride = model.network.context_stride
    grid = max(stride, config.model.output_stride)
    place = place_windows(*example.label.shape, side=config.data.side, stride=stride, grid=grid)
    top, left, side = place.shared
    return WindowedExample(example, place, cell_classes(example.label[top : top + side, left : left + side], stride))


def balance(seen: WindowedExample) -> float:
    """How evenly the classes share the cells that all windows see: the entropy of their shares."""
    return entropy(class_shares(seen.classes.astype(np.uint8)))


def candidates(model: Model) -> list[WindowedExample]:
    """The test images to measure: up to `IMAGES`, evenly spread over those whose cells are of two classes or more."""
    seen = [
        found for found in (place_on_example(example, model) for example in mixed_examples(model)) if balance(found) > 0
    ]
    return [seen[number] for number in evenly_spaced(len(seen), IMAGES)]
