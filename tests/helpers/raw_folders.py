"""Tiny raw folders in the layouts of the official downloads, for the builders' tests."""

from pathlib import Path

import numpy as np
from PIL import Image

REGION = "TCGA-{site}-A0D2-DX1_xmin10_ymin20_MPP-0.2500"
MONUSEG_TRAINING = "TCGA-A7-A13E-01Z-00-DX1"
MONUSEG_TEST = "TCGA-2Z-A9J9-01A-01-TS1"


def write_bcss(raw_dir: Path, sites: tuple[str, ...] = ("A2",), height: int = 520, width: int = 600) -> dict:
    """Writes one region per hospital; returns {name: (image, codes)}."""
    written = {}
    for number, site in enumerate(sites):
        generator = np.random.default_rng(number)
        image = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        codes = generator.integers(0, 22, (height, width), dtype=np.uint8)
        name = REGION.format(site=site)
        for folder, array in (("rgbs_colorNormalized", image), ("masks", codes)):
            (raw_dir / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(raw_dir / folder / f"{name}.png", compress_level=0)
        written[name] = (image, codes)
    return written


def aperio(*regions: list[tuple[float, float]]) -> str:
    """Returns an annotation file's text; region ids count from 1."""
    rows = []
    for number, points in enumerate(regions, 1):
        vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
        rows.append(f'<Region Id="{number}"><Vertices>{vertices}</Vertices></Region>')
    return f'<Annotations><Annotation Id="1"><Regions>{"".join(rows)}</Regions></Annotation></Annotations>'


def write_monuseg(raw_dir: Path, height: int = 500, width: int = 500) -> dict[str, Path]:
    """Writes one training and one test image with a square nucleus each; returns the paths by role."""
    training = raw_dir / "MoNuSeg 2018 Training Data"
    test = raw_dir / "MoNuSegTestData"
    paths = {
        "training image": training / "Tissue Images" / f"{MONUSEG_TRAINING}.tif",
        "training annotation": training / "Annotations" / f"{MONUSEG_TRAINING}.xml",
        "test image": test / f"{MONUSEG_TEST}.tif",
        "test annotation": test / f"{MONUSEG_TEST}.xml",
    }
    for role, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if role.endswith("image"):
            image = np.random.default_rng(len(role)).integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(image).save(path)
        else:
            path.write_text(aperio([(10, 20), (19, 20), (19, 29), (10, 29)]))
    return paths


def write_lab(raw_dir: Path, patients: tuple[str, ...] = ("P1", "P2", "P3", "P4", "P9"), side: int = 64) -> None:
    """Writes two pictures a patient, dark where they are tumour, for the recipe of docs/examples/lab.py."""
    for folder in ("images", "masks"):
        (raw_dir / folder).mkdir(parents=True)
    for number, name in enumerate(f"{patient}_{i}" for patient in patients for i in (1, 2)):
        mask = np.zeros((side, side), np.uint8)
        mask[:, : side // 4 + number] = 1
        noise = np.random.default_rng(number).integers(0, 40, (side, side, 3), dtype=np.uint8)
        image = noise + np.where(mask[..., None] == 1, np.uint8(60), np.uint8(200))
        Image.fromarray(image).save(raw_dir / "images" / f"{name}.png")
        Image.fromarray(mask).save(raw_dir / "masks" / f"{name}.png")


def write_glas(raw_dir: Path, official: bool) -> None:
    """Writes two training and two test images, whose glands 1 and 3 are squares of 4 and 16 pixels."""
    for number, name in enumerate(("train_10", "train_2", "testA_1", "testB_1")):
        image = np.random.default_rng(number).integers(0, 256, (20, 30 + number, 3), dtype=np.uint8)
        glands = np.zeros(image.shape[:2], np.uint8)
        glands[1:3, 1:3], glands[5:9, 5:9] = 1, 3
        if official:
            folder = raw_dir / "Warwick QU Dataset (Released 2016_07_08)"
            paths = folder / f"{name}.bmp", folder / f"{name}_anno.bmp"
        else:
            paths = raw_dir / "images" / f"{name}.png", raw_dir / "instance_masks" / f"{name}.png"
        for path, array in zip(paths, (image, glands), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
