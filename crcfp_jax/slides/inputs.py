"""The pictures that a command line names: files, patterns and folders."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import visible_files
from data_pipelines.reading.open import is_slide_file


@dataclass(frozen=True)
class Input:
    """A picture, the name of its folder of results, a relative path, and what was drawn on it."""

    path: Path
    name: str
    regions: Path | None = None  # the file whose regions are counted on their own


def find_inputs(words: Sequence[str], output: Path) -> list[Input]:
    """Every picture that the words of a command line name, in their order, each once.

    A word is a file, a pattern (`'slides/*.svs'`, for shells that don't expand it) or a folder, of which every picture
    is taken, those in folders below it too, but for hidden ones. Results are named after the file, with its suffix; for
    a folder, with the path below it. What lies in `output` is no input.

    Raises:
        UserError: a word that names nothing or lies in `output`, or two pictures whose results would have the same
            name.
    """
    found: dict[Path, Input] = {}
    names: dict[str, Path] = {}
    for path, name in (pair for word in words for pair in _expand(word, output)):
        resolved = path.resolve()
        if resolved in found:
            continue
        if name in names:
            raise UserError(f"{path} and {names[name]} have the same name: give each another --output")
        names[name] = path
        found[resolved] = Input(path, name)
    return list(found.values())


def _expand(word: str, output: Path) -> list[tuple[Path, str]]:
    path = Path(word)
    if path.exists():
        if _lies_in(path, output):
            raise UserError(f"{path} lies in --output {output}: results are no inputs, give what lies elsewhere")
        if not path.is_dir():
            return [(path, path.name)]
        if inside := _pictures(path, output):
            return inside
        raise UserError(f"{path}: no picture in this folder or below it; give files, a pattern or another folder")
    matches = [match for match in map(Path, sorted(glob.glob(word, recursive=True))) if not _lies_in(match, output)]
    pairs = [_pictures(match, output) if match.is_dir() else [(match, match.name)] for match in matches]
    if not any(pairs):
        raise UserError(f"{word}: no such file or folder, and no file fits it as a pattern")
    return list(chain.from_iterable(pairs))


def _pictures(folder: Path, output: Path) -> list[tuple[Path, str]]:
    """The pictures in a folder and below it, with their paths below it."""
    return [
        (file, str(file.relative_to(folder)))
        for file in visible_files(folder)
        if is_slide_file(file) and file.is_file() and not _lies_in(file, output)
    ]


def _lies_in(path: Path, output: Path) -> bool:
    return path.resolve().is_relative_to(output.resolve())
