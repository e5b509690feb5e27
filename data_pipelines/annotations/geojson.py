"""GeoJSON as QuPath writes it, of all its versions."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.gathering import Colour, Gathering
from data_pipelines.annotations.model import AnnotationFile
from data_pipelines.annotations.shapes import ellipse, within_reach

ANNOTATION = "annotation"
# What an older QuPath put into `id`, when it had no `objectType`.
OLD_TYPES = {
    "PathAnnotationObject": ANNOTATION,
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
    "PathRootObject": "root",
}
DEEPEST = 100  # children of children, and collections in collections
EXPORT = "export it again from QuPath as GeoJSON"


def parse_geojson(path: Path, text: str) -> AnnotationFile:
    """Annotations of a FeatureCollection, an array of Features or a single one.

    Objects that are no annotations (detections, cells, tiles, cores), what lies on another plane of a stack, and
    outlines that cross themselves are told in the notes.

    Raises:
        UserError: no GeoJSON, or a geometry that can't be used.
    """
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no GeoJSON ({error}): {EXPORT}") from error
    features = root.get("features", root) if isinstance(root, dict) else root
    features = [features] if _is_feature(features) else features
    if not isinstance(features, list):
        raise UserError(f"{path} holds no GeoJSON features: {EXPORT}")
    gathering = Gathering(path)
    for number, feature in enumerate(_with_children(path, features), 1):
        place = f"annotation {number}"
        if not _is_feature(feature):
            raise UserError(f"{path}: {place} is no GeoJSON feature: {EXPORT}")
        kind = _object_type(feature)
        geometry = feature.get("geometry")
        if kind != ANNOTATION:
            if kind != "root":  # which stands for the image
                gathering.remark(kind)
        elif geometry is None:
            gathering.remark("annotation without geometry")
        elif _is_on_another_plane(geometry):
            gathering.remark("annotation on other planes of the stack")
        else:
            try:
                shape = _shape(geometry)
            except ValueError as error:
                raise gathering.error(place, str(error)) from error
            label = _properties(feature).get("name")
            gathering.add(shape, *_classification(feature), place, label if isinstance(label, str) else None)
    return gathering.file()


def _is_feature(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "Feature"


def _with_children(path: Path, features: list, depth: int = 0) -> Iterator[Any]:
    if depth > DEEPEST:
        raise UserError(f"{path}: objects lie more than {DEEPEST} deep in one another; it was not read")
    for feature in features:
        yield feature
        children = feature.get("childObjects") or _properties(feature).get("childObjects") or []
        if not isinstance(children, list):
            raise UserError(f"{path}: childObjects is no list: {EXPORT}")
        yield from _with_children(path, children, depth + 1)


def _properties(feature: dict) -> dict:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _object_type(feature: dict) -> str:
    properties = _properties(feature)
    identity = feature.get("id")
    old = OLD_TYPES.get(identity) if isinstance(identity, str) else None
    kind = properties.get("objectType") or properties.get("object_type") or old
    return kind if isinstance(kind, str) else ANNOTATION


def _is_on_another_plane(geometry: Any) -> bool:
    plane = geometry.get("plane") if isinstance(geometry, dict) else None
    return isinstance(plane, dict) and bool(plane.get("z") or plane.get("t"))


def _classification(feature: dict) -> tuple[str | None, Colour | None]:
    """Name and colour of the class; of several names QuPath makes one, with colons."""
    value = _properties(feature).get("classification")
    if isinstance(value, str):
        return value.strip() or None, None
    if not isinstance(value, dict):
        return None, None
    names = value.get("names") or [value.get("name")]
    names = names if isinstance(names, list) else [names]
    name = ": ".join(str(each).strip() for each in names if each is not None).strip()
    return name or None, _colour(value)


def _colour(value: dict) -> Colour | None:
    parts = value.get("color")
    if isinstance(parts, list) and len(parts) >= 3 and all(_is_number(each) for each in parts[:3]):
        return tuple(min(255, max(0, int(each))) for each in parts[:3])
    packed = value.get("colorRGB")
    if isinstance(packed, int):  # Java's, with its sign
        return (packed >> 16) & 255, (packed >> 8) & 255, packed & 255
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _shape(value: Any, depth: int = 0) -> shapely.Geometry:
    """A geometry object of GeoJSON; ValueError, with what is wrong, where it is none."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise ValueError("has no geometry of GeoJSON")
    kind = value["type"]
    content = value.get("geometries" if kind == "GeometryCollection" else "coordinates")
    if not isinstance(content, list):
        raise ValueError(f"has a {kind} without coordinates")
    if kind == "GeometryCollection":
        if depth > DEEPEST:
            raise ValueError(f"has collections more than {DEEPEST} deep in one another")
        return shapely.GeometryCollection([_shape(each, depth + 1) for each in content])
    if kind not in _READERS:
        raise ValueError(f"is a {kind}, which is no geometry of GeoJSON")
    shape = _READERS[kind](content)
    return ellipse(shape.bounds) if value.get("isEllipse") and not shape.is_empty else shape


def _positions(value: Any) -> Float64[np.ndarray, "n 2"]:
    """Positions of two numbers each, or more, of which the first two are taken."""
    wrong = "has a position that is no pair of numbers"
    if not isinstance(value, list) or not all(isinstance(each, list) and len(each) >= 2 for each in value):
        raise ValueError(wrong)
    try:
        points = np.array([each[:2] for each in value]) if value else np.empty((0, 2))
    except ValueError as error:  # lists where numbers belong
        raise ValueError(wrong) from error
    if points.dtype.kind not in "if" or points.ndim != 2:
        raise ValueError(wrong)
    if not within_reach(points):
        raise ValueError("has positions that are no pixels of an image")
    return points.astype(np.float64)


def _line(value: Any) -> shapely.Geometry:
    points = _positions(value)
    if len(points) == 1:
        raise ValueError("is a line of one point")
    return shapely.LineString(points)


def _polygon(value: Any) -> shapely.Geometry:
    if not isinstance(value, list):
        raise ValueError("has a position that is no pair of numbers")
    rings = [_ring(ring) for ring in value]
    return shapely.Polygon(rings[0], rings[1:]) if rings else shapely.Polygon()


def _ring(value: Any) -> shapely.LinearRing:
    points = _positions(value)
    if len(points) < 3:
        raise ValueError(f"has an outline of {len(points)} points, where an area needs 3")
    # Closed once more where it is: [a, b, a], of no area, is too short for a ring without.
    return shapely.LinearRing(np.concatenate([points, points[:1]]) if len(points) == 3 else points)


_READERS = {
    "Polygon": _polygon,
    "MultiPolygon": lambda value: shapely.MultiPolygon([_polygon(each) for each in value]),
    "LineString": _line,
    "MultiLineString": lambda value: shapely.MultiLineString([_line(each) for each in value]),
    "Point": lambda value: shapely.MultiPoint(_positions([value] if value else [])),
    "MultiPoint": lambda value: shapely.MultiPoint(_positions(value)),
}
