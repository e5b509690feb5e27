"""The classes of a segmentation, and the label of pixels that belong to none."""

from dataclasses import dataclass

IGNORED = 255  # label of pixels that count nowhere: padding, "don't care" codes, tiles without annotation


@dataclass(frozen=True)
class ClassInfo:
    """A class: its label is its place in `DataSet.classes`. `colour`: RGB, 0 to 255, for pictures."""

    name: str
    colour: tuple[int, int, int]
