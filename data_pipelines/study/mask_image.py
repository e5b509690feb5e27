"""Mask images as they are taken for training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from crcfp_jax.common.classes import ClassInfo
from data_pipelines.annotations.mask_classes import INSTANCES, Naming, mask_label, name_values
from data_pipelines.annotations.masks import UNKNOWN, Mask, read_mask
from data_pipelines.annotations.table import ClassTable, same_name
from data_pipelines.study.labelled import Colour
from data_pipelines.study.opened import Opened, at_once, file_identity
from data_pipelines.study.options import StudyOptions


@dataclass(frozen=True)
class MaskImage:
    """A mask image; see `Labelled`."""

    identity: tuple[int, int]
    key: str
    names: Mapping[str, Colour | None]
    diameters: dict[str, list[float]]
    path: Path
    size: tuple[int, int]
    naming: Naming
    notes: tuple[str, ...] = ()
    regions: dict[str, int] = field(default_factory=dict)
    boxes: np.ndarray | None = None

    def truth(self, classes: Sequence[ClassInfo]) -> "PaintedMask":
        """Reads the mask."""
        labels = {same_name(info.name): label for label, info in enumerate(classes)}
        by_name = {name: labels[same_name(name)] for name in self.names}
        return PaintedMask(mask_label(read_mask(self.path, self.size), self.naming, by_name))


class PaintedMask:
    """The label of an image from a mask of its size: each pixel takes the nearest."""

    def __init__(self, label: np.ndarray):
        self._label = label

    def paint(
        self, top: int, left: int, height: int, width: int, scale: tuple[float, float] = (1.0, 1.0)
    ) -> np.ndarray:
        """As `Painting.paint`."""
        rows, columns = (
            np.clip(((start + np.arange(count) + 0.5) * factor).astype(int), 0, length - 1)
            for start, count, factor, length in zip((top, left), (height, width), scale, self._label.shape, strict=True)
        )
        return self._label[rows[:, None], columns]


@dataclass(frozen=True)
class _Facts:
    """What a look at a mask tells."""

    identity: tuple[int, int]
    counts: dict[int, int]
    colours: bool
    diameters: dict[int, list[float]]  # of connected parts, per value


def read_masks(
    opened: Sequence[Opened], table: ClassTable | None, options: StudyOptions
) -> tuple[dict[str, MaskImage], list[str]]:
    """Looks at the masks of all images that have one.

    Returns:
        What they say, by name of the image; and faults, one line each.

    Raises:
        UserError: values that mean nothing that is known.
    """
    facts: dict[str, _Facts] = {}
    faults = []
    look = partial(_look_at_mask, instances=options.mask == INSTANCES)
    for each, (found, fault) in zip(opened, at_once(look, opened), strict=True):
        faults += [fault] if fault else []
        if found is not None:
            facts[each.image.name] = found
    labelled: dict[str, MaskImage] = {}
    for colours in (False, True):
        own = [each for each in opened if each.image.name in facts and facts[each.image.name].colours == colours]
        if not own:
            continue
        counts = {each.image.annotation: facts[each.image.name].counts for each in own}
        naming = name_values(counts, colours=colours, table=table, kind=options.mask)
        for each in own:
            labelled[each.image.name] = _name_mask(each, facts[each.image.name], naming)
    return labelled, faults


def _look_at_mask(each: Opened, instances: bool) -> _Facts:
    path = each.image.annotation
    identity = file_identity(path)
    mask = read_mask(path, each.size)
    counts = mask.counts()
    return _Facts(identity, counts, mask.colours, _diameters(mask, counts, instances))


def _diameters(mask: Mask, counts: Mapping[int, int], instances: bool) -> dict[int, list[float]]:
    """Of objects: of what has a number of its own, or else the connected parts of a value.

    Of classes, the commonest is left out, which is what objects lie on.
    """
    if instances:
        return {value: [2 * np.sqrt(count / np.pi)] for value, count in counts.items() if value not in (0, UNKNOWN)}
    ground, found = max(counts, key=counts.__getitem__), {}
    for value in counts:
        if value in (ground, UNKNOWN):
            continue
        _, _, figures, _ = cv2.connectedComponentsWithStats((mask.values == value).astype(np.uint8), connectivity=8)
        found[value] = (2 * np.sqrt(figures[1:, cv2.CC_STAT_AREA] / np.pi)).tolist()
    return found


def _name_mask(each: Opened, facts: _Facts, naming: Naming) -> MaskImage:
    named = {value: naming.of(value) for value in facts.counts}
    names = {name: None for name in named.values() if name is not None}
    diameters: dict[str, list[float]] = {}
    for value, found in facts.diameters.items():
        if named[value] is not None:
            diameters.setdefault(named[value], []).extend(found)
    key = str([facts.identity, sorted(named.items())])
    return MaskImage(facts.identity, key, names, diameters, each.image.annotation, each.size, naming)
