"""Regions as polygons for QuPath and other viewers."""

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt32

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.slides.writing.band import Band, OutputGrid
from crcfp_jax.slides.writing.regions import Corners, Regions
from crcfp_jax.slides.writing.trace import Outlines, smooth, trace

BACKGROUND = "background"  # a class of this name gets no polygons
DECIMALS = 2  # of slide pixels, as QuPath writes them itself; rings are at least 0.7 output pixels apart
POINTS = 2**15  # corners whose rings are written together: what they need stays in the processor's cache
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
        self._small += int(np.count_nonzero(~kept))
        if not kept.any():
            return
        if not kept.all():
            outlines = outlines.chosen(kept)
        texts = self._rings(outlines)
        for number, rings in zip(outlines.classes.tolist(), np.diff(outlines.regions).tolist(), strict=True):
            exterior = next(texts)
            identity = _identity(self._names[number] + exterior)  # a region's is the same in every run
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
            yield from ring_texts(points * self._scale, rings)
            first = last


def _identity(text: str) -> str:
    """`uuid.uuid5` of a text, which takes three times as long by way of an object."""
    digest = bytearray(hashlib.sha1(NAMESPACE.bytes + text.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # version 5
    digest[8] = digest[8] & 0x3F | 0x80
    digits = digest.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def ring_texts(points: Float64[np.ndarray, "points 2"], rings: Int64[np.ndarray, "ring_offsets"]) -> list[str]:
    """Rings as JSON, closed, to hundredths: '[[0.5,0.0],[1.0,0.25],...,[0.5,0.0]]'.

    Args:
        points: x, y, not negative.
        rings: where each begins in `points`, and the end.
    """
    hundredths = np.rint(points * 10**DECIMALS)
    whole = np.floor(hundredths / 10**DECIMALS)
    places = (hundredths - whole * 10**DECIMALS).astype(np.intp)
    whole = whole.astype(np.int64)
    groups = 1 + sum(int(whole.max()) >= 10**digits for digits in (4, 8, 12))
    # Of each point the characters of x, of y and of what follows, by fours.
    fours = np.empty((len(points), 2 * groups + 3), np.uint32)
    for axis, after in enumerate((_X_PLACES, _Y_PLACES)):
        rest, column = whole[:, axis], axis * (groups + 1)
        fours[:, column + groups] = after[places[:, axis]]
        for group in range(groups - 1, -1, -1):
            more, four = np.divmod(rest, 10**4)
            digits = _LAST_DIGITS if group == groups - 1 else _DIGITS
            fours[:, column + group] = digits[four + 10**4 * (more > 0)]
            rest = more
    fours[:, -1] = _NEXT_POINT
    ends = rings[1:] + np.arange(len(rings) - 1)
    closed = np.insert(np.arange(len(points)), rings[1:], rings[:-1])
    fours = fours.take(closed, 0)
    fours[ends, -1] = _NEXT_RING
    characters = fours.view(np.uint8).reshape(-1)
    characters = characters.take(np.flatnonzero(characters != 0))
    return ("[[" + characters.tobytes().decode("ascii")).split("\n")[:-1]


def _fours(texts: Iterable[str]) -> UInt32[np.ndarray, "n"]:
    """Texts of at most four characters as one number each; 0 stands for no character."""
    return np.array([text.encode("ascii") for text in texts], "S4").view(np.uint32)


# Four digits that begin a number, without zeros in front of them; from 10,000 on four that follow others.
_DIGITS = _fours(
    [*(str(number) if number else "" for number in range(10**4)), *(f"{number:04}" for number in range(10**4))]
)
_LAST_DIGITS = np.append(_fours(["0"]), _DIGITS[1:])  # the whole number may be 0
_X_PLACES, _Y_PLACES = (_fours(f".{n // 10}{n % 10 or ''}{after}" for n in range(100)) for after in ",]")
_NEXT_POINT, _NEXT_RING = _fours([",[", "]\n[["])
