"""What every data set builder shares: the pieces a builder module supplies, and the TFDS builder that stores them.

How a builder module is written
-------------------------------
A module in `data_pipelines/builders/` defines one `RECIPE = Recipe(...)` and is listed in `data_pipelines.build`:

    def find_sources(raw_dir: Path | None, options: Options) -> FoundSources:
        # Look at the folder (not at pixels) and say what will be stored, in which order.
        # raw_dir is None for recipes with needs_raw=False (synthetic data); it exists for the others.
        # options.class_map and the like are only different from their defaults where Recipe.options names them.
        return FoundSources(sources=tuple(Source(name, split, partial(tiles_of, ...)) for ...), faults=())

    RECIPE = Recipe(name="bcss", description="...", classes=(ClassInfo("tumour", (200, 0, 0)), ...),
                    microns_per_pixel=0.25, find_sources=find_sources)

A `Source` is one unit of work, read whole or skipped whole: a region with its mask, an image with its annotation, or
all tiles of one synthetic hospital. Its `tiles` is called without arguments, once, and gives the `Tile`s in the order
in which they are stored. It raises UserError for bad input; with --skip_bad such a source is left out and listed.
Images are read by `read_image` of data_pipelines.reading.whole, as a prediction reads them, and masks of class codes by
`read_codes`. What `read_image` notes goes into `Tile.notes`.
Faults seen there (an image without its mask) go into `FoundSources.faults`: the first one ends the build, or, with
--skip_bad, all are listed and the build goes on. A source becomes one array_record file, held in memory while it is
written: keep it below a few hundred tiles, and group tiny ones.

Storage
-------
`ShardBasedBuilder`, not `GeneratorBasedBuilder`: above 1 GB a split (BCSS), the latter sorts through temporary
files that it opens with TensorFlow, which is no dependency here. The former writes straight through, in the order
given, so position in storage == position in the index. Images are yielded as PIL.Image: arrays would be encoded by
TensorFlow.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import SPLITS, VERSION, Record


@dataclass(frozen=True)
class Options:
    """What a user may ask of a build. A recipe names those that it knows in `Recipe.options`."""

    class_map: str = "paper"  # bcss: 'paper' or 'release'
    unannotated_ok: bool = False  # bcss: an image without a mask gives unlabelled tiles instead of an error


@dataclass(frozen=True)
class Tile:
    """One tile. `image`: uint8 [h, w, 3] RGB. `label`: uint8 [h, w], 255 = ignored; None = no annotation at all."""

    id: str  # unique in the data set
    image: np.ndarray
    label: np.ndarray | None
    hospital: str
    patient: str
    source_image: str
    x: int  # pixels, of the top-left corner in the source image, to the right
    y: int  # likewise, downwards
    notes: tuple[str, ...] = ()  # what of its source image is read otherwise than it is stored
    microns_per_pixel: float | None = None  # of `image`; None: the recipe's


@dataclass(frozen=True)
class Source:
    """A unit of work that is stored whole or skipped whole; `tiles` is called once."""

    name: str  # shown beside the progress bar
    split: str  # 'train', 'validation' or 'test'
    tiles: Callable[[], Iterable[Tile]]


@dataclass(frozen=True)
class FoundSources:
    """All sources in storage order, and what is wrong with the raw folder.

    `faults`: single files that can't be used, one plain line each. `missing`: why the folder can't be the data set at
    all (a folder of it is not there); the user is then told what to download.
    """

    sources: tuple[Source, ...]
    faults: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Recipe:
    """A data set: see the module's docstring."""

    name: str
    description: str
    classes: tuple[ClassInfo, ...]
    microns_per_pixel: float  # of the tiles that don't say their own
    find_sources: Callable[[Path | None, Options], FoundSources]
    needs_raw: bool = True
    download: str = ""  # what to download from where, and the layout that it unpacks to; for needs_raw
    options: tuple[str, ...] = ()  # names of the fields of Options that it knows


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
        if counts[classes:IGNORED].any():
            raise ValueError(f"{tile.id}: label {classes + int(counts[classes:IGNORED].argmax())} is no class")
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
