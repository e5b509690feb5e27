"""What a data set tells of the files that its tiles were cut from."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SourceImage:
    """A file that tiles were cut from, for data sets whose recipe tells of them.

    A tile's pixel (row, column) shows the image at x + column * f, y + row * f, where x and y are its record's, and f
    is the record's µm per pixel over the image's.
    """

    file: str  # its path in the raw folder, which may be moved
    role: str  # 'annotated', 'unannotated' or 'test'
    height: int  # pixels
    width: int
    microns_per_pixel: float
    patient: str
    hospital: str
    annotation: str = ""  # file with its annotations; '': none
    mm2: dict[str, float] = field(default_factory=dict)  # labelled in its tiles, per class
    tiles: dict[str, int] = field(default_factory=dict)  # in which some of a class is labelled
    regions: dict[str, int] = field(default_factory=dict)  # drawn, per class
