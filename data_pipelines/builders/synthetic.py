"""Embedded synthetic tissue: five classes as in BCSS, 14 hospitals, split by hospital, no download.

The pictures come from `data_pipelines.synthesis`, where every trait and difficulty setting is a named constant.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from data_pipelines.builders.base import FoundSources, Options, Recipe, Source, Tile
from data_pipelines.builders.bcss import CLASSES
from data_pipelines.synthesis import synthesise

SEED = 2023
SIDE = 256  # pixels
HOSPITALS = {
    "train": tuple(f"H{number:02}" for number in range(1, 9)),
    "validation": ("H09", "H10"),
    "test": ("H11", "H12", "H13", "H14"),
}
TILES_PER_HOSPITAL = {"train": 24, "validation": 8, "test": 12}
TILES_PER_PATIENT = 4


def _tiles(hospital: str, count: int) -> Iterator[Tile]:
    for index in range(count):
        image, label = synthesise(SEED, hospital, index, SIDE)
        name = f"{hospital}-{index:03}"
        patient = f"{hospital}-P{index // TILES_PER_PATIENT + 1}"
        yield Tile(name, image, label, hospital=hospital, patient=patient, source_image=name, x=0, y=0)


def find_sources(raw_dir: Path | None, options: Options) -> FoundSources:
    """Returns one source per hospital; needs no raw folder and knows no options."""
    return FoundSources(
        tuple(
            Source(hospital, split, partial(_tiles, hospital, TILES_PER_HOSPITAL[split]))
            for split, hospitals in HOSPITALS.items()
            for hospital in hospitals
        )
    )


RECIPE = Recipe(
    name="synthetic",
    description="Synthetic tissue that looks like haematoxylin and eosin: five classes, 14 hospitals, from a seed.",
    classes=CLASSES,
    microns_per_pixel=0.75,
    find_sources=find_sources,
    needs_raw=False,
)
