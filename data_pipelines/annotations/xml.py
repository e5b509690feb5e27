"""XML annotations: of Aperio ImageScope, and of ASAP."""

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import shapely
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.model import AREAS, Annotation, AnnotationFile
from data_pipelines.annotations.shapes import ellipse, mended, within_reach

RECTANGLE, ELLIPSE = "1", "2"  # ImageScope's types of regions, which it stores by corners of their boxes
RULERS = ("3", "4")  # lines of ImageScope: rulers and arrows
ASAP_LINES = ("Line", "Measurement")


def parse_xml(path: Path, text: bytes) -> AnnotationFile:
    """Annotations of either tool.

    Raises:
        UserError: no XML, one with entities, which can expand without bound, of another tool, or a region that can't be
            used.
    """
    try:
        root = fromstring(text)
    except DefusedXmlException as error:
        raise UserError(f"{path} declares XML entities, which no annotation needs; it was not read") from error
    except (ParseError, ValueError) as error:
        raise UserError(f"{path} is no readable XML ({error}): export it again") from error
    if root.tag == "Annotations":
        return _imagescope(path, root)
    if root.tag == "ASAP_Annotations":
        return _asap(path, root)
    raise UserError(f"{path} is XML of <{root.tag}>: ImageScope's <Annotations> and <ASAP_Annotations> are read")


def _imagescope(path: Path, root: Element) -> AnnotationFile:
    """Each Annotation is a layer: its name, or the name of its first attribute, is the class of its regions."""
    annotations, crossing, rulers, number = [], [], 0, 0
    for layer in root.findall("Annotation"):
        name = _layer_name(layer)
        colour = _packed(layer.get("LineColor"))
        holes: list[shapely.Geometry] = []
        areas: list[tuple[shapely.Geometry, str, str | None]] = []
        for region in layer.iterfind("Regions/Region"):
            number += 1
            place = f"region {region.get('Id') or number}" + (f" of {name}" if name else "")
            if region.get("Type") in RULERS:
                rulers += 1
                continue
            points = _points(path, place, region.findall("Vertices/Vertex"))
            area = _area(path, place, points, region.get("Type"))
            if not area.is_valid:
                crossing.append(place)
                area = _mended(path, place, area)
            label = (region.get("Text") or "").strip() or None
            (holes.append(area) if region.get("NegativeROA") == "1" else areas.append((area, place, label)))
        without = shapely.union_all(holes) if holes else None
        for area, place, label in areas:
            left = area if without is None else shapely.difference(area, without)
            if not left.is_empty and left.geom_type in AREAS:
                annotations.append(Annotation(left, name, colour, place, label))
    notes = [f"{rulers} rulers and arrows left out"] if rulers else []
    return AnnotationFile(path, tuple(annotations), (*notes, *_told(crossing)))


def _layer_name(layer: Element) -> str | None:
    """A layer's name; of one without, the name of its first attribute, or what ImageScope's own 'Description' says."""
    texts = [layer.get("Name")]
    for attribute in layer.iterfind("Attributes/Attribute"):
        own = (attribute.get("Name") or "").strip()
        texts.append(attribute.get("Value") if own.casefold() == "description" else own)
    return next((text.strip() for text in texts if text and text.strip()), None)


def _asap(path: Path, root: Element) -> AnnotationFile:
    """The group of an annotation is its class."""
    colours = {group.get("Name"): _hex(group.get("Color")) for group in root.iterfind("AnnotationGroups/Group")}
    annotations, crossing = [], []
    for number, entry in enumerate(root.iterfind("Annotations/Annotation"), 1):
        place = f"annotation {entry.get('Name') or number}"
        group = entry.get("PartOfGroup")
        name = None if group in (None, "", "None") else group
        corners = sorted(entry.findall("Coordinates/Coordinate"), key=_order)
        points = _points(path, place, corners)
        kind = entry.get("Type")
        if kind in ("Dot", "PointSet"):
            geometry = shapely.MultiPoint(points)
        elif kind in ASAP_LINES and len(points) >= 2:
            geometry = shapely.LineString(points)
        else:
            geometry = _area(path, place, points, None)
            if not geometry.is_valid:
                crossing.append(place)
                geometry = _mended(path, place, geometry)
        colour = colours.get(group) or _hex(entry.get("Color"))
        annotations.append(Annotation(geometry, name, colour, place, entry.get("Name")))
    return AnnotationFile(path, tuple(annotations), _told(crossing))


def _told(crossing: list[str]) -> tuple[str, ...]:
    return (f"{len(crossing)} outlines that cross themselves mended, first {crossing[0]}",) if crossing else ()


def _order(corner: Element) -> float:
    try:
        return float(corner.get("Order", 0))
    except ValueError:
        return 0.0


def _points(path: Path, place: str, corners: list[Element]) -> list[tuple[float, float]]:
    try:
        points = [(float(corner.attrib["X"]), float(corner.attrib["Y"])) for corner in corners]
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: {place} has a vertex without numbers X and Y: delete it, or draw it again") from error
    if not points or not within_reach(shapely.MultiPoint(points)):
        raise UserError(f"{path}: {place} has positions that are no pixels of an image: delete it, or draw it again")
    return points


def _area(path: Path, place: str, points: list[tuple[float, float]], kind: str | None) -> shapely.Geometry:
    bounds = shapely.MultiPoint(points).bounds
    if kind == ELLIPSE:
        return ellipse(bounds)
    if kind == RECTANGLE and len(points) < 4:
        return shapely.box(*bounds)
    if len(points) < 3:
        raise UserError(f"{path}: {place} has {len(points)} points; an area needs 3, so delete it, or draw it again")
    return shapely.Polygon(points)


def _mended(path: Path, place: str, area: shapely.Geometry) -> shapely.Geometry:
    repaired = mended(area)
    if repaired is None:
        raise UserError(f"{path}: {place} has an outline without any area: draw it again, or delete it")
    return repaired


def _packed(text: str | None) -> tuple[int, int, int] | None:
    """Windows' colours: red in the lowest byte."""
    if not text or not text.isdigit():
        return None
    value = int(text)
    return value & 255, (value >> 8) & 255, (value >> 16) & 255


def _hex(text: str | None) -> tuple[int, int, int] | None:
    digits = (text or "").removeprefix("#")
    try:
        value = int(digits, 16) if len(digits) == 6 else None
    except ValueError:
        value = None
    return None if value is None else (value >> 16, (value >> 8) & 255, value & 255)
