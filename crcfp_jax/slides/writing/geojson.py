"""Regions as polygons for QuPath and other viewers."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import shapely

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.band import Band, OutputGrid
from crcfp_jax.slides.writing.regions import Corners, Regions
from crcfp_jax.slides.writing.trace import Outlines, smooth, trace

BACKGROUND = "background"  # a class of this name gets no polygons
DECIMALS = 2  # of slide pixels, as QuPath writes them itself; rings are at least 0.7 output pixels apart
POINTS = 2**18  # corners whose rings are written together
NAMESPACE = uuid.UUID("6f1f5f0e-8f0c-5f0a-9d55-3f2f1c8f5a21")


class GeoJsonWriter:
    """Writes `regions.geojson`: a polygon for each 4-connected region of each class, for QuPath 0.4 and later.

    Coordinates are pixels of the slide at full resolution. Outlines are as in `trace.smooth`: the polygons are valid
    and cover exactly the centres of the region's pixels. A region is written once no further row can belong to it;
    memory holds the outlines of those that reach the last row so far. A class named 'background' has no polygons, nor
    have regions smaller than `least_area`, in µm².
    """

    def __init__(self, folder: Path, grid: OutputGrid, classes: Sequence[ClassInfo], least_area: float):
        self._least_area, self._least_pixels = least_area, least_area / grid.microns_per_pixel**2
        self._small = 0
        self._scale = np.array(grid.scale[::-1])  # x, y
        wanted = [number for number, info in enumerate(classes) if info.name != BACKGROUND]
        self._regions = Regions(grid.width, wanted)
        self._names = [info.name for info in classes]
        self._properties = [
            json.dumps(
                {"objectType": "annotation", "classification": {"name": info.name, "color": list(info.colour)}},
                ensure_ascii=False,
            )
            for info in classes
        ]
        self._file = open(folder / "regions.geojson", "w", encoding="utf-8")  # noqa: SIM115 - open until finish or close
        self._file.write('{"type":"FeatureCollection","features":[')
        self._separator = "\n"

    def write(self, band: Band) -> None:
        """Takes the band's rows; writes the regions that end in them."""
        for corners in self._regions.add(band.classes):
            self._write(corners)

    def finish(self) -> None:
        """Writes the other regions."""
        with self._file:
            self._write(self._regions.finish())
            self._file.write("\n]}\n")

    def close(self) -> None:
        """Closes the file."""
        with suppress(OSError):  # on a full disk; it is given up anyway
            self._file.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out."""
        told = f"{self._small} regions smaller than {self._least_area:g} µm² have no polygon"
        return (f"{told}; --least_area 0 gives them one",) if self._small else ()

    def _write(self, corners: Corners) -> None:
        if not len(corners[0]):
            return
        outlines = trace(corners)
        kept = outlines.areas() >= self._least_pixels
        self._small += int((~kept).sum())
        if not kept.any():
            return
        outlines = outlines.chosen(kept)
        texts = self._rings(outlines)
        for number, rings in zip(outlines.classes.tolist(), np.diff(outlines.regions).tolist(), strict=True):
            exterior = next(texts)
            identity = uuid.uuid5(NAMESPACE, self._names[number] + exterior)  # a region's is the same in every run
            self._file.write(
                f'{self._separator}{{"type":"Feature","id":"{identity}","properties":{self._properties[number]},'
                f'"geometry":{{"type":"Polygon","coordinates":[{exterior}'
            )
            for _ in range(rings - 1):
                self._file.write("," + next(texts))
            self._file.write("]}}")
            self._separator = ",\n"

    def _rings(self, outlines: Outlines) -> Iterator[str]:
        """The coordinates of each ring as JSON; some rings at a time, as one region may have very many."""
        first, offsets = 0, outlines.rings
        while first + 1 < len(offsets):
            last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + POINTS, side="right")) - 1)
            points = outlines.points[offsets[first] : offsets[last]]
            points, rings = smooth(points, offsets[first : last + 1] - offsets[first])
            points = (points * self._scale).round(DECIMALS)
            closed = np.insert(points, rings[1:], points[rings[:-1]], axis=0)
            ends = rings + np.arange(len(rings))
            lines = shapely.from_ragged_array(shapely.GeometryType.LINESTRING, closed, (ends,))
            for text in shapely.to_geojson(lines):
                yield text[text.index("[") : -1]
            first = last
