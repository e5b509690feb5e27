"""A built data set: its tile records, and random access to images and labels.

A data set is a folder `<data_dir>/<name>/<VERSION>` that TFDS wrote as array_record files, plus `index.json`, which
holds one row per tile and everything a reader wants to know without touching pixels. Beside them lie `splits.json`
(what labels are given to: data_pipelines.units) and `about.json` (description and licence), which may be edited:
they are no part of the fingerprint. Nothing of a data set has to stand in the package. The builder puts the finished
folder in place by one rename, `index.json` included, so a folder without it was never finished.
"""

import functools
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import describe_os_error, read_bytes
from crcfp_jax.common.json_form import check_form
from crcfp_jax.common.words import one_line
from data_pipelines.about import ABOUT_FILE, SPLITS_FILE, read_about
from data_pipelines.recipes import all_recipes, builds_itself, find_recipe
from data_pipelines.source_image import SourceImage
from data_pipelines.units import Splits

VERSION = "1.0.0"  # of the stored form; a change makes older builds unreadable, so they have to be built again
INDEX = "index.json"  # written last
OTHER_FILES = 512  # that a process has open beside a data set's: libraries, checkpoints, sockets; twice two splits
SPLITS = ("train", "validation", "test")


# What an index holds, and a tile's row in it; one of an older version lacks some of a row.
FORM = {
    "name": str,
    "classes": [{"name": str, "colour": (int, int, int)}],
    "microns_per_pixel": float,
    "columns": [str],
    "files": {str: int},
    "pixels": {str: [int]},
    "skipped": [str],
}
COLUMNS = {
    "id": str, "split": str, "position": int, "hospital": str, "patient": str, "image": str, "x": int, "y": int,
    "annotated": bool, "microns_per_pixel": float, "height": (int,), "width": (int,),
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One tile. `x`, `y`: pixels, of its top-left corner in its source image (right and down)."""

    id: str
    split: str  # 'train', 'validation' or 'test', as stored; splits.make_split divides further
    position: int  # index inside its stored split: source(split)[position]
    hospital: str
    patient: str
    image: str  # source image or region
    x: int
    y: int
    annotated: bool  # has at least one pixel that is not ignored
    microns_per_pixel: float  # of a stored pixel
    height: int | None = None  # stored pixels; None: built by a version that didn't say, and whose tiles are equal
    width: int | None = None  # likewise
    # Top, left, bottom and right, in stored pixels, of the part whose labels no other tile has; None: all of it.
    core: tuple[int, int, int, int] | None = None


class Tiles(Sequence):
    """Random access to the tiles of one stored split; safe to use from several threads.

    `tiles[i]` is {'image': uint8 [h, w, 3]} and, with labels, 'label': uint8 [h, w], 255 = ignored; without images, the
    label alone. What is left out is never decoded. With `cores`, by index, what lies outside of them is 255. Raises
    UserError for a tile that can't be decoded.
    """

    def __init__(
        self,
        stored: Sequence[dict[str, Any]],
        labels: bool,
        path: Path,
        images: bool = True,
        cores: Mapping[int, tuple[int, int, int, int] | None] | None = None,
    ):
        self._stored = stored
        self._labels, self._images = labels, images
        self._path = path
        self._cores = cores or {}

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        try:
            example = self._stored[index]
        except Exception as error:
            raise UserError(
                f"{self._path}: tile {index} can't be read ({error}); build the data set again with --overwrite"
            ) from error
        tile = {"image": example["image"]} if self._images else {}
        if self._labels:
            tile["label"] = example["label"][..., 0]
            if (core := self._cores.get(index)) is not None:
                tile["label"] = within(core, tile["label"])
        return tile


def within(core: tuple[int, int, int, int], label: np.ndarray) -> np.ndarray:
    """A label [h, w] with 255 outside of a tile's core."""
    top, left, bottom, right = core
    kept = np.full_like(label, IGNORED)
    kept[top:bottom, left:right] = label[top:bottom, left:right]
    return kept


@dataclass(frozen=True, eq=False)
class DataSet:
    """A built data set. `fingerprint` changes with its tiles, pixels, classes, options and stored version.

    `microns_per_pixel` is what a tile's pixel measures where its record says nothing else.
    """

    name: str
    classes: tuple[ClassInfo, ...]
    microns_per_pixel: float
    records: tuple[Record, ...]
    fingerprint: str
    path: Path
    options: dict[str, Any]  # those it was built with, such as class_map
    pixels: dict[str, list[int]]  # annotated pixels per class, per stored split
    skipped: tuple[str, ...]  # what --skip_bad left out, one line each
    notes: tuple[str, ...] = ()  # what of the images was read otherwise than it is stored, one line a kind
    splits: Splits = field(default_factory=Splits)
    description: str = ""
    licence: str = ""  # of images and annotations; '': not stated
    images: dict[str, SourceImage] = field(default_factory=dict)  # by `Record.image`; empty: the recipe tells of none
    network_microns_per_pixel: float = 0.0  # that its build suggests for the network's pixels; 0: it suggests none

    def source(self, split: str, *, labels: bool, images: bool = True, margins: bool = False) -> Tiles:
        """Opens a stored split for random access; see `Tiles`.

        Args:
          split: 'train', 'validation' or 'test'.
          labels: False: masks are neither decoded nor returned.
          images: likewise.
          margins: also labels outside of the tiles' cores, which a pixel then has in several tiles: to learn from, not
            to count.

        Raises:
          UserError: the data set has no such split, or files of it are damaged.
        """
        known = [name for name in SPLITS if any(record.split == name for record in self.records)]
        if split not in known:
            raise UserError(f"data set {self.name} has no split {split!r}; it has {', '.join(known)}")
        import tensorflow_datasets as tfds  # here, because listing records needs none of it

        decoders = {"id": tfds.decode.SkipDecoding()}
        if not labels:
            decoders["label"] = tfds.decode.SkipDecoding()
        if not images:
            decoders["image"] = tfds.decode.SkipDecoding()
        _allow_open_files(sum(1 for _ in self.path.glob("*array_record*")))
        try:
            stored = tfds.builder_from_directory(self.path).as_data_source(split=split, decoders=decoders)
        except (ImportError, MemoryError):
            raise
        except OSError as error:
            raise UserError(f"cannot read {describe_os_error(error, error.filename or self.path)}") from error
        except Exception as error:  # TFDS and array_record raise what they like for damaged files
            raise UserError(
                f"{self.path} can't be opened ({one_line(error)}); build it again with --overwrite"
            ) from error
        cores = {} if margins else {record.position: record.core for record in self.records if record.split == split}
        return Tiles(stored, labels, self.path, images, cores)


def _allow_open_files(count: int) -> None:
    """Raises this process's limit of open files where `count` more, which stay open, would go beyond it.

    A study of small images has a file an image, and 1,024 is a common limit, though a soft one.

    Raises:
      UserError: the hard limit is too low.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_FILES
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UserError(
            f"a data set of {count} files needs more open files than this system allows: `ulimit -Hn` {hard}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def data_set_path(data_dir: str | os.PathLike, name: str) -> Path:
    """Returns the folder of a built data set."""
    return Path(data_dir) / name / VERSION


def build_command(name: str, data_dir: str | os.PathLike, raw_dir: str | os.PathLike = "RAW_DIR") -> str:
    """Returns the exact command that builds a data set which has a recipe."""
    raw = [] if builds_itself(name) else ["--raw_dir", str(raw_dir)]
    return shlex.join(["python", "-m", "data_pipelines.build", name, *raw, "--data_dir", str(data_dir)])


def _build_again(name: str, data_dir: str | os.PathLike) -> str:
    """What to do about a data set that can't be used as it is."""
    if find_recipe(name) is None:
        return "build it again by the recipe that it was made by"
    return f"build it again with: {build_command(name, data_dir)} --overwrite"


def is_built(data_dir: str | os.PathLike, name: str) -> bool:
    """Whether a data set has been built there: its index is written last."""
    return (data_set_path(data_dir, name) / INDEX).exists()


def open_data_set(data_dir: str | os.PathLike, name: str) -> DataSet:
    """Opens a built data set, by what lies in its folder alone.

    One built before `splits.json` and `about.json` were written has its recipe's, by its name.

    Raises:
      UserError: it is not built, or files of it are missing, cut short or damaged; the message holds the build command.
    """
    path = data_set_path(data_dir, name)
    try:
        content = read_bytes(path / INDEX)
    except FileNotFoundError:
        raise UserError(_not_built(name, data_dir)) from None
    again = functools.partial(_build_again, name, data_dir)  # a recipe is loaded where it is needed only
    try:
        index = json.loads(content.decode())
        check_form(path / INDEX, index, FORM, remedy=again())
        # An index written before tiles had pixel sizes of their own lacks these columns.
        shared = {"microns_per_pixel": index["microns_per_pixel"]}
        rows = list(rows_of(index))
        columns = {name: form for name, form in COLUMNS.items() if name in index["columns"]}
        check_form(path / INDEX, rows, [columns], remedy=again())
        records = tuple(Record(**shared | row) for row in rows)
        for file, size in index["files"].items():
            if not (path / file).is_file() or (path / file).stat().st_size != size:
                raise UserError(f"{path / file} is missing or cut short; {again()}")
        return DataSet(
            name=name,
            classes=tuple(ClassInfo(entry["name"], tuple(entry["colour"])) for entry in index["classes"]),
            microns_per_pixel=index["microns_per_pixel"],
            records=records,
            fingerprint=hashlib.sha256(content).hexdigest()[:16],
            path=path,
            options=index["options"],
            pixels=index["pixels"],
            skipped=tuple(index["skipped"]),
            notes=tuple(index.get("notes", ())),
            images={image: SourceImage(**entry) for image, entry in index.get("images", {}).items()},
            network_microns_per_pixel=index.get("network_microns_per_pixel", 0.0),
            **read_about(path, functools.partial(find_recipe, index["name"]), again),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path / INDEX} is damaged ({error}); {again()}") from error


def rows_of(index: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What an index says of each tile, by the name of the column."""
    for row in index["records"]:
        named = dict(zip(index["columns"], row, strict=True))
        yield named | ({"core": tuple(named["core"])} if named.get("core") else {})


def _not_built(name: str, data_dir: str | os.PathLike) -> str:
    if find_recipe(name) is not None:
        return f"data set {name!r} is not built in {data_dir}; build it with: {build_command(name, data_dir)}"
    recipes = ", ".join(all_recipes())
    return f"there is no data set {name!r} in {data_dir}, and no recipe of that name; there are recipes for {recipes}"


def write_index(path: Path, index: dict[str, Any], records: Sequence[Record]) -> None:
    """Writes `index.json` of the data set in `path`: `index` plus one row per record and the size of every file.

    Those that may be edited are not among these.
    """
    editable = (INDEX, SPLITS_FILE, ABOUT_FILE)
    files = {file.name: file.stat().st_size for file in sorted(path.iterdir()) if file.name not in editable}
    columns = [column.name for column in fields(Record)]
    if all(record.core is None for record in records):
        columns.remove("core")  # so that the fingerprint of a data set whose tiles don't overlap stays what it was
    head = json.dumps({**index, "files": files, "columns": columns}, indent=1)
    rows = ",\n".join(json.dumps([getattr(record, column) for column in columns]) for record in records)
    temporary = path / "index.json.tmp"
    temporary.write_text(f'{head[:-2]},\n "records": [\n{rows}\n]}}\n', encoding="utf-8")
    os.replace(temporary, path / INDEX)
