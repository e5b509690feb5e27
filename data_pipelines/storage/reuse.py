"""What an earlier build of a growing data set has stored, source by source, so that it need not be read again."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.data_set import INDEX, Record, rows_of
from data_pipelines.recipes import FoundSources

SOURCES = "sources"  # entry of an index: key -> what `source_entry` gives


@dataclass(frozen=True)
class StoredSource:
    """A source as an earlier build stored it. `notes`: note -> source images."""

    file: Path  # array_record of its tiles alone
    records: tuple[Record, ...]
    pixels: np.ndarray  # int64 [tiles, classes]
    notes: dict[str, list[str]]
    digest: bytes


def source_entry(file: str, first: int, pixels: list[list[int]], notes: dict[str, list[str]], digest: bytes) -> dict:
    """What an index keeps of a source whose tiles are `first` and the following of its split."""
    return {"file": file, "first": first, "pixels": pixels, "notes": notes, "digest": digest.hex()}


def stored_sources(path: Path) -> dict[str, StoredSource]:
    """The sources of a built data set by their keys; none where there is no data set, or a damaged one."""
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        rows = [Record(**row) for row in rows_of(index)]
        by_split: dict[str, list[Record]] = {}
        for record in rows:
            by_split.setdefault(record.split, []).append(record)
        found = {}
        for key, entry in index.get(SOURCES, {}).items():
            stored = _parse(path, entry, by_split[entry["split"]], index["files"])
            if stored is not None:
                found[key] = stored
        return found
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _parse(path: Path, entry: dict[str, Any], records: list[Record], files: dict[str, int]) -> StoredSource | None:
    file = path / entry["file"]
    if not file.is_file() or file.stat().st_size != files[entry["file"]]:
        return None
    own = tuple(records[entry["first"] : entry["first"] + len(entry["pixels"])])
    pixels = np.array(entry["pixels"], np.int64).reshape(len(own), -1) if own else np.zeros((0, 0), np.int64)
    return StoredSource(file, own, pixels, entry["notes"], bytes.fromhex(entry["digest"]))


def is_unchanged(path: Path, found: FoundSources, options: dict[str, Any]) -> bool:
    """Whether a data set holds just what was found, so that nothing is to be built."""
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        told = {name: image | {"mm2": {}, "tiles": {}} for name, image in index["images"].items()}
        expected = {name: dataclasses.asdict(image) for name, image in found.images.items()}
        classes = [[entry["name"], entry["colour"]] for entry in index["classes"]]
        return (
            sorted(source.key for source in found.sources) == sorted(index[SOURCES])
            and told == json.loads(json.dumps(expected))
            and classes == [[info.name, list(info.colour)] for info in found.recipe.classes]
            and index["options"] == options
            and index["network_microns_per_pixel"] == found.network_microns_per_pixel
            and index["skipped"] == list(found.faults)
            and all((path / file).stat().st_size == size for file, size in index["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
