"""Annotations of an image as they are taken for training."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.files import read_annotations
from data_pipelines.annotations.model import AREAS, LINES, POINTS, Annotation
from data_pipelines.annotations.painting import Painted, Painting
from data_pipelines.annotations.table import BACKGROUND, ClassTable, is_frame, is_ignored, same_name
from data_pipelines.study.labelled import Colour
from data_pipelines.study.opened import Opened, file_identity
from data_pipelines.study.options import StudyOptions


@dataclass(frozen=True)
class Drawing:
    """Annotations of a file; see `Labelled`."""

    identity: tuple[int, int]
    key: str
    notes: tuple[str, ...]
    names: Mapping[str, Colour | None]
    regions: dict[str, int]
    diameters: dict[str, list[float]]
    boxes: np.ndarray | None
    areas: tuple[tuple[shapely.Geometry, str | None], ...]  # in the order of the file; None: ignored
    frames: tuple[shapely.Geometry, ...]
    inside_frames: str | None  # class of what is free there; None: unknown
    elsewhere: str | None  # likewise
    table: ClassTable | None

    def truth(self, classes: Sequence[ClassInfo]) -> Painting:
        """Paints by the rules of `annotations.painting`; a class that stands later in a table wins."""
        labels = {same_name(info.name): label for label, info in enumerate(classes)}

        def label_of(name: str | None) -> int:
            return IGNORED if name is None else labels[same_name(name)]

        painted = []
        for area, name in self.areas:
            label = label_of(name)
            painted.append(Painted(area, label, rank=len(labels) if name is None else label if self.table else 0))
        inside = label_of(self.inside_frames) if self.frames else IGNORED
        return Painting(painted, self.frames, inside_frames=inside, elsewhere=label_of(self.elsewhere))


def read_drawing(each: Opened, table: ClassTable | None, options: StudyOptions) -> Drawing:
    """Reads a file of annotations, gives strokes their width, and looks whether all lies on the image."""
    path = each.image.annotation
    identity = file_identity(path)
    file = read_annotations(path)
    notes, areas, frames = list(file.notes), [], []
    names: dict[str, Colour | None] = {}
    regions, diameters = Counter(), {}
    points, outside, beyond = [], [], []
    height, width = each.size
    image = shapely.box(0, 0, width, height)
    for annotation in file.annotations:
        if annotation.geometry.geom_type in POINTS:
            points.append(annotation)
            continue
        name = _class_name(path, annotation, table)
        shape = annotation.geometry
        if shape.geom_type in LINES:
            shape = shape.buffer(options.stroke_width / each.microns / 2)
        if not image.covers(shape):
            if not shape.intersection(image).area:
                outside.append(annotation)
                continue
            beyond.append(annotation)
        if is_frame(annotation.name):
            frames.append(shape)
            continue
        areas.append((shape, name))
        if name is not None:
            names.setdefault(name, annotation.colour)
            regions[name] += 1
            if annotation.geometry.geom_type in AREAS:
                parts = shapely.get_parts(annotation.geometry)
                diameters.setdefault(name, []).extend((2 * np.sqrt(shapely.area(parts) / np.pi)).tolist())
    if outside:
        other = " (is it drawn on another image, or at another size?)" if not areas else ""
        raise UserError(
            f"{path}: {_lies(outside)} outside the image of {width} x {height} pixels{other}: move or delete what is"
            " outside"
        )
    if not areas and not frames:
        why = ": draw something, or move its image to unannotated/"
        if points:
            why = f" with an area, but {len(points)} points (first {points[0].place}): draw areas or lines"
        raise UserError(f"{path} holds no annotation{why}")
    if points:
        notes.append(f"{len(points)} points left out, which have no area")
    if beyond:
        notes.append(f"{len(beyond)} annotations cut at the image's edge, first {beyond[0].place}")
    inside, elsewhere = options.unannotated or (table.background if table else BACKGROUND), options.unannotated or None
    if table is not None:
        inside, elsewhere = (None if name is None else table.class_of(name) for name in (inside, elsewhere))
    for free in [inside] * bool(frames) + [elsewhere]:
        if free is not None:
            names.setdefault(free, None)
    parts = shapely.get_parts(np.array([*frames, *(shape for shape, _ in areas)], object))
    boxes = shapely.bounds(parts).reshape(-1, 4)
    return Drawing(
        identity=identity,
        key=str([identity, options.stroke_width, options.unannotated, inside, repr(table)]),
        notes=tuple(notes),
        names=names,
        regions=dict(regions),
        diameters=diameters,
        boxes=boxes if elsewhere is None else None,
        areas=tuple(areas),
        frames=tuple(frames),
        inside_frames=inside,
        elsewhere=elsewhere,
        table=table,
    )


def _class_name(path: Path, annotation: Annotation, table: ClassTable | None) -> str | None:
    """The class of an annotation, in the table's words; None for one that is ignored or a frame."""
    name = annotation.name
    if is_frame(name) or is_ignored(name):
        return None
    if name is None and table is not None:
        name = table.unclassified or None
    if name is None:
        raise UserError(
            f"{path}: {annotation.place} has no class: give it one where it was drawn (in QuPath: Set class), or write"
            ' unclassified = "NAME" into classes.toml'
        )
    if table is None:
        return name
    if table.find(name) is None:
        raise UserError(
            f"{path}: {annotation.place} is of class {name!r}, which {table.path} doesn't know ({table.known}): add it,"
            " or an alias, or list it under ignored"
        )
    return table.class_of(name)


def _lies(annotations: Sequence[Annotation]) -> str:
    first = annotations[0]
    more = f" and {len(annotations) - 1} more lie" if len(annotations) > 1 else " lies"
    return f"{first.place}{f' of {first.name}' if first.name else ''}{more}"
