"""The pictures that a command line names: files, patterns and folders."""

import functools
import glob
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import visible_files
from crcfp_jax.slides.result import is_result
from data_pipelines.reading.open import OTHER_SUFFIXES, is_slide_file

SUMMARY, SUMMARY_BY_REGION = "summary.csv", "summary_by_region.csv"  # in the output folder, beside the results
UNREAD = ", which is not read"
DICOM = "of a DICOM slide, give one .dcm file by its name"


@dataclass(frozen=True)
class Input:
    """A picture, the name of its folder of results, a relative path, and what was drawn on it."""

    path: Path
    name: str
    regions: Path | None = None  # the file whose regions are counted on their own


@dataclass(frozen=True)
class Inputs:
    """The pictures of a command line, and notes on what was left out of its folders."""

    pictures: list[Input]
    notes: list[str]


def find_inputs(words: Sequence[str], output: Path) -> Inputs:
    """Every picture that the words of a command line name, in their order, each once.

    A word is a file, a pattern (`'slides/*.svs'`, for shells that don't expand it) or a folder, of which every picture
    is taken, those in folders below it too, but for hidden ones and those of earlier results. Results are named after
    the file, with its suffix; for a folder, with the path below it. What lies in `output` is no input.

    Raises:
        UserError: a word that names nothing or lies in `output`, or two pictures whose results would have the same
            name.
    """
    found: dict[Path, Input] = {}
    names: dict[str, Path] = {}
    notes: list[str] = []
    for path, name in (pair for word in words for pair in _expand(word, output, notes)):
        resolved = path.resolve()
        if resolved in found:
            continue
        if name in names:
            both = f"{path} and {names[name]}"
            raise UserError(f"{both} have the same name: give the folder that both lie in, or each another --output")
        if name in (SUMMARY, SUMMARY_BY_REGION):
            raise UserError(f"{path}: {name} is the name of a table beside the results: call the picture otherwise")
        names[name] = path
        found[resolved] = Input(path, name)
    for name, path in names.items():
        if above := next((names[str(part)] for part in Path(name).parents if str(part) in names), None):
            raise UserError(f"the results of {path} would lie in those of {above}: give each another --output")
    return Inputs(list(found.values()), notes)


def _expand(word: str, output: Path, notes: list[str]) -> list[tuple[Path, str]]:
    path, told = Path(word), len(notes)
    if path.exists():
        if _lies_in(path, output):
            raise UserError(f"{path} lies in --output {output}: results are no inputs, give what lies elsewhere")
        if not path.is_dir():
            return [(path, path.name)]
        if inside := _pictures(path, output, notes):
            return inside
        lacking = "; ".join([f"{path}: no picture in this folder or below it", *notes[told:]])
        raise UserError(f"{lacking}; give files, a pattern or another folder")
    matches = [match for match in map(Path, sorted(glob.glob(word, recursive=True))) if not _lies_in(match, output)]
    pairs = [_pictures(match, output, notes) if match.is_dir() else [(match, match.name)] for match in matches]
    if not any(pairs):
        none = "no such file or folder, and no file fits it as a pattern"
        lacking = "no picture in the folders that fit this pattern" if matches else none
        raise UserError("; ".join([f"{word}: {lacking}", *notes[told:]]))
    return list(chain.from_iterable(pairs))


def _pictures(folder: Path, output: Path, notes: list[str]) -> list[tuple[Path, str]]:
    """The pictures in a folder and below it, with their paths below it; a note on what else looks like one."""
    found, left_out = [], defaultdict(list)
    results = functools.cache(is_result)
    for file in visible_files(folder):
        if file.name.startswith(".") or _lies_in(file, output):
            continue
        if (suffix := file.suffix.lower()) in OTHER_SUFFIXES:
            left_out[suffix + UNREAD].append(file)
        elif not is_slide_file(file):
            continue
        elif not file.exists():
            left_out["a link that leads nowhere"].append(file)
        elif not file.is_file():
            left_out["no regular file"].append(file)
        elif results(file.parent):
            left_out["of earlier results"].append(file)
        else:
            found.append((file, str(file.relative_to(folder))))
    if left_out:
        told = [
            f"{files[0].relative_to(folder)}{f' and {len(files) - 1} more' if len(files) > 1 else ''} ({reason})"
            for reason, files in left_out.items()
        ]
        notes.append(f"{folder}: left out {', '.join(told)}" + (f"; {DICOM}" if f".dcm{UNREAD}" in left_out else ""))
    return found


def _lies_in(path: Path, output: Path) -> bool:
    return path.resolve().is_relative_to(output.resolve())
