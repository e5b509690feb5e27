"""Stores the tiles of a recipe as a data set: array_record files written by TFDS, and the index.

`ShardBasedBuilder`, not `GeneratorBasedBuilder`: above 1 GB a split (BCSS), the latter sorts through temporary
files that it opens with TensorFlow, which is no dependency here. The former writes straight through, in the order
given, so position in storage == position in the index. Images are yielded as PIL.Image: arrays would be encoded by
TensorFlow.
"""

import contextlib
import hashlib
import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from rich.console import Console
from rich.progress import TimeElapsedColumn, TimeRemainingColumn

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.progress import progress_bar
from data_pipelines.about import write_about
from data_pipelines.data_set import SPLITS, VERSION, Record, write_index
from data_pipelines.recipes import FoundSources, Recipe, Source, Tile


@dataclass
class Collected:
    """What is known after the build, for the index: filled while tiles are stored."""

    records: list[Record] = field(default_factory=list)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)  # per split: int64 [classes]
    skipped: list[str] = field(default_factory=list)
    noted: dict[str, dict[str, None]] = field(default_factory=dict)  # note -> source images in order, each once
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)  # of all ids, images and labels in order

    @property
    def notes(self) -> list[str]:
        """One line for each kind of note: what it says, of how many images, and the first of them."""
        return [
            f"{note}: {len(images)} image{'s' * (len(images) > 1)}, first {next(iter(images))}"
            for note, images in self.noted.items()
        ]


class TissueBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Stores the tiles of what was found and collects their records.

    Args:
      recipe: the data set.
      found: its sources.
      data_dir: folder in which TFDS makes `<name>/<VERSION>`.
      skip_bad: leave out sources that raise UserError, and list them in `collected.skipped`.
      on_source: called with every source once it is stored or skipped.

    Raises (in download_and_prepare):
      UserError: from a source; ValueError: a tile that breaks the contract (a defect of the builder module).
    """

    VERSION = tfds.core.Version(VERSION)
    # TFDS looks for checksums of downloads beside the code, through importlib_resources, which it needs but does not
    # install (4.9.10). Nothing is downloaded here; None is what it finds for a class made in a notebook.
    code_path = None
    # TFDS writes this name into dataset_info.json, whose size is part of the index and so of the fingerprint: it stays
    # as it was when the first data sets were built, wherever the class lies.
    __module__ = "data_pipelines.builders.base"

    def __init__(
        self,
        recipe: Recipe,
        found: FoundSources,
        data_dir: Path,
        *,
        skip_bad: bool,
        on_source: Callable[[Source], None],
    ):
        self.name = recipe.name
        self.recipe = recipe
        self.found = found
        self.skip_bad = skip_bad
        self.on_source = on_source
        self.collected = Collected()
        self._ids: set[str] = set()
        self._positions = dict.fromkeys(SPLITS, 0)
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.recipe.description,
            disable_shuffling=True,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                }
            ),
        )

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list[Callable[[], Iterator]]]:
        shards = {
            split: [partial(self._examples, s) for s in self.found.sources if s.split == split] for split in SPLITS
        }
        return {split: generators for split, generators in shards.items() if generators}

    def _examples(self, source: Source) -> Iterator[tuple[int, dict]]:
        try:
            tiles = list(source.tiles())
            self._check_codes(source, tiles)
        except UserError as error:
            if not self.skip_bad:
                raise UserError(f"{error}; mend it, or leave it out with --skip_bad") from error
            self.collected.skipped.append(str(error))
            tiles = []
        for tile in tiles:
            position = self._positions[source.split]
            label = self._collect(tile, source.split, position)
            self._positions[source.split] += 1
            image = Image.fromarray(np.ascontiguousarray(tile.image))
            yield position, {"id": tile.id, "image": image, "label": Image.fromarray(np.ascontiguousarray(label))}
        self.on_source(source)

    def _check_codes(self, source: Source, tiles: Iterable[Tile]) -> None:
        """Raises UserError where a mask has a value that is no class."""
        classes = len(self.recipe.classes)
        for tile in tiles:
            if tile.label is None:
                continue
            wrong = tile.label[(tile.label >= classes) & (tile.label < IGNORED)]
            if wrong.size:
                known = ", ".join(f"{code} {info.name}" for code, info in enumerate(self.recipe.classes))
                held = ", ".join(map(str, np.unique(wrong)[:8]))
                raise UserError(
                    f"the mask of {source.name} holds {held}; known are {known}, and {IGNORED} for not annotated"
                )

    def _collect(self, tile: Tile, split: str, position: int) -> np.ndarray:
        """Checks a tile, adds its record and counts its pixels; returns its label, all ignored where it has none."""
        height, width = tile.image.shape[:2]
        label = tile.label if tile.label is not None else np.full((height, width), IGNORED, np.uint8)
        if tile.image.shape != (height, width, 3) or tile.image.dtype != np.uint8:
            raise ValueError(f"{tile.id}: image {tile.image.dtype} {tile.image.shape} is not uint8 [h, w, 3]")
        if tile.microns_per_pixel is not None and not tile.microns_per_pixel > 0:
            raise ValueError(f"{tile.id}: {tile.microns_per_pixel} µm per pixel is no size")
        if label.shape != (height, width) or label.dtype != np.uint8:
            raise ValueError(f"{tile.id}: label {label.dtype} {label.shape} is not uint8 [{height}, {width}]")
        counts = np.bincount(label.ravel(), minlength=256)
        classes = len(self.recipe.classes)
        if tile.id in self._ids:
            raise UserError(f"tile {tile.id} occurs twice: the raw folder holds the same image twice; remove one")
        self._ids.add(tile.id)
        collected = self.collected
        total = collected.pixels.setdefault(split, np.zeros(classes, np.int64))
        total += counts[:classes]
        for part in (tile.id.encode(), np.ascontiguousarray(tile.image), np.ascontiguousarray(label)):
            collected.digest.update(part)
        for note in tile.notes:
            collected.noted.setdefault(note, {})[tile.source_image] = None
        annotated = bool(counts[:classes].any())
        where = (tile.hospital, tile.patient, tile.source_image, int(tile.x), int(tile.y))
        pixel = self.recipe.microns_per_pixel if tile.microns_per_pixel is None else tile.microns_per_pixel
        collected.records.append(Record(tile.id, split, position, *where, annotated, pixel, height, width))
        return label


def store(recipe: Recipe, found: FoundSources, folder: Path, options: dict, skip_bad: bool) -> None:
    """Writes a data set into an empty folder, its index last.

    Args:
      options: name -> value, that the recipe was given.
      skip_bad: leave out sources that can't be used.

    Raises:
      UserError: a source that can't be used, or a split of which nothing is left.
    """
    tfds.disable_progress_bar()
    columns, console = (TimeElapsedColumn(), TimeRemainingColumn()), Console(stderr=True)
    with progress_bar(recipe.name, len(found.sources), *columns, console=console) as advance:

        def on_source(source) -> None:
            advance(name=f"{source.split} {source.name}")

        builder = TissueBuilder(recipe, found, folder / "tfds", skip_bad=skip_bad, on_source=on_source)
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces downloads that there are not
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
    for file in (folder / "tfds" / recipe.name / VERSION).iterdir():  # TFDS has a layout of its own
        file.rename(folder / file.name)
    shutil.rmtree(folder / "tfds")
    collected = builder.collected
    skipped = [*found.faults, *collected.skipped]
    for split in {source.split for source in found.sources}:
        if split not in collected.pixels:
            raise UserError(f"nothing usable is left of the {split} split of {recipe.name}; first fault: {skipped[0]}")
    index = {
        "name": recipe.name,
        "version": VERSION,
        "classes": [{"name": info.name, "colour": info.colour} for info in recipe.classes],
        "microns_per_pixel": recipe.microns_per_pixel,
        "options": options,
        "pixels": {split: counts.tolist() for split, counts in collected.pixels.items()},
        "skipped": skipped,
        "content": collected.digest.hexdigest(),
    }
    if collected.notes:  # else the index, and so the fingerprint, is that of builds from before there were notes
        index["notes"] = collected.notes
    write_about(folder, recipe.splits, description=recipe.description, licence=recipe.licence)
    write_index(folder, index, collected.records)
