"""The regions that a user has drawn on slides: which file belongs to which picture, and the frames in it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import shapely

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error, read_bytes, visible_files
from crcfp_jax.slides.inputs import Input
from crcfp_jax.slides.writing.frame_areas import Frame
from data_pipelines.annotations.files import ANNOTATION_SUFFIXES, read_annotations
from data_pipelines.annotations.model import AREAS
from data_pipelines.annotations.table import is_frame

SHOWN = 3  # names in a note


def match_regions(pictures: Sequence[Input], regions: Path) -> tuple[list[Input], list[str]]:
    """Gives each picture the file that is named after it, with its suffix or without.

    Args:
        pictures: of the command line.
        regions: a file, which is the only picture's whatever its name, or a folder of files; below it, folders like
            those of the pictures.

    Returns:
        The pictures with their files, and notes of files and pictures that have no other.

    Raises:
        UserError: `regions` isn't there, nothing in it is named after a picture, or a name doesn't tell which.
    """
    if regions.is_dir():
        files = [(name, path) for path in visible_files(regions) if (name := _base(path.relative_to(regions)))]
        if not files:
            raise UserError(f"--regions {regions}: no annotations in this folder ({', '.join(ANNOTATION_SUFFIXES)})")
    elif not regions.exists():
        raise UserError(f"--regions {regions}: no such file or folder")
    elif len(pictures) == 1:
        return [replace(pictures[0], regions=regions)], []
    else:
        files = [(_base(Path(regions.name)) or regions.name, regions)]
    found: dict[Input, Path] = {}
    strange = []
    for name, path in files:
        owners = _owners(name, pictures)
        if len(owners) > 1:
            both = " and ".join(owner.name for owner in owners[:2])
            raise UserError(f"--regions: {path} may be of {both}: name it after one, such as {owners[0].name}.geojson")
        if not owners:
            strange.append(path)
        elif (other := found.setdefault(owners[0], path)) != path:
            raise UserError(f"--regions: {other} and {path} are both named after {owners[0].name}: remove one")
    if not found:
        example = f"{_without_suffix(pictures[0])}.geojson"
        raise UserError(f"--regions {strange[0]}: no input has this name; call it as its slide, such as {example}")
    alone = [picture.name for picture in pictures if picture not in found]
    notes = [f"{_some(list(map(str, strange)))}: no input has this name"] if strange else []
    notes += [f"{_some(alone)}: no regions, as no file in {regions} has this name"] if alone else []
    return [replace(picture, regions=found.get(picture)) for picture in pictures], notes


def fingerprint(path: Path | None) -> str | None:
    """What tells a file of regions from another: its name and a digest; None where there is none.

    Raises:
        UserError: it can't be read.
    """
    if path is None:
        return None
    try:
        return f"{path.name} (SHA-256 {hashlib.sha256(read_bytes(path)).hexdigest()[:16]})"
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error


def read_frames(path: Path, size: tuple[int, int]) -> tuple[list[Frame], list[str]]:
    """The frames of a file (`Region*` in QuPath), or every area in it where there are none.

    Args:
        path: of the annotations.
        size: height, width of the slide in pixels.

    Returns:
        The frames in the order of the file, and notes of what is otherwise than it was drawn.

    Raises:
        UserError: the file can't be read, holds no area, or one that lies outside the slide.
    """
    read = read_annotations(path)
    notes = [f"{path.name}: {note}" for note in read.notes]
    areas = [annotation for annotation in read.annotations if annotation.geometry.geom_type in AREAS]
    drawn = [annotation for annotation in areas if is_frame(annotation.name)]
    if not areas:
        raise UserError(f"{path} holds no area: draw the regions as areas of QuPath's class Region*")
    if not drawn:
        notes.append(f"{path.name} has no Region*: each of its {len(areas)} areas is a region")
        if others := len(read.annotations) - len(areas):
            notes.append(f"{path.name}: left out, as no areas: {others}")
    height, width = size
    slide = shapely.box(0, 0, width, height)
    frames, beyond = [], []
    for annotation in drawn or areas:
        name = annotation.label or ("" if drawn else annotation.name or "")
        told = annotation.place + (f" ({name})" if name else "")
        inside = shapely.intersection(annotation.geometry, slide).area
        if inside == 0:
            size = f"{width} x {height} pixels"
            raise UserError(f"{path}: {told} lies outside the slide of {size}: give this slide's regions")
        if not slide.covers(annotation.geometry):
            beyond.append(f"{told} with {100 * inside / annotation.geometry.area:.3g} % inside")
        frames.append(Frame(name, annotation.geometry))
    if beyond:
        notes.append(f"{path.name}: what lies on the slide is counted of {_some(beyond)}")
    return frames, notes


def _base(path: Path) -> str | None:
    """The path of an annotation file without its ending; None for other files and hidden ones."""
    name = path.as_posix()
    if path.name.startswith("."):
        return None
    return next((name[: -len(end)] for end in ANNOTATION_SUFFIXES if name.lower().endswith(end)), None)


def _owners(name: str, pictures: Sequence[Input]) -> list[Input]:
    """The pictures of a name: of the same path, or else of the same name in any folder."""
    last = Path(name).name
    for wanted, key in (
        (name, lambda picture: picture.name),
        (name, _without_suffix),
        (last, lambda picture: picture.path.name),
        (last, lambda picture: picture.path.stem),
    ):
        if owners := [picture for picture in pictures if key(picture) == wanted]:
            return owners
    return []


def _without_suffix(picture: Input) -> str:
    return picture.name.removesuffix(picture.path.suffix)


def _some(names: Sequence[str]) -> str:
    """The first names of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
