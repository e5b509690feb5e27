"""What a user may ask of the build of a study, as the recipe's flags and as values."""

import math
import re
from dataclasses import dataclass
from typing import Any

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.pixel_size import PLAUSIBLE
from data_pipelines.recipes import Option

MASKS = ("auto", "instances")
OPTIONS = (
    Option("name", "", "of the data set; by default that of the raw folder"),
    Option("mpp", "", "µm per pixel of the images whose files don't say"),
    Option("microns_per_pixel", "", "of the stored tiles, and so of the network; by default chosen by what is drawn"),
    Option("tile", "512", "pixels of a stored tile's side, about"),
    Option("stroke_width", "10", "µm: width of drawn lines"),
    Option("unannotated", "", "class of all that no annotation covers; by default it is unknown"),
    Option("mask", "auto", "what mask images hold: auto, or instances, whose values number the objects", MASKS),
    Option("tiles_per_slide", "100", "unlabelled tiles of an image, at most"),
    Option("patient_pattern", "", "regular expression with a group for the patient in an image's name"),
)


@dataclass(frozen=True)
class StudyOptions:
    """The values. Sizes in µm, sides in pixels."""

    mpp: float | None
    microns_per_pixel: float | None
    tile: int
    stroke_width: float
    unannotated: str
    mask: str
    tiles_per_slide: int
    patient_pattern: re.Pattern | None


def parse_options(given: dict[str, Any]) -> StudyOptions:
    """Reads the texts that the command line gives.

    Raises:
        UserError: no number, one out of bounds, or a pattern that is none.
    """
    pattern = None
    if given["patient_pattern"]:
        try:
            pattern = re.compile(given["patient_pattern"])
        except re.error as error:
            raise UserError(f"--patient_pattern is no regular expression: {error}") from error
        if not pattern.groups:
            raise UserError("--patient_pattern has no group: put parentheses around the patient, e.g. '(P[0-9]+)_.*'")
    return StudyOptions(
        mpp=_number(given, "mpp", *PLAUSIBLE) if given["mpp"] else None,
        microns_per_pixel=_number(given, "microns_per_pixel", *PLAUSIBLE) if given["microns_per_pixel"] else None,
        tile=int(_number(given, "tile", 64, 2048, whole=True)),
        stroke_width=_number(given, "stroke_width", 0.1, 1000),
        unannotated=given["unannotated"].strip(),
        mask=given["mask"],
        tiles_per_slide=int(_number(given, "tiles_per_slide", 0, 2000, whole=True)),
        patient_pattern=pattern,
    )


def _number(given: dict[str, Any], name: str, least: float, most: float, *, whole: bool = False) -> float:
    try:
        value = float(given[name])
    except ValueError:
        value = math.nan
    if not least <= value <= most or (whole and value != round(value)):
        kind = "whole number" if whole else "number"
        raise UserError(f"--{name} {given[name]}: give a {kind} from {least:g} to {most:g}")
    return value
