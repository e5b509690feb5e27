"""The pictures that a command line names: files, patterns and folders."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crcfp_jax.inference.slide import is_slide_file
from data_pipelines.errors import UserError


@dataclass(frozen=True)
class Input:
    """A picture and the name of its folder of results, a relative path."""

    path: Path
    name: str


def find_inputs(words: Sequence[str], output: Path) -> list[Input]:
    """Every picture that the words of a command line name, in their order, each once.

    A word is a file, a pattern (`'slides/*.svs'`, for shells that don't expand it) or a folder, of which every picture
    is taken, those in folders below it too. Results are named after the file, with its suffix; for a folder, with the
    path below it. What lies in `output` is no input.

    Raises:
        UserError: a word that names nothing, or two pictures whose results would have the same name.
    """
    found: dict[Path, Input] = {}
    names: dict[str, Path] = {}
    for path, name in (pair for word in words for pair in _expand(word, output.resolve())):
        resolved = path.resolve()
        if resolved in found:
            continue
        if name in names:
            raise UserError(f"{path} and {names[name]} have the same name: give each another --output")
        names[name] = path
        found[resolved] = Input(path, name)
    return list(found.values())


def _expand(word: str, output: Path) -> Iterator[tuple[Path, str]]:
    path = Path(word)
    if path.is_dir():
        inside = [
            file
            for file in sorted(path.rglob("*"))
            if is_slide_file(file) and file.is_file() and output not in file.resolve().parents
        ]
        if not inside:
            raise UserError(f"{path}: no picture in this folder or below it; give files, a pattern or another folder")
        yield from ((file, str(file.relative_to(path))) for file in inside)
        return
    if path.exists():
        yield path, path.name
        return
    matches = sorted(Path(match) for match in glob.glob(word, recursive=True))
    if not matches:
        raise UserError(f"{word}: no such file or folder, and no file fits it as a pattern")
    for match in matches:
        yield from _expand(str(match), output) if match.is_dir() else [(match, match.name)]
