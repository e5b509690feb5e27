"""Which files a study holds, and which annotation belongs to which image."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from crcfp_jax.common.files import visible_files
from data_pipelines.annotations.files import ANNOTATION_SUFFIXES
from data_pipelines.reading.open import is_slide_file

ROLES = {"annotated": "train", "test": "test", "unannotated": "train"}  # folder of a study -> stored split
PATIENT_TABLE, CLASS_TABLE = "patients.csv", "classes.toml"
KNOWN = (*ROLES, PATIENT_TABLE, CLASS_TABLE)  # what a study's folder holds
MASK = "_mask"  # at the end of a mask image's name


@dataclass(frozen=True)
class StudyImage:
    """An image of a study. `name`: its path in the folder of its role, without its ending."""

    name: str
    path: Path
    role: str
    annotation: Path | None = None
    is_mask: bool = False  # what `annotation` is: an image of class codes, or else a file of what was drawn


@dataclass(frozen=True)
class StudyFiles:
    """`faults`, `notes`: one line each."""

    images: tuple[StudyImage, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def find_files(raw_dir: Path) -> StudyFiles:
    """Pairs the images of a study with their annotations, by name.

    `annotated/` (and `test/`, if there is one) hold an image with one annotation each: NAME.svs with NAME.geojson,
    NAME.xml or NAME_mask.png; `unannotated/` holds images only. Folders below them are looked into.
    """
    images: list[StudyImage] = []
    faults: list[str] = []
    others: list[Path] = []
    for role in ROLES:
        own, wrong, rest = _find_role(raw_dir / role, role)
        images += own
        faults += wrong
        others += rest
    images, doubled = _names_once(images)
    notes = []
    if others:
        notes.append(f"{len(others)} files of other kinds are left out, first {others[0]}")
    beside, misspelt = _beside(raw_dir)
    faults += misspelt
    if beside:
        notes.append(f"left out, since a study's folder holds {', '.join(KNOWN)}: {', '.join(beside)}")
    return StudyFiles(tuple(images), (*faults, *doubled), tuple(notes))


def _beside(raw_dir: Path) -> tuple[list[str], list[str]]:
    """What else a study's folder holds, by name; and faults: what is called almost as something known."""
    others, faults = [], []
    for path in sorted(raw_dir.iterdir()):
        meant = next((name for name in KNOWN if name == path.name.casefold()), None)
        if meant is not None and not (raw_dir / meant).exists():  # where case counts; elsewhere it is that already
            faults.append(f"{path} is left out: rename it {meant}")
        elif meant is None and not path.name.startswith("."):
            others.append(path.name)
    return others, faults


def _find_role(folder: Path, role: str) -> tuple[list[StudyImage], list[str], list[Path]]:
    """Images, faults, and files of no use."""
    pictures: dict[str, list[Path]] = {}  # by path without ending
    annotations: dict[str, list[Path]] = {}  # by path of the image, with or without its ending
    others = []
    for path in visible_files(folder):
        place = path.relative_to(folder).as_posix()
        base = next((place[: -len(end)] for end in ANNOTATION_SUFFIXES if place.lower().endswith(end)), None)
        if base is not None:
            annotations.setdefault(base, []).append(path)
        elif is_slide_file(path) and path.stem.endswith(MASK):
            annotations.setdefault(os.path.splitext(place)[0].removesuffix(MASK), []).append(path)
        elif is_slide_file(path):
            pictures.setdefault(os.path.splitext(place)[0], []).append(path)
        elif not _is_part_of_mirax(path, folder):
            others.append(path)
    images, faults, used = [], [], set()
    for name, paths in sorted(pictures.items()):
        if len(paths) > 1:
            faults.append(f"{' and '.join(map(str, paths))} have one name: rename one")
            continue
        keys = [key for key in (name, f"{name}{paths[0].suffix}") if key in annotations]
        used.update(keys)
        own = [path for key in keys for path in annotations[key]]
        if role == "unannotated":
            if own:
                faults.append(f"{own[0]} is an annotation in unannotated/: move it and its image to annotated/")
            else:
                images.append(StudyImage(name, paths[0], role))
        elif not own:
            faults.append(f"{paths[0]} has no annotation beside it: add {name}.geojson, or move it to unannotated/")
        elif len(own) > 1:
            faults.append(f"{paths[0]} has {len(own)} annotations, {' and '.join(map(str, own))}: keep one of them")
        else:
            images.append(StudyImage(name, paths[0], role, own[0], is_slide_file(own[0])))
    for key in sorted(annotations.keys() - used - pictures.keys()):
        faults.append(f"{annotations[key][0]} has no image: put {Path(key).name}.svs (or .png, .tif ...) beside it")
    return images, faults, others


def _is_part_of_mirax(path: Path, folder: Path) -> bool:
    """Whether a file lies in the folder of data of a MIRAX slide."""
    between = path.relative_to(folder).parents[:-1]
    return any((folder / place.parent / f"{place.name}.mrxs").is_file() for place in between)


def _names_once(images: Iterable[StudyImage]) -> tuple[list[StudyImage], list[str]]:
    """The images without those whose name another role had before, as tiles are called after it; faults of these."""
    seen: dict[str, StudyImage] = {}
    faults = []
    for image in images:
        if (first := seen.setdefault(image.name, image)) is not image:
            faults.append(f"{first.path} and {image.path} have one name: remove or rename one")
    return list(seen.values()), faults
