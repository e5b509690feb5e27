"""XML annotations: of Aperio ImageScope, and of ASAP."""

import math
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import shapely
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from jaxtyping import Float64

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.gathering import Colour, Gathering
from data_pipelines.annotations.model import AnnotationFile
from data_pipelines.annotations.shapes import ellipse, only_areas, within_reach

# ImageScope's types of regions. Of a box it stores the corners, of an ellipse two corners of its box; 3 and above are
# arrows, rulers and counters, which mark and measure.
OUTLINE, BOX, ELLIPSE = "0", "1", "2"
OWN_ATTRIBUTE = "description"  # which ImageScope gives every layer
ASAP_POINTS = ("Dot", "PointSet")


def parse_xml(path: Path, text: bytes) -> AnnotationFile:
    """Annotations of either tool; vertices are taken as they are, whole numbers at the corners of pixels.

    Raises:
        UserError: no XML, one with entities, which can expand without bound, of another tool, or a region that can't be
            used.
    """
    try:
        root = fromstring(text)
    except DefusedXmlException as error:
        raise UserError(f"{path} declares XML entities, which no annotation needs; it was not read") from error
    except (ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path} is no readable XML ({error}): export it again") from error
    gathering = Gathering(path)
    if root.tag == "Annotations":
        _imagescope(gathering, root)
    elif root.tag == "ASAP_Annotations":
        _asap(gathering, root)
    else:
        raise UserError(f"{path} is XML of <{root.tag}>: ImageScope's <Annotations> and <ASAP_Annotations> are read")
    return gathering.file()


def _imagescope(gathering: Gathering, root: Element) -> None:
    """Each Annotation is a layer: its name is the class of its regions, of which negative ones are holes."""
    number = 0
    for position, layer in enumerate(root.iterfind("Annotation"), 1):
        name = _layer_name(layer)
        where = f"of {name}" if name else f"of layer {layer.get('Id') or position} (without a name)"
        areas: list[tuple[shapely.Geometry, str, str | None]] = []
        holes: list[shapely.Geometry] = []
        for region in layer.iterfind("Regions/Region"):
            number += 1
            place = f"region {region.get('Id') or number} {where}"
            kind = region.get("Type", OUTLINE)
            if kind not in (OUTLINE, BOX, ELLIPSE):
                gathering.remark("region that is no outline (arrow, ruler ...)")
                continue
            points = _points(gathering, place, region.findall("Vertices/Vertex"))
            area = gathering.valid_area(_region(gathering, place, points, kind), place)
            label = (region.get("Text") or "").strip() or None
            (holes.append(area) if region.get("NegativeROA") == "1" else areas.append((area, place, label)))
        cut = shapely.union_all(holes)
        for area, place, label in areas:
            left = only_areas(shapely.difference(area, cut)) if holes else area
            if left is None:
                gathering.remark("region that is a hole from edge to edge")
            else:
                gathering.add(left, name, _packed(layer.get("LineColor")), place, label)


def _layer_name(layer: Element) -> str | None:
    """The layer's name, or else what its first attribute says: its value, or a name that someone gave it."""
    name = (layer.get("Name") or "").strip()
    if name:
        return name
    for attribute in layer.iterfind("Attributes/Attribute"):
        value, name = ((attribute.get(key) or "").strip() for key in ("Value", "Name"))
        if value or name.casefold() not in ("", OWN_ATTRIBUTE):
            return value or name
    return None


def _region(gathering: Gathering, place: str, points: Float64[np.ndarray, "n 2"], kind: str) -> shapely.Geometry:
    corners = (*points.min(0).tolist(), *points.max(0).tolist())
    if kind == ELLIPSE:
        return ellipse(corners)
    if kind == BOX and len(points) == 2:
        return shapely.box(*corners)
    return _polygon(gathering, place, points)


def _asap(gathering: Gathering, root: Element) -> None:
    """The group of an annotation is its class."""
    colours = {group.get("Name"): _hex(group.get("Color")) for group in root.iterfind("AnnotationGroups/Group")}
    for number, entry in enumerate(root.iterfind("Annotations/Annotation"), 1):
        title = (entry.get("Name") or "").strip() or None
        place = f"annotation {number}" + (f" ({title})" if title else "")
        group = (entry.get("PartOfGroup") or "").strip()
        name = None if group in ("", "None") else group
        corners = sorted(entry.iterfind("Coordinates/Coordinate"), key=_order)
        points = _points(gathering, place, corners)
        kind = entry.get("Type")
        if kind == "Spline":
            gathering.remark("spline", "taken as the polygon of its points")
        shape = shapely.MultiPoint(points) if kind in ASAP_POINTS else _polygon(gathering, place, points)
        gathering.add(shape, name, colours.get(group) or _hex(entry.get("Color")), place, title)


def _order(corner: Element) -> float:
    try:
        place = float(corner.get("Order", 0))
    except ValueError:
        return 0.0
    return place if math.isfinite(place) else 0.0


def _points(gathering: Gathering, place: str, corners: list[Element]) -> Float64[np.ndarray, "n 2"]:
    try:
        points = np.array([(float(corner.attrib["X"]), float(corner.attrib["Y"])) for corner in corners])
    except (KeyError, ValueError) as error:
        raise gathering.error(place, "has a vertex without numbers X and Y") from error
    if not len(points):
        raise gathering.error(place, "has no vertices")
    if not within_reach(points):
        raise gathering.error(place, "has positions that are no pixels of an image")
    return points


def _polygon(gathering: Gathering, place: str, points: Float64[np.ndarray, "n 2"]) -> shapely.Geometry:
    if len(points) < 3:
        raise gathering.error(place, f"has {len(points)} points, where an area needs 3")
    return shapely.Polygon(points)


def _packed(text: str | None) -> Colour | None:
    """Windows' colours: red in the lowest byte."""
    try:
        value = int(text or "")
    except ValueError:
        return None
    return value & 255, (value >> 8) & 255, (value >> 16) & 255


def _hex(text: str | None) -> Colour | None:
    try:
        red, green, blue = bytes.fromhex((text or "").removeprefix("#"))
    except ValueError:
        return None
    return red, green, blue
