"""The cluster assumption: do low-density regions lie on class boundaries? In colour and in feature space (Fig. 1, 10).

As Ouali et al. (2020) measure it: the mean distance between a place and its eight neighbours, which is large where the
density is low. In colour space a place is the patch of pixels around it, in feature space its feature vector. Both
are taken at the cells of the network's features, so that nothing but the space differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import distance_transform_edt

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.figures.choice import Example, at_size, mixed_examples, shown_examples
from crcfp_jax.figures.models import Model, restore
from crcfp_jax.figures.runs import SEMI_SUPERVISED, SUPERVISED, Comparison, Run
from crcfp_jax.figures.style import Drawing, look, picture_grid, styled
from data_pipelines import geometry
from data_pipelines.reading.resample import canvas_size
from data_pipelines.tiling import Tiling, blend_windows, cut_windows

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # half of the eight: a distance counts for both its ends
IMAGES = 32  # over which the ratios are averaged
OVERLAP = 0.5  # least share of a window's side that neighbours have in common
COLOUR = "colour"  # the space, beside the systems' feature spaces
LARGEST = 2.5  # of the colour scale, in mean distances
LINE = "#00D5FF"


def local_distance(places: Float[np.ndarray, "h w d"]) -> Float[np.ndarray, "h w"]:
    """Mean Euclidean distance between each place and those of its eight neighbours that exist."""
    height, width = places.shape[:2]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for down, right in NEIGHBOURS:
        rows, columns = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        moved = slice(down, height), slice(max(0, right), width + min(0, right))
        distance = np.linalg.norm(places[rows, columns] - places[moved], axis=-1)
        for ends in ((rows, columns), moved):
            total[ends] += distance
            count[ends] += 1
    return total / np.maximum(count, 1)


def colour_patches(image: UInt8[np.ndarray, "s s 3"], stride: int) -> Float[np.ndarray, "h w d"]:
    """The pixels around each cell of `stride` pixels, twice as wide as the cell, colours in [0, 1]; edges reflected."""
    margin = stride // 2
    padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REFLECT)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (stride + 2 * margin,) * 2, axis=(0, 1))
    patches = windows[::stride, ::stride].astype(np.float32) / 255.0
    return patches.reshape(*patches.shape[:2], -1)


def boundaries(label: UInt8[np.ndarray, "h w"], radius: int) -> Bool[np.ndarray, "h w"]:
    """Pixels at most `radius` pixels (in rows and in columns) from a boundary between two classes.

    Both pixels beside a boundary are at distance 0. A border of pixels that don't count is none.
    """
    edge = np.zeros(label.shape, np.uint8)
    for axis in (0, 1):
        one, other = np.moveaxis(label, axis, 0)[:-1], np.moveaxis(label, axis, 0)[1:]
        differs = (one != other) & (one != IGNORED) & (other != IGNORED)
        along = np.moveaxis(edge, axis, 0)
        along[:-1] |= differs
        along[1:] |= differs
    return cv2.dilate(edge, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)).astype(bool)


def boundary_ratio(
    distance: Float[np.ndarray, "h w"], label: UInt8[np.ndarray, "h w"], near_boundary: Bool[np.ndarray, "h w"]
) -> float:
    """Mean distance near the boundaries over the mean distance inside the classes.

    1: the space does not separate the classes there; NaN where one of the two has no labelled pixel.
    """
    on, inside = distance[near_boundary & (label != IGNORED)], distance[~near_boundary & (label != IGNORED)]
    return float(on.mean() / inside.mean()) if on.size and inside.size and inside.mean() > 0 else float("nan")


def distance_map(
    image: UInt8[np.ndarray, "h w 3"], side: int, describe: Callable[[np.ndarray], Sequence[np.ndarray]]
) -> Float[np.ndarray, "h w"]:
    """Local distance of every pixel of an image, at the image's size.

    Args:
        image: scaled as for evaluation.
        side: of a window, pixels.
        describe: windows [n, side, side, 3] to their places, [rows, columns, d] each.
    """
    # At its border a window's features are of the network's padding, no tissue: there the image is reflected, every
    # place lies in several windows, and their borders are left out.
    margin, border, (height, width) = side // 4, side // 8, image.shape[:2]
    height, width = height + 2 * margin, width + 2 * margin
    padded, _ = geometry.crop(image, None, -margin, -margin, max(height, side), max(width, side))
    windows, tiling = cut_windows(padded, side, OVERLAP)
    maps = [cv2.resize(local_distance(places).astype(np.float32), (side, side)) for places in describe(windows)]
    inner = np.stack(maps)[:, border : side - border, border : side - border, None]
    cut = 2 * border
    joined = blend_windows(inner, Tiling(tiling.height - cut, tiling.width - cut, side - cut, tiling.step))
    skip = margin - border
    return joined[skip : skip + image.shape[0], skip : skip + image.shape[1], 0].astype(np.float64)


@dataclass(frozen=True)
class Maps:
    """An image at evaluation's scale, its labels, and by space its map of distances over their mean, and its ratio."""

    example: Example
    maps: dict[str, Float[np.ndarray, "h w"]]
    ratios: dict[str, float]


