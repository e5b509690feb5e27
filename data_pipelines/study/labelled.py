"""What is annotated on an image, whatever says so, and the classes of all images together."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.choice import choose_classes
from data_pipelines.annotations.table import BACKGROUND, ClassTable
from data_pipelines.study.cutting import Truth
from data_pipelines.study.options import StudyOptions

Colour = tuple[int, int, int]


class Labelled(Protocol):
    """What is annotated on one image."""

    identity: tuple[int, int]  # of the file of annotations
    key: str  # changes with the annotations, and how they are taken
    notes: tuple[str, ...]
    names: Mapping[str, Colour | None]  # classes that occur, and colours where the file tells
    regions: dict[str, int]  # drawn, per class
    diameters: dict[str, list[float]]  # of drawn areas, per class: of circles of the same area, in pixels
    boxes: np.ndarray | None  # float64 [n, 4]: left, top, right, bottom of what is annotated; None: anywhere

    def truth(self, classes: Sequence[ClassInfo]) -> Truth:
        """What paints the labels of the classes."""


def choose_study_classes(
    labelled: Mapping[str, Labelled], table: ClassTable | None, options: StudyOptions
) -> tuple[tuple[ClassInfo, ...], tuple[str, ...]]:
    """The classes of all annotations together, and notes.

    Raises:
        UserError: fewer than two, of which nothing can be told apart.
    """
    drawn: dict[str, Colour | None] = {}
    for found in labelled.values():
        for name, colour in found.names.items():
            drawn[name] = drawn.get(name) or colour
    free = [name for name in (BACKGROUND, table.background if table else "", options.unannotated) if name in drawn]
    classes, notes = choose_classes(drawn, table, needed=free)
    if len(classes) < 2:
        only = classes[0].name if classes else "none"
        raise UserError(
            f"one class only is annotated ({only}), of which nothing can be told apart: annotate another one, draw"
            " frames (class Region*) in which all is annotated, or build with --unannotated=NAME"
        )
    return classes, notes
