"""The card of a model folder: what the model knows and sees, and the check sums of its files."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import check_regular, describe_os_error, read_json
from crcfp_jax.common.json_form import check_form

FORMAT = 1  # of a model folder
CARD = "card.json"
README = "README.md"  # not under the card's check sums: its text may be edited
PARAMETERS = "params"
ARTIFACT = "model.jaxexport"
ONNX = "model.onnx"
FORM_OF_CARD = {
    "name": str,
    "method": str,
    "classes": [{"name": str, "colour": (int, int, int)}],
    "microns_per_pixel": float,
    "data": {"microns_per_pixel": float},
    "window": int,
    "overlap": float,
    "stride": int,
    "output_stride?": int,
    "uncertainty": bool,
    "embedding?": bool,
    "versions": {"jax": str},
    "files": {str: {"sha256": str, "bytes": int}},
}
KNOWN = "known.npz"  # embeddings of what the model was trained on


@dataclass(frozen=True)
class StoredFile:
    """A file of a model folder, as it was written."""

    sha256: str
    size: int  # bytes


@dataclass(frozen=True)
class Card:
    """What inference needs to know of a model."""

    name: str
    method: str
    classes: tuple[ClassInfo, ...]
    microns_per_pixel: float  # of a network pixel
    data_microns_per_pixel: float  # of the coarsest images trained on, before they were scaled
    window: int  # pixels; side of a training crop
    overlap: float  # least share of a window's side that neighbours have in common
    stride: int  # pixels between neighbouring features
    step: int  # pixels that an image's sides should be multiples of: else the result lies beside it
    uncertainty: bool  # whether auxiliary classifiers give one
    embedding: bool  # whether the artifact gives one; those of older versions don't
    jax_version: str  # that the artifact was written with
    digest: str  # of the card and, through its check sums, of the model
    files: Mapping[str, StoredFile]  # by path, relative to the folder


def read_card(folder: Path) -> Card:
    """Reads `card.json`, without looking at the other files.

    Raises:
        UserError: no model folder, one of a newer version, its card was altered, or names what isn't in the folder.
    """
    path = folder / CARD
    if not path.is_file():
        raise UserError(f"{folder} is not a model folder (no {CARD}): give the --output of python -m crcfp_jax.export")
    content = read_json(path)
    damaged = UserError(f"{path} was altered after the export: copy the model folder again, or export it again")
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise damaged
    if content["format"] > FORMAT:
        raise UserError(
            f"{folder} has format {content['format']}, and this version of crcfp-jax reads formats up to {FORMAT}: "
            "update crcfp-jax"
        )
    if content.get("card_sha256") != card_digest(content):
        raise damaged
    check_form(path, content, FORM_OF_CARD, remedy="export the model again")
    # By the names alone: a folder of links, as Hugging Face's cache is, holds files whose digests are checked.
    if outside := [name for name in content["files"] if (path := PurePath(name)).is_absolute() or ".." in path.parts]:
        raise UserError(f"{path} names files outside of its folder ({outside[0]}): export the model again")
    return Card(
        name=content["name"],
        method=content["method"],
        classes=tuple(ClassInfo(entry["name"], tuple(entry["colour"])) for entry in content["classes"]),
        microns_per_pixel=content["microns_per_pixel"],
        data_microns_per_pixel=content["data"]["microns_per_pixel"],
        window=content["window"],
        overlap=content["overlap"],
        stride=content["stride"],
        step=side_step(content),
        uncertainty=content["uncertainty"],
        embedding=content.get("embedding", False),
        jax_version=content["versions"]["jax"],
        digest=content["card_sha256"],
        files={name: StoredFile(entry["sha256"], entry["bytes"]) for name, entry in content["files"].items()},
    )


def side_step(content: Mapping[str, Any]) -> int:
    """Pixels that the sides of an image should be multiples of, for the cells of every map to lie on its pixels."""
    return math.lcm(content["stride"], content.get("output_stride", 1))


def card_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a card's JSON values, its entry `card_sha256` left out."""
    values = {key: value for key, value in content.items() if key != "card_sha256"}
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def describe_files(folder: Path) -> dict[str, dict[str, str | int]]:
    """Check sum and size of every file of a model folder but its card and its text, for the card."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {
        name: {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
        if name not in (CARD, README)
    }


def check_files(folder: Path, card: Card) -> None:
    """Raises UserError for the first file of the card that is missing or is not as it was written."""
    again = "copy the model folder again, or export it again"
    for name, stored in card.files.items():
        path = folder / name
        try:
            check_regular(path)
            size = path.stat().st_size
            if size != stored.size:
                raise UserError(f"{path} has {size} bytes instead of {stored.size}: {again}")
            if _sha256(path) != stored.sha256:
                raise UserError(f"{path} was altered after the export (its SHA-256 differs): {again}")
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: {again}") from error
        except OSError as error:
            raise UserError(f"cannot read {describe_os_error(error, path)}") from error


def _sha256(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
