"""A recipe: `images/PATIENT_NUMBER.png` with masks of class codes (0, 1; 255 = not annotated) in `masks/`.

As data_pipelines/builders/lab.py it is found by its name:
python -m data_pipelines.build lab --raw_dir RAW --data_dir data --test P9
"""

from functools import partial
from pathlib import Path

from crcfp_jax.common.classes import ClassInfo
from data_pipelines.reading.whole import read_codes, read_image
from data_pipelines.recipes import FoundSources, Option, Recipe, Source, Tile
from data_pipelines.units import Splits, Unit


def find_sources(raw_dir: Path, test: str) -> FoundSources:
    sources, faults = [], []
    for image in sorted((raw_dir / "images").glob("*.png")):
        mask = raw_dir / "masks" / image.name
        if not mask.is_file():
            faults.append(f"{image} has no annotation: {mask} is missing")
            continue
        patient = image.stem.partition("_")[0]
        split = "test" if patient == test else "train"
        sources.append(Source(image.stem, split, partial(tiles, image, mask, patient)))
    if sources and all(source.split == "train" for source in sources):
        faults.append(f"{raw_dir} has no annotated picture of the patient to test on: give another --test than {test}")
    return FoundSources(tuple(sources), tuple(faults))


def tiles(image: Path, mask: Path, patient: str):
    pixels, notes = read_image(image)
    codes = read_codes(mask, pixels.shape[:2])
    yield Tile(image.stem, pixels, codes, "our lab", patient, image.stem, x=0, y=0, notes=notes)


RECIPE = Recipe(
    name="lab",
    description="Our sections, tumour against the rest.",
    licence="not to be passed on",
    classes=(ClassInfo("rest", (235, 235, 235)), ClassInfo("tumour", (200, 30, 30))),
    microns_per_pixel=0.5,
    splits=Splits((Unit("patient", {"1/4": 1, "1/1": 4}), Unit("image", {"1/8": 1, "1/1": 8}))),
    find_sources=find_sources,
    download="put the pictures into RAW_DIR/images and their masks into RAW_DIR/masks",
    options=(Option("test", "P9", "patient to test on"),),
)
