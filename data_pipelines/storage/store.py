"""Stores the tiles of a recipe as a data set: array_record files, and the index."""

import dataclasses
import shutil
from pathlib import Path

import tensorflow_datasets as tfds
from rich.console import Console
from rich.progress import TimeElapsedColumn, TimeRemainingColumn

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.progress import progress_bar
from data_pipelines.about import write_about
from data_pipelines.data_set import VERSION, write_index
from data_pipelines.recipes import FoundSources, Recipe
from data_pipelines.source_image import SourceImage
from data_pipelines.storage.builder import Collected, TissueBuilder
from data_pipelines.storage.reuse import SOURCES, stored_sources


def store(
    recipe: Recipe, found: FoundSources, folder: Path, options: dict, skip_bad: bool, previous: Path | None = None
) -> None:
    """Writes a data set into an empty folder, its index last.

    Args:
      options: name -> value, that the recipe was given.
      skip_bad: leave out sources that can't be used.
      previous: an older build, of which sources with equal keys are taken.

    Raises:
      UserError: a source that can't be used, or a split of which nothing is left.
    """
    tfds.disable_progress_bar()
    stored = stored_sources(previous) if previous is not None else {}
    columns, console = (TimeElapsedColumn(), TimeRemainingColumn()), Console(stderr=True)
    with progress_bar(recipe.name, len(found.sources), *columns, console=console) as advance:

        def on_source(source) -> None:
            advance(name=f"{source.split} {source.name}")

        builder = TissueBuilder(recipe, found, folder / "tfds", stored=stored, skip_bad=skip_bad, on_source=on_source)
        builder.build()
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
    if notes := [*found.notes, *collected.notes]:
        # else the index, and so the fingerprint, is that of builds from before there were notes
        index["notes"] = notes
    if recipe.grows:
        index["network_microns_per_pixel"] = found.network_microns_per_pixel
        index["images"] = {name: _describe(image, name, recipe, collected) for name, image in found.images.items()}
        index[SOURCES] = collected.sources
    write_about(folder, recipe.splits, description=recipe.description, licence=recipe.licence)
    write_index(folder, index, collected.records)
    if found.extras is not None:  # no part of the data set: not in the index
        found.extras(folder, previous if previous is not None else folder)


def _describe(image: SourceImage, name: str, recipe: Recipe, collected: Collected) -> dict:
    """An image with what is labelled in its tiles."""
    names = [info.name for info in recipe.classes]
    if name not in collected.image_mm2:
        return dataclasses.asdict(image)
    areas = dict(zip(names, collected.image_mm2[name].tolist(), strict=True))
    tiles = dict(zip(names, collected.image_tiles[name].tolist(), strict=True))
    held = [key for key in names if tiles[key]]
    told = {"mm2": {key: areas[key] for key in held}, "tiles": {key: tiles[key] for key in held}}
    return dataclasses.asdict(image) | told
