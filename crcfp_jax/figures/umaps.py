"""UMAP of pixel embeddings of one place in several contexts, supervised against semi-supervised (paper, Fig. 2, 9)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.figures.embeddings import WindowedExample, balance, candidates, context_ratio
from crcfp_jax.figures.models import restore
from crcfp_jax.figures.runs import SEMI_SUPERVISED, SUPERVISED, Comparison, MissingRuns, Run
from crcfp_jax.figures.style import DOUBLE, Drawing, bare, look, rgb, styled
from crcfp_jax.methods.systems.palette import BLACK, GREY

MARKED = (0.25, 0.5, 0.75)  # rows and columns, as shares of the shared region, of the places that are numbered
EDGE = "#555B61"  # of points, whose class may be a light colour
NEIGHBOURS = 5  # places that UMAP holds together, each with all its contexts


@dataclass(frozen=True)
class Panel:
    """A space of a system: its name, its map, the context ratio on this image, mean and deviation over several."""

    title: str
    points: Float[np.ndarray, "n cells 2"]
    ratio: float
    mean: float
    deviation: float


def project(embeddings: Float[np.ndarray, "n cells d"]) -> Float[np.ndarray, "n cells 2"]:
    """UMAP by cosine distance of all contexts' cells together; the same points give the same picture."""
    with warnings.catch_warnings():
        # It tells that TensorFlow is missing, which this needs nothing of.
        warnings.simplefilter("ignore")
        import umap

        contexts, cells, _ = embeddings.shape
        neighbours = min(NEIGHBOURS * contexts, contexts * cells - 1)
        reducer = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=0, n_jobs=1)
        points = reducer.fit_transform(embeddings.reshape(contexts * cells, -1))
    return np.asarray(points, np.float64).reshape(contexts, cells, 2)


def marked_cells(classes: Int[np.ndarray, "cells"]) -> list[int]:
    """Numbers of the cells that are pointed out: a cross of five over the shared region, those that count."""
    side = round(len(classes) ** 0.5)
    low, middle, high = (min(side - 1, int(share * side)) for share in MARKED)
    cells = [(low, low), (low, high), (middle, middle), (high, low), (high, high)]
    return [
        number for number in dict.fromkeys(row * side + column for row, column in cells) if classes[number] != IGNORED
    ]


