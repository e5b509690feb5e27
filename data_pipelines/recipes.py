"""What a recipe is, which makes a data set from a raw download or from nothing, and which recipes there are.

How a recipe is written
-----------------------
A module in `data_pipelines/builders/` that defines `RECIPE`, of the module's name, is found by that name; nothing else
has to know of it. A recipe that lies elsewhere is given to `data_pipelines.build.build` itself.

    def find_sources(raw_dir: Path | None) -> FoundSources:
        # Look at the folder (not at pixels) and say what will be stored, in which order.
        # raw_dir is None for recipes with needs_raw=False; it exists for the others.
        return FoundSources(sources=tuple(Source(name, split, partial(tiles_of, ...)) for ...), faults=())

    RECIPE = Recipe(name="own", description="...", licence="...", classes=(ClassInfo("tumour", (200, 0, 0)), ...),
                    microns_per_pixel=0.25, splits=Splits((Unit("patient", {"1/8": 4, "1/1": 32}),)),
                    find_sources=find_sources)

What a user may ask of the build stands in `Recipe.options`: each is a flag of `build NAME` and a keyword argument of
`find_sources`.

A `Source` is one unit of work, read whole or skipped whole: a region with its mask, an image with its annotation, or
all tiles of one hospital. Its `tiles` is called without arguments, once, and gives the `Tile`s in the order in which
they are stored. It raises UserError for bad input; with --skip_bad such a source is left out and listed.
Images are read by `read_image` of data_pipelines.reading.whole, as a prediction reads them, and masks of class codes by
`read_codes`. What `read_image` notes goes into `Tile.notes`.
Faults seen there (an image without its mask) go into `FoundSources.faults`: the first one ends the build, or, with
--skip_bad, all are listed and the build goes on. A source becomes one array_record file, held in memory until it is
written, and a few are read at a time in threads: keep it below a few hundred tiles, and group tiny ones.

A recipe with `grows` is for a raw folder that is the user's own. Its `find_sources(recipe, raw_dir, built, **options)`,
where `built` is the `DataSet` that there is or None, says in `FoundSources.recipe` what only a look tells, and gives
every source a `key`, by which the next build knows it again.

This module imports neither TensorFlow Datasets nor, before it is asked for one, a recipe.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crcfp_jax.common.classes import ClassInfo
from data_pipelines import builders
from data_pipelines.source_image import SourceImage
from data_pipelines.units import DEFAULT, Splits, parse_splits, splits_to_json


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
    core: tuple[int, int, int, int] | None = None  # as `Record` has it, of tiles that overlap; None: all of it


@dataclass(frozen=True)
class Source:
    """A unit of work that is stored whole or skipped whole; `tiles` is called once."""

    name: str  # shown beside the progress bar
    split: str  # 'train', 'validation' or 'test'
    tiles: Callable[[], Iterable[Tile]]
    # Of a recipe that grows: changes with everything that the tiles depend on, so that an equal one need not be read
    # again. '': always read.
    key: str = ""


@dataclass(frozen=True)
class FoundSources:
    """All sources in storage order, and what is wrong with the raw folder.

    `faults`: single files that can't be used, one plain line each. `missing`: why the folder can't be the data set at
    all (a folder of it is not there); the user is then told what to download.

    The rest is for recipes that grow. `recipe`: the recipe with what only a look at the folder tells (classes, splits,
    pixel size). `images`: what tiles are cut from, by `Tile.source_image`. `notes`: what the user should know, one line
    each. `extras`: writes further files into the folder of the data set, beside what an older one at the second path
    holds of them.
    """

    sources: tuple[Source, ...]
    faults: tuple[str, ...] = ()
    missing: str = ""
    recipe: "Recipe | None" = None
    images: Mapping[str, SourceImage] = field(default_factory=dict)
    network_microns_per_pixel: float = 0.0
    notes: tuple[str, ...] = ()
    extras: Callable[[Path, Path], None] | None = None


@dataclass(frozen=True)
class Option:
    """What a user may ask of one recipe's build: `--name VALUE`, or, where the default is False, `--name` alone."""

    name: str
    default: str | bool
    help: str
    choices: tuple[str, ...] = ()  # of a VALUE


@dataclass(frozen=True)
class Recipe:
    """How a data set is made: see the module's docstring.

    What stands here goes into the folder of the built data set, which is opened without the recipe.
    """

    name: str
    description: str
    licence: str  # of the images and annotations: what the use of a model trained on them may be bound by
    classes: tuple[ClassInfo, ...]
    microns_per_pixel: float  # of the tiles that don't say their own
    splits: Splits
    find_sources: Callable[..., FoundSources]  # (raw_dir, **options); see above for those that grow
    needs_raw: bool = True
    download: str = ""  # what to download from where, and the layout that it unpacks to; for needs_raw
    options: tuple[Option, ...] = ()
    # The raw folder is the user's own and changes: the data set has its name or that of --name, every build looks at
    # the folder, and reads what has changed. Classes and splits are known after that look.
    grows: bool = False
    png_level: int | None = None  # of compression, 0 to 9; None: Pillow's, which the first data sets were stored with

    def __post_init__(self):
        if self.grows and not self.splits.units:
            return
        if not self.splits.units:
            raise ValueError(f"the recipe {self.name} has no split unit: say what labels are given to")
        parse_splits(splits_to_json(self.splits))  # what could not be opened is refused before anything is built


def find_recipe(name: str) -> Recipe | None:
    """The recipe of a name; None where there is none. Imports its module alone."""
    if name not in _modules():
        return None
    recipe = getattr(importlib.import_module(f"{builders.__name__}.{name}"), "RECIPE", None)
    if recipe is not None and recipe.name != name:
        raise ValueError(f"the recipe in data_pipelines/builders/{name}.py is called {recipe.name!r}: call it {name!r}")
    return recipe


def all_recipes() -> dict[str, Recipe]:
    """Every recipe by its name."""
    return {name: recipe for name in _modules() if (recipe := find_recipe(name)) is not None}


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(builders.__path__))


def builds_itself(name: str) -> bool:
    """Whether a data set's recipe needs no download, so that the data set can be made wherever it is missing."""
    recipe = find_recipe(name)
    return recipe is not None and not recipe.needs_raw


def unit_name(name: str, unit: str) -> str:
    """`config.data.split_unit` of a run on data set `name`; 'default' becomes the first of the recipe, if that has one.

    For runs whose data set is not at hand. Of a recipe that grows, only the data set itself knows its units.
    """
    recipe = find_recipe(name)
    if recipe is None or recipe.grows or unit != DEFAULT:
        return unit
    return recipe.splits.units[0].name
