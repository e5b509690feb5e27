"""Geometry as annotations have it: parts of one kind each, without self-crossings."""

from collections.abc import Iterator

import numpy as np
import shapely

from data_pipelines.annotations.model import AREAS, LINES, POINTS

FARTHEST = 1e7  # pixels: no image is larger, and positions beyond are damage
QUARTER = 32  # sides of a quarter of an ellipse


def parts_by_kind(geometry: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """The areas, the lines and the points of any geometry, of each kind together; empty ones are left out."""
    leaves = list(_leaves(geometry))
    for kind, together in (
        (AREAS, shapely.MultiPolygon),
        (LINES, shapely.MultiLineString),
        (POINTS, shapely.MultiPoint),
    ):
        found = [leaf for leaf in leaves if leaf.geom_type in kind]
        if found:
            yield found[0] if len(found) == 1 else together(found)


def _leaves(geometry: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """The polygons, lines and points that any geometry consists of."""
    if geometry.geom_type in ("GeometryCollection", "MultiPolygon", "MultiLineString", "MultiPoint"):
        for part in geometry.geoms:
            yield from _leaves(part)
    elif not geometry.is_empty:
        yield geometry


def only_areas(geometry: shapely.Geometry) -> shapely.Geometry | None:
    """The areas of any valid geometry, without the lines and points that mending and cutting leave; None: it has none.

    Polygons of no area, which are valid where rounding made them, count as lines.
    """
    areas = [leaf for leaf in _leaves(geometry) if leaf.geom_type == "Polygon" and leaf.area > 0]
    return shapely.union_all(areas) if areas else None


def mended(area: shapely.Geometry) -> shapely.Geometry | None:
    """A valid area of the same outlines; None where nothing is left of it.

    What an outline that crosses itself encloses is told by even and odd. Holes are cut out of it, and parts that
    overlap are one: taken together, by even and odd, they would cancel out.
    """
    polygons = []
    for polygon in _leaves(area):
        shell = shapely.make_valid(shapely.Polygon(polygon.exterior))
        holes = [shapely.make_valid(shapely.Polygon(ring)) for ring in polygon.interiors]
        polygons.append(shapely.difference(shell, shapely.union_all(holes)) if holes else shell)
    return only_areas(shapely.union_all(polygons))


def crosses_itself(area: shapely.Geometry) -> bool:
    """Whether one of its polygons is invalid; that polygons of one area overlap is no fault of theirs."""
    return not all(leaf.is_valid for leaf in _leaves(area))


def ellipse(bounds: tuple[float, float, float, float]) -> shapely.Geometry:
    """The ellipse that fills a box (left, top, right, bottom)."""
    left, top, right, bottom = bounds
    angles = np.arange(4 * QUARTER) * (np.pi / 2 / QUARTER)
    x = (left + right) / 2 + (right - left) / 2 * np.cos(angles)
    y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(angles)
    return shapely.Polygon(np.stack([x, y], -1))


def within_reach(points: np.ndarray) -> bool:
    """Whether all positions (floats [n, 2]) are numbers of pixels that an image can have."""
    return bool((np.abs(points) < FARTHEST).all())
