"""Small study folders, as a user has them, and annotations written as QuPath writes them."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio.features
from PIL import Image

from crcfp_jax.common.errors import UserError
from data_pipelines.build import build

MEND = "; mend it, or leave it out with --skip_bad"
PINK, WHITE = (200, 120, 170), (245, 245, 245)


def write_image(path: Path, height: int = 300, width: int = 400, seed: int = 0, microns: float | None = 0.5) -> None:
    """Writes a PNG or TIFF of noisy pink tissue; `microns` per pixel go into its resolution."""
    noise = np.random.default_rng(seed).integers(-20, 20, (height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    dpi = {} if microns is None else {"dpi": (25400 / microns,) * 2}
    Image.fromarray((np.array(PINK) + noise).astype(np.uint8)).save(path, **dpi)


def square(left: float, top: float, side: float) -> list[list[list[float]]]:
    """Coordinates of a Polygon."""
    right, bottom = left + side, top + side
    return [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]]


def feature(name: str | None, coordinates, kind: str = "Polygon", colour=(200, 0, 0)) -> dict:
    """An annotation as QuPath 0.4 and newer write it."""
    properties = {"objectType": "annotation"}
    if name is not None:
        properties["classification"] = {"name": name, "color": list(colour)}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "0", "geometry": geometry, "properties": properties}


def write_geojson(path: Path, *features: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8")


def write_study(raw_dir: Path, patients: int = 3, unannotated: int = 2) -> None:
    """Writes images of 300 x 400 pixels of 0.5 µm, each of its own patient, with a tumour and stroma beside it."""
    for number in range(patients):
        write_image(raw_dir / "annotated" / f"slide{number}.png", seed=number)
        tumour, stroma = square(20, 30, 60), square(200, 100, 90)
        drawn = (feature("Tumor", tumour), feature("Stroma", stroma, colour=(0, 200, 0)))
        write_geojson(raw_dir / "annotated" / f"slide{number}.geojson", *drawn)
    for number in range(unannotated):
        write_image(raw_dir / "unannotated" / f"more{number}.png", seed=100 + number)


def traced(codes: np.ndarray) -> list[tuple[int, list]]:
    """Regions of equal codes above 0 (integers [h, w]) along their pixels' edges: code and Polygon coordinates."""
    found = rasterio.features.shapes(codes.astype(np.int32), mask=codes > 0, connectivity=4)
    return [(int(code), geometry["coordinates"]) for geometry, code in found]


def build_study(tmp_path, microns_per_pixel="0.5", **options):
    options["microns_per_pixel"] = microns_per_pixel
    return build("folder", tmp_path / "study", tmp_path / "data", **options)


def labels(data_set, image):
    """Image and label of the only tile of an image."""
    (record,) = (each for each in data_set.records if each.image == image)
    tile = data_set.source(record.split, labels=True)[record.position]
    return tile["image"], tile["label"]


def refuse(tmp_path, **options):
    """The one line that a build ends with, without the folder's name."""
    with pytest.raises(UserError) as told:
        build_study(tmp_path, **options)
    assert "\n" not in str(told.value)
    return str(told.value).replace(f"{tmp_path}/study/", "")
