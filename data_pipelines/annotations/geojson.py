"""GeoJSON as QuPath writes it, of all its versions."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.model import AREAS, Annotation, AnnotationFile
from data_pipelines.annotations.shapes import ellipse, mended, parts_by_kind, within_reach

# What an older QuPath put into `id`, when it had no `objectType`.
OLD_TYPES = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmaCore",
    "PathRootObject": "root",
}
DEEPEST = 100  # children of children


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
        raise UserError(f"{path} is no GeoJSON ({error}): export it again from QuPath as GeoJSON") from error
    features = root.get("features") if isinstance(root, dict) and "features" in root else root
    features = [features] if isinstance(features, dict) else features
    if not isinstance(features, list) or not all(_is_feature(each) for each in features):
        raise UserError(f"{path} holds no GeoJSON features: export it again from QuPath as GeoJSON")
    annotations: list[Annotation] = []
    left_out: Counter[str] = Counter()
    crossing: list[str] = []
    for number, feature in enumerate(_with_children(path, features), 1):
        place = f"annotation {number}"
        kind = _object_type(feature)
        if kind != "annotation":
            left_out[kind] += 1
            continue
        plane = feature["geometry"].get("plane") or {}
        if isinstance(plane, dict) and (plane.get("z") or plane.get("t")):
            left_out["annotation on other planes of the stack"] += 1
            continue
        name, colour = _classification(feature)
        label = _properties(feature).get("name")
        for part in parts_by_kind(_geometry(path, place, feature["geometry"])):
            if part.geom_type in AREAS and not part.is_valid:
                crossing.append(place)
                part = mended(part)
                if part is None:
                    raise UserError(f"{path}: {place} has an outline without any area: draw it again, or delete it")
            annotations.append(Annotation(part, name, colour, place, label if isinstance(label, str) else None))
    notes = [f"{count} {kind}{'s' * (count > 1)} left out" for kind, count in left_out.items()]
    if crossing:
        notes.append(f"{len(crossing)} outlines that cross themselves mended, first {crossing[0]}")
    return AnnotationFile(path, tuple(annotations), tuple(notes))


def _is_feature(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "Feature" and isinstance(value.get("geometry"), dict)


def _with_children(path: Path, features: list, depth: int = 0) -> Iterator[dict]:
    if depth > DEEPEST:
        raise UserError(f"{path}: objects lie more than {DEEPEST} deep in one another; it was not read")
    for feature in features:
        yield feature
        children = feature.get("childObjects") or _properties(feature).get("childObjects") or []
        if not isinstance(children, list) or not all(_is_feature(child) for child in children):
            raise UserError(f"{path}: childObjects of another form: export it again from QuPath as GeoJSON")
        yield from _with_children(path, children, depth + 1)


def _properties(feature: dict) -> dict:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _object_type(feature: dict) -> str:
    properties = _properties(feature)
    kind = properties.get("objectType") or properties.get("object_type") or OLD_TYPES.get(feature.get("id"))
    return kind if isinstance(kind, str) else "annotation"


def _classification(feature: dict) -> tuple[str | None, tuple[int, int, int] | None]:
    """Name and colour of the class; of several names QuPath makes one, with colons."""
    value = _properties(feature).get("classification")
    if isinstance(value, str):
        return value.strip() or None, None
    if not isinstance(value, dict):
        return None, None
    names = value.get("names") if isinstance(value.get("names"), list) else [value.get("name")]
    name = ": ".join(str(each).strip() for each in names if each is not None).strip()
    return name or None, _colour(value)


def _colour(value: dict) -> tuple[int, int, int] | None:
    for key in ("color", "colour"):
        parts = value.get(key)
        if isinstance(parts, list) and len(parts) >= 3 and all(isinstance(each, int | float) for each in parts[:3]):
            return tuple(min(255, max(0, int(each))) for each in parts[:3])
    packed = value.get("colorRGB")
    if isinstance(packed, int):  # Java's, with its sign
        return (packed >> 16) & 255, (packed >> 8) & 255, packed & 255
    return None


def _geometry(path: Path, place: str, value: dict) -> shapely.Geometry:
    try:
        if "geometries" in value:
            members = [_geometry(path, place, each) for each in value["geometries"]]
            return shapely.GeometryCollection(members)
        geometry = shapely.from_geojson(json.dumps({key: value[key] for key in ("type", "coordinates")}))
        geometry = shapely.force_2d(geometry)
    except (KeyError, TypeError, ValueError, RecursionError, shapely.errors.ShapelyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: {place} has a geometry that can't be read ({reason}): delete it, or draw it again"
        ) from error
    if geometry is None or not within_reach(geometry):
        raise UserError(f"{path}: {place} has positions that are no pixels of an image: delete it, or draw it again")
    if value.get("isEllipse") and not geometry.is_empty:
        return ellipse(geometry.bounds)
    return geometry
