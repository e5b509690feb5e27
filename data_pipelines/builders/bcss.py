"""BCSS: 151 regions of breast cancer slides (TCGA), 0.25 microns per pixel, annotated with 22 codes (Amgad 2019).

Hospital = TCGA tissue source site, the second field of a file name. The test hospitals are those of the CRCFP
authors' release. A tile's x and y are in its region; the region's place in its slide stands in the file name (xmin,
ymin), which is `Record.image`, and so does its pixel size (MPP).
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from crcfp_jax.common.classes import IGNORED, ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.builders.raw import cut_tiles, files_by_stem
from data_pipelines.reading.whole import read_codes, read_image
from data_pipelines.recipes import FoundSources, Option, Recipe, Source, Tile
from data_pipelines.tcga import TCGA_NAME
from data_pipelines.units import parse_splits

SIDE = 512  # pixels
TEST_HOSPITALS = ("E2", "EW", "GM", "LL", "OL", "S3")
CLASSES = (
    ClassInfo("tumour", (200, 30, 30)),
    ClassInfo("stroma", (240, 170, 200)),
    ClassInfo("inflammatory", (60, 60, 200)),
    ClassInfo("necrosis", (240, 220, 60)),
    ClassInfo("other", (120, 200, 120)),
)
CODES = 22  # of meta/gtruth_codes.tsv, 0 to 21
CODES_OF_CLASS = {
    "tumour": (1, 19, 20),  # tumor, angioinvasion, dcis
    "stroma": (2,),
    "inflammatory": (3, 10, 11),  # lymphocytic_infiltrate, plasma_cells, other_immune_infiltrate
    "necrosis": (4,),  # necrosis_or_debris
}  # every further code is 'other'
IGNORED_CODES = {"paper": (0, 7), "release": ()}  # outside_roi ("don't care" in the data set's readme), exclude
UNKNOWN = 254  # in the table below


def code_table(class_map: str) -> np.ndarray:
    """Returns uint8 [256]: the label of every code, IGNORED or, above 21, UNKNOWN."""
    names = [info.name for info in CLASSES]
    table = np.full(256, UNKNOWN, np.uint8)
    table[:CODES] = names.index("other")
    for name, codes in CODES_OF_CLASS.items():
        table[list(codes)] = names.index(name)
    table[list(IGNORED_CODES[class_map])] = IGNORED
    return table


def find_sources(raw_dir: Path, class_map: str, unannotated_ok: bool) -> FoundSources:
    """Pairs regions and masks by name."""
    images = files_by_stem(raw_dir / "rgbs_colorNormalized", ".png")
    masks = files_by_stem(raw_dir / "masks", ".png")
    if not images or (not masks and not unannotated_ok):
        empty = "masks" if images else "rgbs_colorNormalized"
        return FoundSources((), missing=f"raw folder {raw_dir} holds no {empty}/*.png")
    faults = []
    sources = []
    table = code_table(class_map)
    for stem in sorted({*images, *masks}):
        image = raw_dir / "rgbs_colorNormalized" / f"{stem}.png"
        mask = raw_dir / "masks" / f"{stem}.png"
        name = TCGA_NAME.fullmatch(stem)
        if stem not in images:
            faults.append(f"{mask} has no image: {image} is missing")
        elif name is None:
            faults.append(f"{image}: the name should have the form TCGA-<site>-<patient>-...")
        elif stem not in masks and not unannotated_ok:
            faults.append(f"{image} has no annotation: {mask} is missing (--unannotated_ok: tiles without labels)")
        else:
            patient, hospital = name.groups()
            split = "test" if hospital in TEST_HOSPITALS else "train"
            tiles = partial(_tiles, image, mask if stem in masks else None, table, hospital, patient)
            sources.append(Source(stem, split, tiles))
    return FoundSources(tuple(sources), tuple(faults))


def _tiles(image_path: Path, mask_path: Path | None, table: np.ndarray, hospital: str, patient: str) -> Iterator[Tile]:
    image, notes = read_image(image_path)
    label = None
    if mask_path is not None:
        codes = read_codes(mask_path, image.shape[:2])
        if codes.max() >= CODES:
            raise UserError(f"{mask_path} has the unknown class code {codes.max()}; known are 0 to {CODES - 1}")
        label = table[codes]
    region = image_path.stem
    for x, y, tile, tile_label in cut_tiles(image, label, SIDE):
        where = (hospital, patient, region, x, y)
        yield Tile(f"{region}_{y}_{x}", tile, tile_label, *where, notes=notes, microns_per_pixel=_pixel_size(region))


def _pixel_size(region: str) -> float | None:
    """µm, as a file's name states it; None where it states none, and the download's own holds."""
    stated = re.search(r"_MPP-(\d+\.\d+)", region)
    return float(stated[1]) if stated else None


RECIPE = Recipe(
    name="bcss",
    description="Breast Cancer Semantic Segmentation, five classes, tiles of 512 x 512 pixels.",
    licence="CC0 1.0",
    classes=CLASSES,
    microns_per_pixel=0.25,
    splits=parse_splits(json.loads(Path(__file__).with_name("bcss_splits.json").read_text(encoding="utf-8"))),
    find_sources=find_sources,
    download=(
        "download BCSS (about 5 GB) from the Google Drive link on https://github.com/PathologyDataScience/BCSS"
        " ('0_Public-data-Amgad2019_0.25MPP'), so that RAW_DIR holds rgbs_colorNormalized/*.png and masks/*.png"
    ),
    options=(
        Option(
            "class_map",
            "paper",
            "'paper' ignores the codes 0 and 7, 'release' makes them 'other'",
            tuple(IGNORED_CODES),
        ),
        Option("unannotated_ok", False, "take an image without a mask as unlabelled tiles, instead of stopping"),
    ),
)
