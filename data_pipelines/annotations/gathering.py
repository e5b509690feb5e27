"""The annotations of a file as they are read, one by one, and what is told of them."""

from collections import Counter
from pathlib import Path

import shapely

from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.model import AREAS, Annotation, AnnotationFile
from data_pipelines.annotations.shapes import crosses_itself, mended, parts_by_kind

Colour = tuple[int, int, int]


class Gathering:
    """Takes what every reader finds, and sees to it that geometries are as `Annotation` says."""

    def __init__(self, path: Path):
        self.path = path
        self._annotations: list[Annotation] = []
        self._remarks: Counter[tuple[str, str]] = Counter()  # (noun and more, what is done with it)
        self._crossing: list[str] = []

    def error(self, place: str, fault: str) -> UserError:
        """The error of one thing in the file that can't be used."""
        return UserError(f"{self.path}: {place} {fault}: delete it, or draw it again")

    def remark(self, what: str, done: str = "left out") -> None:
        """Counts one thing that is taken otherwise than it was drawn; `what` begins with a noun in the singular."""
        self._remarks[what, done] += 1

    def valid_area(self, area: shapely.Geometry, place: str) -> shapely.Geometry:
        """The area, mended where it isn't valid.

        Raises:
            UserError: nothing is left of it.
        """
        if area.is_valid and area.area > 0:
            return area
        repaired = mended(area)
        if repaired is None:
            raise self.error(place, "has an outline without any area")
        if crosses_itself(area):
            self._crossing.append(place)
        return repaired

    def add(
        self, geometry: shapely.Geometry, name: str | None, colour: Colour | None, place: str, label: str | None = None
    ) -> None:
        """Takes a geometry of any type: an annotation for its areas, its lines and its points each."""
        if geometry.is_empty:
            self.remark("annotation without any point")
        for part in parts_by_kind(geometry):
            if part.geom_type in AREAS:
                part = self.valid_area(part, place)
            self._annotations.append(Annotation(part, name, colour, place, label))

    def file(self) -> AnnotationFile:
        """All that was taken."""
        counted = [(count, what, done) for (what, done), count in self._remarks.items()]
        if self._crossing:
            what = "outline that crosses itself" if len(self._crossing) == 1 else "outline that cross themselves"
            counted.append((len(self._crossing), what, f"mended, first {self._crossing[0]}"))
        notes = tuple(f"{_plural(count, what)} {done}" for count, what, done in counted)
        return AnnotationFile(self.path, tuple(self._annotations), notes)


def _plural(count: int, what: str) -> str:
    noun, _, more = what.partition(" ")
    return f"{count} {noun}{'s' * (count > 1)}{more and ' '}{more}"
