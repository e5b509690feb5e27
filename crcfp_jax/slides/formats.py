"""What predict can write: one row for each format.

A new format is a writer, as a file in crcfp_jax/slides/writing/, and a row here (docs/examples/counts.py is one).
"""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Format:
    """A row.

    Writers are named, not imported: a command line is read before anything heavy is loaded.
    """

    writer: str  # 'module:class', a `writing.output.Writer`
    help: str  # for the command line: a few words
    default: bool = False  # written unless --formats says otherwise
    probabilities: bool = False  # whether its writer reads `Band.probabilities`
    uncertainty: bool = False  # whether it reads `Band.uncertainty`, of models with auxiliary classifiers only
    # Bytes a pixel kept aside until the file can be written: of a number of classes, and whether TIFFs are written.
    kept: Callable[[int, bool], int] = lambda classes, large: 0
    takes: tuple[str, ...] = ("folder", "grid", "classes")  # of what `open` is given, in the order of the writer

    def open(self, **given: Any) -> Any:
        """A writer; `given` are `folder`, `grid`, `classes`, `slide` and `least_area` (µm²)."""
        module, _, name = self.writer.partition(":")
        return getattr(importlib.import_module(module), name)(*(given[argument] for argument in self.takes))


_WRITING = "crcfp_jax.slides.writing"
FORMATS = {
    "mask": Format(
        f"{_WRITING}.mask:MaskWriter", "class numbers as an image", default=True, kept=lambda classes, large: 1
    ),
    "overlay": Format(
        f"{_WRITING}.overlay:OverlayWriter",
        "the classes laid over the slide",
        default=True,
        takes=("folder", "grid", "classes", "slide"),
    ),
    "geojson": Format(
        f"{_WRITING}.geojson:GeoJsonWriter",
        "polygons for QuPath",
        default=True,
        takes=("folder", "grid", "classes", "least_area"),
    ),
    "csv": Format(f"{_WRITING}.areas:AreaWriter", "area of each class", default=True),
    "probabilities": Format(
        f"{_WRITING}.planes:ProbabilityWriter",
        "OME-TIFF of every class",
        probabilities=True,
        kept=lambda classes, large: classes,
    ),
    "uncertainty": Format(
        f"{_WRITING}.planes:UncertaintyWriter",
        "where classifiers disagree",
        uncertainty=True,
        kept=lambda classes, large: 2 * large,
        takes=("folder", "grid"),
    ),
}


def default_formats() -> tuple[str, ...]:
    """Those that are written unasked."""
    return tuple(name for name, row in FORMATS.items() if row.default)


def need_uncertainty(names: Iterable[str]) -> bool:
    """Whether one of the formats needs the network's uncertainty."""
    return any(FORMATS[name].uncertainty for name in names)


def needed_of_pixels(names: Iterable[str]) -> tuple[str, ...]:
    """What the formats need of each pixel, as `blending.programs.settler` gives it."""
    rows = [FORMATS[name] for name in names]
    wanted = {"probabilities8": any(row.probabilities for row in rows)}
    wanted["uncertainty16"] = any(row.uncertainty for row in rows)
    return ("classes", *(name for name, needed in wanted.items() if needed))
