"""GlaS: the gland challenge of MICCAI 2015, 165 images of colorectal glands at 20x (Sirinukunwattana 2017).

85 images for training and, in the test parts A and B, 60 and 20, mostly of 775 x 522 pixels; each is a tile. They are
of one hospital. Annotations number the glands 1, 2, ...; here a pixel is of a gland or not. Two layouts are accepted:
the official one, with `train_1.bmp` beside `train_1_anno.bmp` and `Grade.csv`, which tells the patients, and one with
the images in `images/` and the annotations under the same names in `instance_masks/`.
"""

import csv
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.builders.raw import foreground_tile, pictures_by_stem
from data_pipelines.recipes import FoundSources, Recipe, Source, Tile
from data_pipelines.units import Splits, Unit

OFFICIAL = ("Warwick QU Dataset (Released 2016_07_08)", "Warwick_QU_Dataset")
ANNOTATION = "_anno"  # at the end of an annotation's name in the official layout
HOSPITAL = "UHCW"  # University Hospitals Coventry and Warwickshire
PARTS = {"train": "train", "testA": "test", "testB": "test"}  # beginning of a name -> split; in storage order
NAME = re.compile(rf"({'|'.join(PARTS)})_(\d+)")
CLASSES = (ClassInfo("background", (235, 235, 235)), ClassInfo("gland", (190, 60, 130)))


def find_sources(raw_dir: Path) -> FoundSources:
    """Pairs images and annotations by name, in either layout."""
    folder = next((raw_dir / name for name in OFFICIAL if (raw_dir / name).is_dir()), raw_dir)
    if (folder / "images").is_dir():
        images, masks = pictures_by_stem(folder / "images"), pictures_by_stem(folder / "instance_masks")
        where = "instance_masks"
    else:
        pictures = pictures_by_stem(folder)
        images = {name: paths for name, paths in pictures.items() if not name.endswith(ANNOTATION)}
        masks = {name.removesuffix(ANNOTATION): paths for name, paths in pictures.items() if name not in images}
        where = f"*{ANNOTATION}.*"
    for files, what in ((images, "images"), (masks, f"annotations ({where})")):
        if not any(NAME.fullmatch(name) for name in files):
            return FoundSources((), missing=f"{folder} holds no {what} of GlaS")
    patients = _patients(folder / "Grade.csv")
    faults, sources = [], []
    for name in sorted({*images, *masks}, key=_order):
        paths = [*images.get(name, ()), *masks.get(name, ())]
        if NAME.fullmatch(name) is None:
            faults.append(f"{paths[0]}: the name should have the form train_1, testA_1 or testB_1")
        elif name not in images:
            faults.append(f"{paths[0]} has no image beside it")
        elif name not in masks:
            faults.append(f"{paths[0]} has no annotation in {where}")
        elif len(paths) > 2:
            faults.append(f"{name} is there more than once: {', '.join(map(str, paths))}; remove what is too much")
        else:
            tiles = partial(_tiles, *paths, name, patients.get(name, name))
            sources.append(Source(name, PARTS[name.partition("_")[0]], tiles))
    return FoundSources(tuple(sources), tuple(faults))


def _order(name: str) -> tuple:
    """By part, then number: train_2 before train_10; other names last."""
    match = NAME.fullmatch(name)
    return (list(PARTS).index(match[1]), int(match[2]), name) if match else (len(PARTS), 0, name)


def _patients(path: Path) -> dict[str, str]:
    """Patient of every image that the table names; nothing where there is no table."""
    if not path.is_file():
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [{key.strip(): value for key, value in row.items() if key} for row in csv.DictReader(file)]
        return {row["name"].strip(): row["patient ID"].strip() for row in rows}
    except (KeyError, AttributeError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} has no columns 'name' and 'patient ID' ({error}): copy it again, or remove it"
        ) from error


def _tiles(image_path: Path, mask_path: Path, name: str, patient: str) -> Iterator[Tile]:
    yield foreground_tile(image_path, mask_path, name, HOSPITAL, patient)


RECIPE = Recipe(
    name="glas",
    description="GlaS: glands in H&E images of colorectal tissue, 165 whole images.",
    licence="research use only, as the challenge's terms say",
    classes=CLASSES,
    microns_per_pixel=0.62,
    splits=Splits(
        # 8 and 17 images: the '10 %' and '20 %' of published comparisons
        (Unit("image", {"1/10": 8, "1/5": 17, "1/2": 42, "1/1": 85}),),
        source="drawn by rule for every seed",
    ),
    find_sources=find_sources,
    download=(
        "download the Warwick-QU data set of the GlaS challenge from"
        " https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest/ and unpack the zip into RAW_DIR, so that it holds"
        f" '{OFFICIAL[0]}/train_1.bmp' with 'train_1{ANNOTATION}.bmp'"
    ),
)
