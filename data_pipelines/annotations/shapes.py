"""Geometry as annotations have it: parts of one kind each, without self-crossings."""

from collections.abc import Iterator

import shapely

from data_pipelines.annotations.model import AREAS, LINES, POINTS

FARTHEST = 1e7  # pixels: no image is larger, and positions beyond are damage


def parts_by_kind(geometry: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """The areas, the lines and the points of any geometry, of each kind together; empty ones are left out."""
    parts: dict[tuple[str, ...], list[shapely.Geometry]] = {AREAS: [], LINES: [], POINTS: []}
    for part in _leaves(geometry):
        kind = next(kind for kind in parts if part.geom_type in kind)
        parts[kind].append(part)
    for found in parts.values():
        if len(found) == 1:
            yield found[0]
        elif found:
            yield {AREAS: shapely.MultiPolygon, LINES: shapely.MultiLineString, POINTS: shapely.MultiPoint}[
                next(kind for kind in parts if found[0].geom_type in kind)
            ](found)


def _leaves(geometry: shapely.Geometry) -> Iterator[shapely.Geometry]:
    if geometry.geom_type in ("GeometryCollection", "MultiPolygon", "MultiLineString", "MultiPoint"):
        for part in geometry.geoms:
            yield from _leaves(part)
    elif geometry.geom_type == "LinearRing":
        yield shapely.LineString(geometry)
    elif not geometry.is_empty:
        yield geometry


def mended(area: shapely.Geometry) -> shapely.Geometry | None:
    """A valid area of the same outline, by even and odd as QuPath fills it; None where nothing is left of it."""
    repaired = shapely.make_valid(area)
    areas = [part for part in _leaves(repaired) if part.geom_type == "Polygon" and part.area > 0]
    return shapely.union_all(areas) if areas else None


def ellipse(bounds: tuple[float, float, float, float]) -> shapely.Geometry:
    """The ellipse that fills a box (left, top, right, bottom)."""
    left, top, right, bottom = bounds
    circle = shapely.Point(0, 0).buffer(1, quad_segs=32)
    across, down = (right - left) / 2, (bottom - top) / 2
    return shapely.transform(circle, lambda points: points * (across, down) + (left + across, top + down))


def within_reach(geometry: shapely.Geometry) -> bool:
    """Whether all positions are numbers of pixels that an image can have."""
    points = shapely.get_coordinates(geometry)
    return bool((abs(points) < FARTHEST).all())
