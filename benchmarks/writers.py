"""The files of a slide: how many megapixels a second each writer takes on one core, on synthetic class maps.

    python benchmarks/writers.py [--rows 4800] [--writers geojson,overlay] [--maps tissue,nuclei] [--digest]

The maps are 20,000 pixels wide and come in bands of 240 rows. `tissue`: 30 % of the map in blobs, five classes with
borders as a network draws them, nothing analysed elsewhere. `nuclei`: everything analysed, 1000 nuclei for each million
pixels in regions of other classes. Prints processor time as megapixels of the map a second, of `write` and `finish`
apart and of both.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.formats import FORMATS, default_formats
from crcfp_jax.slides.writing.band import NOT_ANALYSED, Band, OutputGrid
from crcfp_jax.slides.writing.mask import PNG_PIXELS
from data_pipelines.reading.slide import Slide

WIDTH = 20_000
BAND = 240  # rows
MICRONS_PER_PIXEL = 0.5
CLASSES = tuple(
    ClassInfo(name, colour)
    for name, colour in (
        ("tumour", (200, 30, 30)),
        ("stroma", (30, 90, 200)),
        ("lymphocytes", (240, 200, 20)),
        ("necrosis", (90, 60, 40)),
        ("nuclei", (60, 160, 60)),
    )
)
COARSE = 8  # pixels a cell of the noise that regions are made of
TISSUE = 0.3  # share of the map
NUCLEI = 1e-3  # a pixel


class Glass(Slide):
    """A white slide."""

    def __init__(self, height: int, width: int):
        sizes = tuple((-(-height // factor), -(-width // factor)) for factor in (1, 4, 16))
        super().__init__(Path("glass"), sizes, MICRONS_PER_PIXEL, ())

    def _read(self, level, top, left, height, width):
        return np.full((height, width, 3), 242, np.uint8)

    def close(self):
        pass


def noise(rng: np.random.Generator, height: int, width: int, sigma: float) -> np.ndarray:
    """Smooth noise of deviation 1: float32 [height, width]."""
    field = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), sigma)
    return field / field.std()


def regions(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """The class of every pixel, regions of some hundred pixels with borders that wind: uint8 [rows, WIDTH]."""
    height, width = -(-rows // COARSE), WIDTH // COARSE
    best = np.full((rows, WIDTH), -np.inf, np.float32)
    found = np.zeros((rows, WIDTH), np.uint8)
    for number in range(classes):
        field = noise(rng, height, width, 12) + 0.15 * noise(rng, height, width, 1.2)
        field = cv2.resize(field, (WIDTH, rows), interpolation=cv2.INTER_LINEAR)
        np.copyto(found, np.uint8(number), where=field > best)
        np.maximum(best, field, out=best)
    return found


def tissue_map(rows: int) -> np.ndarray:
    """Blobs of tissue of all classes on glass: uint8 [rows, WIDTH]."""
    rng = np.random.default_rng(0)
    found = regions(rng, rows, len(CLASSES))
    field = noise(rng, -(-rows // COARSE), WIDTH // COARSE, 60)
    field = cv2.resize(field, (WIDTH, rows), interpolation=cv2.INTER_LINEAR)
    found[field < np.quantile(field[::8, ::8], 1 - TISSUE)] = NOT_ANALYSED
    return found


def nuclei_map(rows: int) -> np.ndarray:
    """Nuclei of about 16 pixels in regions of the other classes: uint8 [rows, WIDTH]."""
    rng = np.random.default_rng(1)
    found = regions(rng, rows, len(CLASSES) - 1)
    count = round(rows * WIDTH * NUCLEI)
    places = np.stack([rng.integers(0, WIDTH, count), rng.integers(0, rows, count)], 1).tolist()
    axes, turns = rng.integers(5, 11, (count, 2)).tolist(), rng.integers(0, 180, count).tolist()
    for place, sides, turn in zip(places, axes, turns, strict=True):
        cv2.ellipse(found, place, sides, turn, 0, 360, len(CLASSES) - 1, -1)
    return found


MAPS = {"tissue": tissue_map, "nuclei": nuclei_map}


def bands(classes: np.ndarray, planes: bool) -> Iterator[Band]:
    """The map from the top to the bottom; with probabilities and uncertainty only where they are needed."""
    sure = np.random.default_rng(2).integers(204, 256, (BAND, WIDTH), np.uint8)
    for top in range(0, len(classes), BAND):
        part = classes[top : top + BAND]
        shown, seen = sure[: len(part)], part != NOT_ANALYSED
        if not planes:
            yield Band(top, part)
            continue
        probabilities = np.empty((*part.shape, len(CLASSES)), np.uint8)
        for number in range(len(CLASSES)):
            probabilities[..., number] = np.where(part == number, shown, (255 - shown) // (len(CLASSES) - 1)) * seen
        yield Band(top, part, probabilities, 25 * (255 - shown).astype(np.uint16) * seen)


def measure(name: str, classes: np.ndarray, digest: bool) -> tuple[float, float]:
    """Processor seconds of a writer's `write` and `finish`."""
    height = len(classes)
    grid = OutputGrid(height, WIDTH, (1.0, 1.0), MICRONS_PER_PIXEL)
    writing = 0.0
    with tempfile.TemporaryDirectory() as folder:
        given = {"folder": Path(folder), "grid": grid, "classes": CLASSES, "least_area": 0.0}
        writer = FORMATS[name].open(slide=Glass(height, WIDTH), **given)
        for band in bands(classes, planes=name in ("probabilities", "uncertainty")):
            started = time.process_time()
            writer.write(band)
            writing += time.process_time() - started
        started = time.process_time()
        writer.finish()
        finishing = time.process_time() - started
        writer.close()
        if digest:
            for file in sorted(Path(folder).iterdir()):
                print(f"  {file.name} {file.stat().st_size} {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}")
    return writing, finishing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4800, help="of the maps")
    parser.add_argument("--writers", default=",".join(FORMATS), help="comma-separated")
    parser.add_argument("--maps", default=",".join(MAPS), help="comma-separated")
    parser.add_argument("--digest", action="store_true", help="print the size and the digest of each file")
    options = parser.parse_args()
    print("map writer write finish both   (megapixels a second and core)")
    for name in options.maps.split(","):
        classes = MAPS[name](options.rows)
        default = 0.0
        for writer in options.writers.split(","):
            # A mask of this many pixels is a TIFF, of fewer rows a PNG.
            tops = [options.rows] + [PNG_PIXELS // WIDTH // BAND * BAND] * (writer == "mask")
            for rows in sorted({min(options.rows, top) for top in tops}):
                part = classes[:rows]
                writing, finishing = measure(writer, part, options.digest)
                rates = [part.size / 1e6 / max(1e-9, seconds) for seconds in (writing, finishing, writing + finishing)]
                shown = f"{writer} ({'TIFF' if part.size > PNG_PIXELS else 'PNG'})" if writer == "mask" else writer
                print(name, shown, *(f"{rate:.0f}" for rate in rates), flush=True)
                if rows == options.rows and writer in default_formats():
                    default += writing + finishing
        if default:
            print(f"{name} all of the default {classes.size / 1e6 / default:.0f}", flush=True)


if __name__ == "__main__":
    main()