def measure(example: Example, models: dict[str, Model]) -> Maps:
    """Distance maps of one image: in colour space, and in the feature space of each model."""
    first = next(iter(models.values()))
    scale = first.parts.microns_per_pixel / example.record.microns_per_pixel
    example = at_size(example, canvas_size(example.image.shape[:2], scale))
    image, label = example.image, example.label
    stride, side = first.network.feature_stride, first.parts.config.data.side
    describers = {COLOUR: lambda windows: [colour_patches(window, stride) for window in windows]}
    describers |= {system: lambda windows, m=model: m.encode(windows) for system, model in models.items()}
    maps = {space: distance_map(image, side, describe) for space, describe in describers.items()}
    near_boundary = boundaries(label, stride // 2)
    ratios = {space: boundary_ratio(found, label, near_boundary) for space, found in maps.items()}
    maps = {space: found / found.mean() for space, found in maps.items()}
    return Maps(example, maps, ratios)


@styled
def draw_clusters(shown: Sequence[Maps], means: dict[str, tuple[float, float]], images: int) -> Figure:
    """A row an image: input, then a map a space, with the true boundaries drawn over and the ratio below.

    Args:
        shown: the images.
        means: mean and standard deviation of the ratio by space.
        images: the number of images that `means` is over.
    """
    heights = [one.example.label.shape[0] / one.example.label.shape[1] for one in shown]
    figure, axes = picture_grid(heights, [0.24] * len(shown), 1 + len(means), left=0.2, top=0.36, bottom=0.45, gap=0.06)
    for number, (one, row) in enumerate(zip(shown, axes, strict=True), start=1):
        row[0].imshow(one.example.image)
        row[0].set_ylabel(f"image {number}", labelpad=3)
        row[0].set_xlabel("boundary / inside:", labelpad=2)
        for cell, space in zip(row[1:], means, strict=True):
            drawn = cell.imshow(one.maps[space], cmap="inferno", vmin=0.0, vmax=LARGEST)
            cell.set_xlabel(f"{one.ratios[space]:.2f}", labelpad=2)
        for cell in row:
            _outline(cell, one.example.label)
    axes[0][0].set_title(f"true boundaries\nmean of {images} images:", pad=4)
    for cell, (space, (mean, deviation)) in zip(axes[0][1:], means.items(), strict=True):
        name = "colour" if space == COLOUR else f"features, {look(space).label}"
        cell.set_title(f"{name}\n{mean:.2f} ± {deviation:.2f}", pad=4)
    height = figure.get_size_inches()[1]
    bar = figure.add_axes((0.3, 0.36 / height, 0.4, 0.09 / height))
    figure.colorbar(drawn, cax=bar, orientation="horizontal", extend="max")
    bar.set_xlabel("distance to the neighbours / its mean over the image", labelpad=1)
    return figure


def _outline(axes: Axes, label: UInt8[np.ndarray, "h w"]) -> None:
    # Pixels that don't count take the class of the nearest one that does, so that no line is drawn along them.
    nearest = distance_transform_edt(label == IGNORED, return_distances=False, return_indices=True)
    filled = label[tuple(nearest)]
    for number in np.unique(filled)[1:]:  # the first class's outlines are the others'
        axes.contour(filled == number, [0.5], colors=LINE, linewidths=0.5)


def clusters(_: Sequence[Run], comparison: Comparison) -> Drawing:
    """Maps and ratios of the supervised and of the semi-supervised system; of one, where the other is missing."""
    chosen = {}
    for order in (SUPERVISED, SEMI_SUPERVISED):
        found = [system for system in order if system in comparison.runs]
        chosen |= {system: restore(comparison.runs[system]) for system in found[:1]}
    reference = next(iter(chosen.values()))
    examples = mixed_examples(reference)
    sample = [examples[place] for place in evenly_spaced(len(examples), IMAGES)]
    ratios = [measure(example, chosen).ratios for example in sample]
    means = {}
    for space in ratios[0]:
        values = np.asarray([one[space] for one in ratios])
        values = values[~np.isnan(values)]
        means[space] = (float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0)
    shown = [measure(example, chosen) for example in shown_examples(reference)]
    numbers = {
        "fraction": comparison.fraction,
        "seed": comparison.seed,
        "images": len(sample),
        "ratio": {space: {"mean": mean, "sd": deviation} for space, (mean, deviation) in means.items()},
        "shown": [{"id": one.example.record.id, "ratio": one.ratios} for one in shown],
    }
    arrays = {}
    for number, one in enumerate(shown, start=1):
        arrays |= {f"image_{number}": one.example.image, f"truth_{number}": one.example.label}
        arrays |= {f"{space}_{number}": found.astype(np.float32) for space, found in one.maps.items()}
    return Drawing(draw_clusters(shown, means, len(sample)), numbers=numbers, arrays=arrays)
