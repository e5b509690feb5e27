"""A file that is whole, and how it is read."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Seed:
    """A file that is whole, and how it is read.

    Attributes:
        name: of the file, relative to its folder.
        write: writes it, and what belongs to it, into an empty folder.
        read: reads it all, from that folder, as bytes that stand for what was read.
        form: of the mutations that know it.
        checked: whether it holds check sums of all that is read: then no damage may pass.
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], bytes]
    form: str = ""
    checked: bool = False


def digest_of(parts: Iterable[Any]) -> bytes:
    """A digest of arrays and of what else was read."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            digest.update(repr(part).encode())
    return digest.digest()


@dataclass(frozen=True)
class OneFile:
    """A seed that is a file of its own."""

    content: Callable[[], bytes]
    read: Callable[[Path], bytes]
    form: str = ""
    checked: bool = False


def file_seeds(files: Mapping[str, OneFile]) -> list[Seed]:
    """The seeds of files by their names."""

    def seed(name: str, file: OneFile) -> Seed:
        return Seed(
            name,
            lambda folder: (folder / name).write_bytes(file.content()),
            lambda folder: file.read(folder / name),
            file.form,
            file.checked,
        )

    return [seed(name, file) for name, file in files.items()]
