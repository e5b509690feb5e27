"""A study to try things with, of synthetic tissue: `python docs/examples/study.py study`.

Writes study/annotated (an image of each of four hospitals, with strokes and partial regions as someone draws them in
QuPath), study/unannotated (two images of each of eight hospitals), and new/, images that come after the training.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import tifffile

from data_pipelines.builders.bcss import CLASSES
from data_pipelines.synthesis import synthesise

SIDE, MICRONS = 640, 0.75  # of an image, pixels; of a pixel, µm
SEED = 7
STROKES = 3  # of each class on an image
LEAST = 40  # pixels: length of a stroke


def write_study(folder: Path) -> None:
    """Writes everything; a folder that is there is added to."""
    for hospital in ("H01", "H03", "H05", "H07"):
        label = _write_image(folder / "annotated" / f"{hospital}-a.tif", hospital, 0)
        drawn = [shape for number in range(len(CLASSES)) for shape in _draw(label, number)]
        collection = {"type": "FeatureCollection", "features": drawn}
        (folder / "annotated" / f"{hospital}-a.geojson").write_text(json.dumps(collection))
    for number in range(1, 9):
        for index in (1, 2):
            _write_image(folder / "unannotated" / f"H{number:02}-{index}.tif", f"H{number:02}", index)
    for hospital in ("H11", "H12"):
        _write_image(folder.with_name("new") / f"{hospital}.tif", hospital, 3)


def _write_image(path: Path, hospital: str, index: int) -> np.ndarray:
    image, label = synthesise(SEED, hospital, index, SIDE)
    path.parent.mkdir(parents=True, exist_ok=True)
    per_centimetre = (10_000 / MICRONS,) * 2
    options = {"tile": (256, 256), "compression": "zlib", "photometric": "rgb"}
    tifffile.imwrite(path, image, resolution=per_centimetre, resolutionunit="CENTIMETER", **options)
    return label


def _draw(label: np.ndarray, number: int) -> list[dict]:
    """The outline of the largest part of a class, a little inside it, and a few strokes along rows elsewhere."""
    inner = cv2.erode((label == number).astype(np.uint8), np.ones((9, 9), np.uint8))
    outlines, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    shapes = []
    largest = max(outlines, key=cv2.contourArea, default=None)
    if largest is not None and len(largest) > 3:
        ring = (cv2.approxPolyDP(largest, 1.5, True)[:, 0] + 0.5).tolist()
        shapes.append(_feature("Polygon", [[*ring, ring[0]]], number))
        cv2.drawContours(inner, [largest], -1, 0, -1)
    for row in np.random.default_rng(number).permutation(SIDE):
        edges = np.flatnonzero(np.diff(inner[row], prepend=0, append=0))
        runs = [(start, stop) for start, stop in edges.reshape(-1, 2).tolist() if stop - start > LEAST]
        if runs and len(shapes) < 1 + STROKES:
            start, stop = runs[0]
            shapes.append(_feature("LineString", [[start, row + 0.5], [stop, row + 0.5]], number))
            inner[max(0, row - 40) : row + 40] = 0
    return shapes


def _feature(kind: str, coordinates: list, number: int) -> dict:
    info = CLASSES[number]
    classification = {"name": info.name, "color": list(info.colour)}
    properties = {"objectType": "annotation", "classification": classification}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


if __name__ == "__main__":
    write_study(Path(sys.argv[1]))
