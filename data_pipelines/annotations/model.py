"""What an annotation is, whatever tool it was drawn with."""

from dataclasses import dataclass
from pathlib import Path

import shapely

AREAS, LINES, POINTS = ("Polygon", "MultiPolygon"), ("LineString", "MultiLineString"), ("Point", "MultiPoint")


@dataclass(frozen=True)
class Annotation:
    """One drawn thing.

    `geometry` is in pixels of the full-resolution image as its viewer shows it: x to the right, y downwards, whole
    numbers at the corners of pixels, so that the first pixel is the square from (0, 0) to (1, 1). It is of one of the
    types in AREAS (valid: without self-crossings), LINES (strokes, which get a width when they are painted) or POINTS,
    and is not empty.
    """

    geometry: shapely.Geometry
    name: str | None  # of its class, as drawn; None: unclassified
    colour: tuple[int, int, int] | None  # of its class, as drawn
    place: str  # where in its file, for messages: 'annotation 3'
    label: str | None = None  # the name of the object itself, such as 'core A'


@dataclass(frozen=True)
class AnnotationFile:
    """The annotations of one image, in the order of the file, and what of them is taken otherwise than it was drawn."""

    path: Path
    annotations: tuple[Annotation, ...]
    notes: tuple[str, ...] = ()  # a short clause each: '3 detections left out'
