"""MoNuSeg 2018: 30 training and 14 test images of 1000 x 1000 pixels at 40x, nuclei as polygons (Kumar 2017, 2020).

Cut on a grid of 250 pixels: 480 training and 224 test crops. A crop's id is `<image>_<y>_<x>`; the split lists of the
CRCFP authors' release give an image and two coordinates without saying which is which: here they are read as row,
then column. Hospital = TCGA tissue source site, the second field of a file name.

Vertices are taken as positions between pixel centres (x = 3.0 is the middle of column 3), kept to 1/256 pixel, and
every pixel that the outline touches belongs to the nucleus: outlines traced along boundary pixels, which many of the
files hold, come back as the mask that they were traced from.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import cv2
import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from data_pipelines.builders.raw import cut_tiles, files_by_stem
from data_pipelines.reading.whole import read_image
from data_pipelines.recipes import FoundSources, Recipe, Source, Tile
from data_pipelines.tcga import TCGA_NAME
from data_pipelines.units import Splits, parse_splits

SIDE = 250  # pixels
TRAINING = "MoNuSeg 2018 Training Data"
TEST = "MoNuSegTestData"
CLASSES = (ClassInfo("background", (235, 235, 235)), ClassInfo("nuclei", (60, 40, 160)))
NUCLEI = 1
FRACTION_BITS = 8  # of a vertex coordinate
# ImageScope's types of regions beside outlines, which are painted here.
NO_OUTLINE = {"1": "a box", "2": "an ellipse", "3": "an arrow", "4": "a ruler", "5": "a counter"}
OWN = "build files of your own with `python -m data_pipelines.build folder`"
# Slips of the pen in the official files: (image, Region Id), two points at most 0.4 pixels apart. Anything else with
# fewer than three points is an error.
KNOWN_SLIPS = {("TCGA-50-5931-01Z-00-DX1", "180"), ("TCGA-E2-A1B5-01Z-00-DX1", "460")}


def rasterise(path: Path, height: int, width: int) -> np.ndarray:
    """Returns an Aperio annotation file as uint8 [height, width]: 1 inside any region, 0 elsewhere.

    Raises:
      UserError: no XML, an XML with entities (which can expand without bound), no regions, several layers, a hole or
        a region that is no outline, a region of fewer than three points, a vertex without numbers.
    """
    try:
        root = parse(path).getroot()
    except DefusedXmlException as error:
        raise UserError(f"{path} declares XML entities, which no annotation needs; it was not read") from error
    except (ParseError, OSError) as error:
        raise UserError(f"{path} is no readable XML ({error})") from error
    regions = root.findall("Annotation/Regions/Region")
    if not regions:
        raise UserError(f"{path} holds no Annotation/Regions/Region; it is no Aperio annotation of nuclei")
    if (layers := len(root.findall("Annotation"))) > 1:
        raise UserError(f"{path} has {layers} layers, where MoNuSeg's files have one, of nuclei: {OWN}")
    label = np.zeros((height, width), np.uint8)
    for region in regions:
        kind = "a hole" if region.get("NegativeROA") == "1" else NO_OUTLINE.get(region.get("Type", "0"))
        if kind:
            raise UserError(f"{path}: region {region.get('Id')} is {kind}, which MoNuSeg's files have not: {OWN}")
        points = _points(region, path)
        if len(points) >= 3:
            # One by one: together, overlapping nuclei would cancel out.
            fixed = np.round(points * 2**FRACTION_BITS).astype(np.int32)
            cv2.fillPoly(label, [fixed], NUCLEI, shift=FRACTION_BITS)
        elif (path.stem, region.get("Id")) not in KNOWN_SLIPS:
            count = f"region {region.get('Id')} has {len(points)} points"
            raise UserError(f"{path}: {count}; a polygon needs 3, so remove or redraw the region")
    return label


def _points(region: Element, path: Path) -> np.ndarray:
    """Returns the vertices of a region, float64 [n, 2]: x, y."""
    vertices = region.findall("Vertices/Vertex")
    try:
        points = np.array([(float(v.attrib["X"]), float(v.attrib["Y"])) for v in vertices])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: region {region.get('Id')} has a vertex without numbers X and Y ({error})") from error
    if not (np.abs(points) < 1e6).all():
        raise UserError(f"{path}: region {region.get('Id')} has a vertex far outside any image")
    return points


def find_sources(raw_dir: Path) -> FoundSources:
    """Pairs images and annotations by name, in both folders."""
    folders = (
        ("train", raw_dir / TRAINING / "Tissue Images", raw_dir / TRAINING / "Annotations"),
        ("test", raw_dir / TEST, raw_dir / TEST),
    )
    faults = []
    sources = []
    for split, image_folder, annotation_folder in folders:
        images = files_by_stem(image_folder, ".tif")
        annotations = files_by_stem(annotation_folder, ".xml")
        for kind, files, folder in (("*.tif", images, image_folder), ("*.xml", annotations, annotation_folder)):
            if not files:
                return FoundSources((), missing=f"{folder} holds no {kind}")
        for stem in sorted({*images, *annotations}):
            name = TCGA_NAME.fullmatch(stem)
            if stem not in images:
                faults.append(f"{annotations[stem]} has no image: {image_folder / f'{stem}.tif'} is missing")
            elif stem not in annotations:
                faults.append(f"{images[stem]} has no annotation: {annotation_folder / f'{stem}.xml'} is missing")
            elif name is None:
                faults.append(f"{images[stem]}: the name should have the form TCGA-<site>-<patient>-...")
            else:
                patient, hospital = name.groups()
                tiles = partial(_tiles, images[stem], annotations[stem], hospital, patient)
                sources.append(Source(stem, split, tiles))
    return FoundSources(tuple(sources), tuple(faults))


def _tiles(image_path: Path, annotation_path: Path, hospital: str, patient: str) -> Iterator[Tile]:
    image, notes = read_image(image_path)
    label = rasterise(annotation_path, *image.shape[:2])
    name = image_path.stem
    for x, y, tile, tile_label in cut_tiles(image, label, SIDE):
        yield Tile(f"{name}_{y}_{x}", tile, tile_label, hospital, patient, name, x, y, notes=notes)


def _splits() -> Splits:
    """The lists beside this module, in which crops stand as {image: 'row_column row_column'} for short."""
    value = json.loads(Path(__file__).with_name("monuseg_splits.json").read_text(encoding="utf-8"))
    crops = value["units"]["crop"]
    crops["training"] = _crop_names(crops["training"])
    for by_fraction in crops["labelled"].values():
        by_fraction.update({fraction: _crop_names(corners) for fraction, corners in by_fraction.items()})
    return parse_splits(value)


def _crop_names(corners_of: dict[str, str]) -> list[str]:
    return [f"{image}_{corner}" for image, corners in corners_of.items() for corner in corners.split()]


RECIPE = Recipe(
    name="monuseg",
    description="MoNuSeg 2018: nuclei in H&E images of many organs, crops of 250 x 250 pixels.",
    licence="CC BY-NC-SA 4.0: attribution, no commercial use, share alike",
    classes=CLASSES,
    microns_per_pixel=0.25,  # 40x; the annotation files state 0.246 to 0.253
    splits=_splits(),
    find_sources=find_sources,
    download=(
        "download the training and the test data of MoNuSeg 2018 from https://monuseg.grand-challenge.org/Data/ and"
        f" unpack both zips into RAW_DIR, so that it holds '{TRAINING}/Tissue Images/*.tif',"
        f" '{TRAINING}/Annotations/*.xml' and '{TEST}/*.tif' with '*.xml'"
    ),
)
