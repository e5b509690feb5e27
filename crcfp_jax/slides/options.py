"""How pictures are predicted: what a command line may choose."""

import math
from dataclasses import dataclass

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.pixel_size import PLAUSIBLE
from crcfp_jax.slides.formats import FORMATS
from data_pipelines.reading import READING

LEAST_SIDE = 32  # network pixels
LEAST_AREA = 20.0  # µm²: less than half of a lymphocyte's nucleus, 7 µm across
GREATEST_OVERLAP = 0.75  # of a window's side; 16 times the work of none


@dataclass(frozen=True)
class Options:
    """Choices for every picture of a command line.

    Raises:
        UserError: a number that can't be used; names its option.
    """

    microns_per_pixel: float | None  # of pictures whose files don't say
    forced_microns_per_pixel: float | None  # of all pictures, whatever their files say
    side: int  # network pixels of a window
    overlap: float  # share of the side
    batch_size: int  # windows on each device
    tissue_only: bool
    formats: tuple[str, ...]  # of FORMATS
    least_area: float = LEAST_AREA  # µm² of a region that gets a polygon

    def __post_init__(self):
        for name, microns in (("--mpp", self.microns_per_pixel), ("--force_mpp", self.forced_microns_per_pixel)):
            if microns is not None and not PLAUSIBLE[0] <= microns <= PLAUSIBLE[1]:
                raise UserError(f"{name} {microns}: give µm per pixel, between {PLAUSIBLE[0]:g} and {PLAUSIBLE[1]:g}")
        if self.side < LEAST_SIDE:
            raise UserError(f"--tile {self.side}: give at least {LEAST_SIDE} pixels")
        if not 0 <= self.overlap <= GREATEST_OVERLAP:
            raise UserError(f"--overlap {self.overlap}: give a share from 0 to {GREATEST_OVERLAP}")
        if self.batch_size < 1:
            raise UserError(f"--batch_size {self.batch_size}: give at least 1")
        if not 0 <= self.least_area < math.inf:
            raise UserError(f"--least_area {self.least_area:g}: give µm², 0 or more")

    def settings(self) -> dict[str, object]:
        """What results depend on, by the name of its option: JSON."""
        return {
            "the reading of files": READING,
            "--mpp": self.microns_per_pixel,
            "--force_mpp": self.forced_microns_per_pixel,
            "--tile": self.side,
            "--overlap": self.overlap,
            "--tissue_only": self.tissue_only,
            "--formats": ",".join(self.formats),
            "--least_area": self.least_area if "geojson" in self.formats else None,
        }


def parse_formats(words: str) -> tuple[str, ...]:
    """The formats of a comma-separated list, in the order of FORMATS; UserError for one that isn't known."""
    chosen = [word.strip() for word in words.split(",") if word.strip()]
    unknown = [word for word in chosen if word not in FORMATS]
    if unknown or not chosen:
        raise UserError(f"--formats {words}: {', '.join(unknown) or 'nothing'} is unknown; known: {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in chosen)
