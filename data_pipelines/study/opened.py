"""What is known of the images of a study once they are opened: sizes, pixel sizes, and which can't be used."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.pixel_size import differ
from data_pipelines.reading.open import open_slide
from data_pipelines.study.files import PATIENT_TABLE, StudyImage
from data_pipelines.study.patients import Belonging

AT_ONCE = 8  # files opened
APART = 6.0  # times: pixel sizes farther from the others are wrong; 40x and 10x are 4 apart

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Opened:
    """An image that can be used. `size`: height, width in pixels."""

    image: StudyImage
    size: tuple[int, int]
    microns: float  # of a pixel
    belonging: Belonging
    identity: tuple[int, int]  # of its file


def open_images(
    images: Sequence[StudyImage], belongings: Mapping[str, Belonging], mpp: float | None
) -> tuple[list[Opened], list[str], list[str]]:
    """Opens every image.

    Args:
        images: of the study.
        belongings: by their names; a pixel size there overrules the file's.
        mpp: µm per pixel of images that don't say.

    Returns:
        Those that can be used, faults and notes, one line each.
    """
    opened, faults, notes = [], [], []
    for image, (found, fault) in zip(images, at_once(_open, images), strict=True):
        if fault:
            faults.append(fault)
            continue
        size, stated, identity = found
        own = belongings[image.name]
        microns = own.microns_per_pixel or stated or mpp
        if microns is None:
            faults.append(
                f"{image.path} doesn't say its pixel size: give --mpp, µm per pixel, for all that don't, or a column"
                f" microns_per_pixel in {PATIENT_TABLE}"
            )
            continue
        if stated and own.microns_per_pixel and differ(stated, microns):
            notes.append(f"{image.path}: {microns:.4g} µm per pixel by {PATIENT_TABLE}, its file says {stated:.4g}")
        elif stated and mpp and differ(stated, mpp):
            notes.append(f"{image.path}: {stated:.4g} µm per pixel as its file says, not --mpp {mpp:g}")
        opened.append(Opened(image, size, microns, own, identity))
    usual = median(each.microns for each in opened) if opened else 1.0
    kept = [each for each in opened if 1 / APART <= each.microns / usual <= APART]
    faults += [_far_apart(each, kept) for each in opened if each not in kept]
    return kept, faults, notes


def _open(image: StudyImage) -> tuple[tuple[int, int], float | None, tuple[int, int]]:
    before = file_identity(image.path)
    with open_slide(image.path) as slide:
        return slide.size, slide.microns_per_pixel, before


def _far_apart(odd: Opened, others: Sequence[Opened]) -> str:
    factor = max(odd.microns, others[0].microns) / min(odd.microns, others[0].microns)
    return (
        f"{odd.image.path} has {odd.microns:.4g} µm per pixel and {others[0].image.path} {others[0].microns:.4g}, a "
        f"factor of {factor:.0f}: correct the wrong one by a column microns_per_pixel in {PATIENT_TABLE}"
    )


def at_once(act: Callable[[Item], Result], items: Sequence[Item]) -> list[tuple[Result | None, str]]:
    """What `act` returns for each item, or its UserError's line; several at a time, in order."""

    def attempt(item: Item) -> tuple[Result | None, str]:
        try:
            return act(item), ""
        except UserError as error:
            return None, str(error)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(attempt, items))


def file_identity(path: Path) -> tuple[int, int]:
    """Changes with a file's content: its size and the time of its last change, ns."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def check_unchanged(identities: Mapping[Path, tuple[int, int]]) -> None:
    """Raises UserError where a file is not as it was when it was looked at."""
    for path, identity in identities.items():
        try:
            same = file_identity(path) == identity
        except OSError:
            same = False
        if not same:
            raise UserError(f"{path} changed while it was read: run the build again")
