"""The array_record files of a data set, written by TFDS.

`ShardBasedBuilder`, not `GeneratorBasedBuilder`: above 1 GB a split (BCSS), the latter sorts through temporary
files that it opens with TensorFlow, which is no dependency here. The former writes straight through, in the order
given, so position in storage == position in the index, and each source is a file: one that an earlier build has stored
is linked, not read again. Images are yielded as encoded bytes: arrays would be encoded by TensorFlow.
"""

import contextlib
import dataclasses
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import link_or_copy
from data_pipelines.data_set import SPLITS, VERSION, Record
from data_pipelines.recipes import FoundSources, Recipe, Source
from data_pipelines.storage.encoding import EncodedSource, encoded_ahead
from data_pipelines.storage.reuse import StoredSource, source_entry


@dataclass
class Collected:
    """What is known after the build, for the index: filled while tiles are stored."""

    records: list[Record] = field(default_factory=list)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)  # per split: int64 [classes]
    image_mm2: dict[str, np.ndarray] = field(default_factory=dict)  # labelled, per source image: float64 [classes]
    image_tiles: dict[str, np.ndarray] = field(default_factory=dict)  # tiles with some of each class: int64 [classes]
    skipped: list[str] = field(default_factory=list)
    noted: dict[str, dict[str, None]] = field(default_factory=dict)  # note -> source images in order, each once
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)  # of all ids, images and labels in order
    sources: dict[str, dict] = field(default_factory=dict)  # key -> entry for the index
    read: int = 0  # sources; the others are as an earlier build has stored them

    @property
    def notes(self) -> list[str]:
        """One line for each kind of note: what it says, of how many images, and the first of them."""
        return [
            f"{note}: {len(images)} image{'s' * (len(images) > 1)}, first {next(iter(images))}"
            for note, images in self.noted.items()
        ]


class _Info(tfds.core.DatasetInfo):
    """What TFDS writes of the data set, without a look for published ones of its name.

    That look leaves an empty folder in the temporary directory every time, and asks a server where TFDS allows it.
    """

    def initialize_from_bucket(self) -> None:
        """There is nothing to know before it is built."""


class TissueBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Stores the tiles of what was found and collects their records.

    Args:
      recipe: the data set.
      found: its sources.
      data_dir: folder in which TFDS makes `<name>/<VERSION>`.
      stored: sources by their keys that are stored already.
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
        stored: Mapping[str, StoredSource],
        skip_bad: bool,
        on_source: Callable[[Source], None],
    ):
        self.name = recipe.name
        self.recipe = recipe
        self.by_split = {split: [s for s in found.sources if s.split == split] for split in SPLITS}
        self.stored = stored
        self.skip_bad = skip_bad
        self.on_source = on_source
        self.collected = Collected()
        self._ids: set[str] = set()
        self._positions = dict.fromkeys(SPLITS, 0)
        self._encoded: Iterator[Future[EncodedSource]] = iter(())
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return _Info(
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

    def build(self) -> None:
        """Writes everything."""
        sources = [source for split in SPLITS for source in self.by_split[split] if source.key not in self.stored]
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        # TFDS announces downloads that there are not.
        with encoded_ahead(self.recipe, sources) as self._encoded, contextlib.redirect_stdout(io.StringIO()):
            self.download_and_prepare(download_config=config)

    def _shard_iterators_per_split(self, dl_manager) -> dict[str, list[Callable[[], Iterator]]]:
        shards = {split: [partial(self._shard, source) for source in own] for split, own in self.by_split.items()}
        return {split: generators for split, generators in shards.items() if generators}

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _Writer(self)

    def _shard(self, source: Source) -> Iterator[tuple[int, dict | None]]:
        """Called before the file of a source is written; what it returns is iterated over meanwhile, or after."""
        self.current = source
        return self._link_examples(source) if source.key in self.stored else self._examples(source)

    def _examples(self, source: Source) -> Iterator[tuple[int, dict]]:
        first, notes = self._positions[source.split], {}
        try:
            encoded = next(self._encoded).result()
        except UserError as error:
            if not self.skip_bad:
                raise UserError(f"{error}; mend it, or leave it out with --skip_bad") from error
            self.collected.skipped.append(str(error))
            self.on_source(source)
            return  # of a growing data set it is no stored source, so that the next build reads it again
        self.collected.read += 1
        for tile in encoded.tiles:
            for note in tile.notes:
                notes.setdefault(note, []).append(tile.record.image)
            position = self._collect(tile.record, tile.pixels)
            if not source.key:
                self._digest(*tile.content)
            yield position, {"id": tile.record.id, "image": tile.image, "label": tile.label}
        self._note(notes)
        if source.key:
            self._digest(encoded.digest)
            self._entry(source, first, [tile.pixels.tolist() for tile in encoded.tiles], notes, encoded.digest)
        self.on_source(source)

    def _link_examples(self, source: Source) -> Iterator[tuple[int, None]]:
        stored, first = self.stored[source.key], self._positions[source.split]
        # Other classes than before leave the key of a source alone that has no labelled pixel.
        pixels = (
            stored.pixels if stored.pixels.any() else np.zeros((len(stored.records), len(self.recipe.classes)), int)
        )
        for record, counts in zip(stored.records, pixels, strict=True):
            yield self._collect(record, counts), None
        self._note(stored.notes)
        self._digest(stored.digest)
        self._entry(source, first, pixels.tolist(), stored.notes, stored.digest)
        self.on_source(source)

    def _collect(self, record: Record, counts: np.ndarray) -> int:
        """Adds a tile's record and counts its pixels; returns its position."""
        if record.id in self._ids:
            raise UserError(f"tile {record.id} occurs twice: the raw folder holds the same image twice; remove one")
        self._ids.add(record.id)
        position = self._positions[record.split]
        self._positions[record.split] += 1
        collected, nothing = self.collected, np.zeros(len(self.recipe.classes), np.int64)
        collected.pixels[record.split] = collected.pixels.get(record.split, nothing) + counts
        mm2 = counts * (record.microns_per_pixel / 1000) ** 2
        collected.image_mm2[record.image] = collected.image_mm2.get(record.image, 0.0) + mm2
        collected.image_tiles[record.image] = collected.image_tiles.get(record.image, 0) + (counts > 0)
        collected.records.append(dataclasses.replace(record, position=position))
        return position

    def _digest(self, *parts: bytes | np.ndarray) -> None:
        for part in parts:
            self.collected.digest.update(part)

    def _note(self, notes: Mapping[str, Iterable[str]]) -> None:
        for note, images in notes.items():
            self.collected.noted.setdefault(note, {}).update(dict.fromkeys(images))

    def _entry(self, source: Source, first: int, pixels: list, notes: dict, digest: bytes) -> None:
        entry = source_entry(self.current_file, first, pixels, notes, digest)
        self.collected.sources[source.key] = {"split": source.split} | entry


class _Writer(tfds.core.ExampleWriter):
    """Writes the file of a source, or links the one that there is."""

    def __init__(self, builder: TissueBuilder):
        super().__init__(file_format=builder.info.file_format)
        self._builder = builder

    def write(self, path, examples):
        """As the base class."""
        self._builder.current_file = Path(path).name
        stored = self._builder.stored.get(self._builder.current.key)
        if stored is None:
            return super().write(path, ((key, _in_order(example)) for key, example in examples))
        link_or_copy(stored.file, Path(path))
        return None


def _in_order(example: bytes) -> bytes:
    """A serialised example with its features by name; as TFDS gives it they are in another order in every process."""
    return tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True)
