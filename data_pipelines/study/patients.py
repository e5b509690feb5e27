"""Whose an image is: by `patients.csv`, by a pattern in its name, or its own."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error, read_text
from crcfp_jax.common.pixel_size import PLAUSIBLE
from data_pipelines.annotations.table import same_name
from data_pipelines.study.files import PATIENT_TABLE, StudyImage
from data_pipelines.tcga import TCGA_NAME

COLUMNS = ("image", "patient", "hospital", "microns_per_pixel")
UNKNOWN = "unknown"  # hospital


@dataclass(frozen=True)
class Belonging:
    """What is known of an image beside its file."""

    patient: str
    hospital: str
    microns_per_pixel: float | None = None  # where the table overrules the file


@dataclass(frozen=True)
class Belongings:
    """Of all images by their names; `faults` and `notes` one line each; `source`: in words, where patients are from."""

    of: dict[str, Belonging]
    source: str
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_belongings(raw_dir: Path, images: Sequence[StudyImage], pattern: re.Pattern | None) -> Belongings:
    """Whose every image is.

    Raises:
        UserError: a table that can't be read or lacks a column, or a pattern that fits no image.
    """
    table = raw_dir / PATIENT_TABLE
    if table.is_file():
        if pattern is not None:
            raise UserError(f"--patient_pattern and {table} both tell the patients: leave one out")
        return _from_table(table, images)
    if pattern is not None:
        return _from_pattern(images, pattern, "--patient_pattern")
    if any(TCGA_NAME.fullmatch(Path(image.name).name) for image in images):
        return _from_pattern(images, TCGA_NAME, "the names that TCGA gives")
    return Belongings({image.name: _own(image) for image in images}, "each image is its own patient")


def _own(image: StudyImage) -> Belonging:
    return Belonging(image.name, UNKNOWN)


def _from_pattern(images: Sequence[StudyImage], pattern: re.Pattern, source: str) -> Belongings:
    of, own = {}, []
    for image in images:
        match = pattern.search(Path(image.name).name)
        if match is None:
            own.append(image.name)
            of[image.name] = _own(image)
            continue
        named = match.groupdict()
        hospital = named.get("hospital") or (match[2] if pattern is TCGA_NAME else None)
        of[image.name] = Belonging(named.get("patient") or match[1] or image.name, hospital or UNKNOWN)
    if images and len(own) == len(images):
        raise UserError(f"{source} fits no image, such as {images[0].name}: correct it")
    return Belongings(of, source, notes=_note_own(own, source))


def _note_own(own: Sequence[str], source: str) -> tuple[str, ...]:
    return (f"{len(own)} images are their own patients, not told by {source}, first {own[0]}",) if own else ()


def _from_table(table: Path, images: Sequence[StudyImage]) -> Belongings:
    known: dict[str, StudyImage] = {}
    for image in images:
        known |= {image.name: image, f"{image.name}{image.path.suffix}": image}
    of: dict[str, Belonging] = {}
    faults, own = [], []
    spellings: dict[str, str] = {}
    rows, notes = _rows(table)
    for number, row in rows:
        image = known.get(row["image"])
        if image is None:
            faults.append(f"{table}, line {number}: {row['image']!r} is no image of the study: correct the line")
        elif image.name in of:
            faults.append(f"{table}, line {number}: {row['image']!r} comes a second time: remove one line")
        else:
            microns = _microns(table, number, row.get("microns_per_pixel", ""))
            patient, hospital = row["patient"] or image.name, row.get("hospital", "") or UNKNOWN
            if (before := spellings.setdefault(same_name(patient), patient)) != patient:
                faults.append(f"{table}, line {number}: {before!r} and {patient!r} are one patient: spell it alike")
            if not row["patient"]:
                own.append(image.name)
            of[image.name] = Belonging(before, hospital, microns)
    own += [image.name for image in images if image.name not in of]
    of |= {image.name: _own(image) for image in images if image.name not in of}
    return Belongings(of, PATIENT_TABLE, tuple(faults), (*notes, *_note_own(own, PATIENT_TABLE)))


def _rows(table: Path) -> tuple[list[tuple[int, dict[str, str]]], tuple[str, ...]]:
    """Line numbers and cells, and notes; commas, semicolons or tabs between them, as spreadsheets write."""
    try:
        text = read_text(table)
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, table)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{table} is not in UTF-8: save it as 'CSV UTF-8'") from error
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        lines = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), delimiter=delimiter)]
    except csv.Error as error:
        raise UserError(f"{table} is no table ({error}): save it as CSV") from error
    columns = [name.lower() for name in lines[0]] if lines else []
    for needed in COLUMNS[:2]:
        if needed not in columns:
            raise UserError(f"{table} has no column {needed!r}: its first line should be {','.join(COLUMNS)}")
    unused = [name for name in columns if name and name not in COLUMNS]
    notes = (f"{table}: columns not used: {', '.join(unused)}",) if unused else ()
    rows = []
    for number, cells in enumerate(lines[1:], 2):
        if any(cells):
            if len(cells) > len(columns):
                raise UserError(f"{table}, line {number} has {len(cells)} cells for {len(columns)} columns: correct it")
            rows.append((number, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))))
    return rows, notes


def _microns(table: Path, number: int, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = 0.0
    if not PLAUSIBLE[0] <= value <= PLAUSIBLE[1]:
        low, high = PLAUSIBLE
        raise UserError(f"{table}, line {number}: microns_per_pixel {text!r}: give a number from {low} to {high:g}")
    return value