@styled
def draw_umaps(seen: WindowedExample, panels: Sequence[Panel], classes: Sequence[ClassInfo], images: int) -> Figure:
    """The image with its windows, and a map a space.

    In a map a place is a star: its rays go to its contexts, points in the colour of its true class.
    """
    rows = (2 + len(panels)) // 2
    figure = Figure((0.8 * DOUBLE, rows * 0.44 * DOUBLE + 0.2), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    cells = figure.subplots(rows, 2).reshape(-1)
    marked = marked_cells(seen.classes)
    _draw_image(cells[0], seen, marked)
    cells[0].set_title(f"windows (thin) and what all of them see (thick)\ncontext ratio: here | {images} images")
    for axes, panel in zip(cells[1:], panels, strict=False):
        _draw_stars(axes, panel, seen.classes, classes, marked)
        axes.set_title(f"{panel.title}\n{panel.ratio:.2f} | {panel.mean:.2f} ± {panel.deviation:.2f}")
    for axes in cells[1 + len(panels) :]:
        axes.remove()
    points = [
        Line2D([], [], marker="o", linestyle="", color=rgb(info.colour), markeredgecolor=EDGE, label=info.name)
        for number, info in enumerate(classes)
        if (seen.classes == number).any()
    ]
    figure.legend(handles=points, loc="outside lower center", ncols=len(points), handletextpad=0.1)
    return figure


def _draw_image(axes: Axes, seen: WindowedExample, marked: Sequence[int]) -> None:
    """The part of the image that the windows see."""
    place = seen.place
    axes.imshow(seen.example.image[place.top : place.top + place.extent, place.left : place.left + place.extent])
    bare(axes)
    for top, left in place.origins:
        corner = left - place.left - 0.5, top - place.top - 0.5
        axes.add_patch(Rectangle(corner, place.side, place.side, fill=False, edgecolor="white", linewidth=0.6))
    first = place.shared[0] - place.top
    corner, extent = (first - 0.5, first - 0.5), place.shared[2]
    axes.add_patch(Rectangle(corner, extent, extent, fill=False, edgecolor=BLACK, linewidth=1.6))
    for number, cell in enumerate(marked, start=1):
        row, column = divmod(cell, extent // place.stride)
        x, y = (first + (index + 0.5) * place.stride - 0.5 for index in (column, row))
        _number(axes, number, x, y)


def _draw_stars(
    axes: Axes, panel: Panel, classes: Int[np.ndarray, "cells"], infos: Sequence[ClassInfo], marked: Sequence[int]
) -> None:
    centres = panel.points.mean(0)
    for strong in (False, True):
        cells = [cell for cell in range(len(centres)) if (cell in marked) == strong]
        rays = [(centres[cell], point) for cell in cells for point in panel.points[:, cell]]
        colour, width = (BLACK, 0.8) if strong else (GREY, 0.3)
        axes.add_collection(LineCollection(rays, colors=colour, linewidths=width, zorder=3 if strong else 1))
    for number, info in enumerate(infos):
        chosen = panel.points[:, classes == number].reshape(-1, 2)
        axes.scatter(*chosen.T, s=8, color=rgb(info.colour), edgecolors=EDGE, linewidths=0.3, zorder=2)
    for number, cell in enumerate(marked, start=1):
        _number(axes, number, *centres[cell], beside=6)
    bare(axes)
    axes.set_box_aspect(1)
    axes.set(xlabel="UMAP 1 (arbitrary unit)", ylabel="UMAP 2 (arbitrary unit)")


def _number(axes: Axes, number: int, x: float, y: float, beside: int = 0) -> None:
    """Writes a place's number, `beside` points up and to the right of the place."""
    halo = [withStroke(linewidth=2.5, foreground="white")]
    axes.annotate(
        str(number), (x, y), xytext=(beside, beside), textcoords="offset points", ha="center", va="center",
        weight="bold", path_effects=halo, zorder=5,
    )  # fmt: skip


def embeddings(_: Sequence[Run], comparison: Comparison) -> Drawing:
    """The shared features of the supervised and the semi-supervised system, and what it projects them to.

    Raises:
        MissingRuns: one of the two is not there, or no test image shows two classes where the windows overlap.
    """
    chosen = [
        comparison.first(SUPERVISED, "supervised"),
        comparison.first(SEMI_SUPERVISED, "semi-supervised"),
    ]
    models = [restore(run) for run in chosen]
    sample = candidates(models[0])
    if not sample:
        raise MissingRuns(
            f"no test image of {models[0].parts.data_set.path} shows two classes where all windows overlap"
        )
    shown = max(range(len(sample)), key=lambda number: balance(sample[number]))
    panels, rows = [], []
    numbers = {"fraction": comparison.fraction, "seed": comparison.seed, "image": sample[shown].example.record.id}
    numbers |= {"images": len(sample), "windows": sample[shown].place.origins, "context_ratio": {}}
    for run, model in zip(chosen, models, strict=True):
        found = [seen.embed(model) for seen in sample]
        for space in found[0]:
            ratios = np.asarray([context_ratio(e[space], seen.classes) for e, seen in zip(found, sample, strict=True)])
            deviation = float(ratios.std(ddof=1)) if len(ratios) > 1 else 0.0
            title = f"{look(run.system).label}, {space} features"
            points = project(found[shown][space])
            panels.append(Panel(title, points, float(ratios[shown]), float(ratios.mean()), deviation))
            numbers["context_ratio"][f"{run.system} {space}"] = {
                "image": ratios[shown], "mean": ratios.mean(), "sd": deviation,
            }  # fmt: skip
            rows += _rows(run.system, space, points, sample[shown].classes)
    classes = models[0].parts.data_set.classes
    return Drawing(draw_umaps(sample[shown], panels, classes, len(sample)), rows, numbers)


def _rows(
    system: str, space: str, points: Float[np.ndarray, "n cells 2"], classes: Int[np.ndarray, "cells"]
) -> list[dict]:
    return [
        {
            "system": system,
            "space": space,
            "context": context,
            "cell": cell,
            "class": int(classes[cell]),
            "x": x,
            "y": y,
        }
        for context, found in enumerate(points.tolist())
        for cell, (x, y) in enumerate(found)
    ]
