"""Tiled TIFF files with a pyramid, from rows on disk."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt, UInt8
from tifffile import COMPRESSION, TIFF, TiffWriter

from crcfp_jax.slides.writing.spool import Spool

TILE = 512
SMALLEST = 1024  # pixels of the longer side at which a pyramid ends
CLASSIC_BYTES = 2**32 - 2**25  # a TIFF beyond is a BigTIFF; some room for the tables of tiles

Halve = Callable[[UInt[np.ndarray, "h w"]], UInt[np.ndarray, "h2 w2"]]


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Heights and widths of the levels, the full one first: each half of the one before, rounded up.

    Pixel (y, x) of level k covers exactly the rows [y 2^k, (y + 1) 2^k) and the columns [x 2^k, (x + 1) 2^k) of the
    full level, so that nothing moves from level to level. What a viewer stretches a level by is less than one pixel of
    that level, at the bottom and right border.
    """
    sizes = [(height, width)]
    while max(sizes[-1]) > SMALLEST:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def majority(pixels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h2 w2"]:
    """Halves classes, even sides: the most frequent of each four pixels.

    Taking the nearest pixel would move every level by half a pixel and make thin structures flicker. Where two classes
    have two pixels each, another one of the four decides at each of four neighbouring places: over many places no
    class grows and no border moves.
    """
    a, b, c, d = (np.ascontiguousarray(pixels[y::2, x::2]) for y in (0, 1) for x in (0, 1))
    mixed = np.flatnonzero((a != b) | (a != c) | (a != d))
    fours = np.stack([part.reshape(-1)[mixed] for part in (a, b, c, d)])
    votes = np.zeros(fours.shape, np.uint8)
    for one, other in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
        same = (fours[one] == fours[other]).view(np.uint8) * np.uint8(2)
        votes[one] += same
        votes[other] += same
    y, x = np.divmod(mixed, a.shape[1])
    places = np.arange(len(mixed))
    votes[y % 2 * 2 + x % 2, places] += 1
    a.reshape(-1)[mixed] = fours[votes.argmax(0), places]
    return a


def average(pixels: UInt[np.ndarray, "h w"]) -> UInt[np.ndarray, "h2 w2"]:
    """Halves grey values, even sides: the mean of each four pixels."""
    height, width = pixels.shape
    return cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def is_big(spool: Spool) -> bool:
    """Whether a file of these planes and their pyramid might not fit a classic TIFF."""
    return spool.planes * spool.height * spool.width * spool.dtype.itemsize * 4 / 3 > CLASSIC_BYTES


def write_levels(
    file: TiffWriter,
    spool: Spool,
    folder: Path,
    halve: Halve,
    microns_per_pixel: float,
    full: dict[str, Any],
    reduced: dict[str, Any],
    **shared: Any,
) -> None:
    """Writes all planes of a spool, and their pyramid level by level; every pixel is read once.

    Args:
        file: where to.
        spool: rows of the full level.
        folder: for the scratch files of the other levels.
        halve: makes rows of one level into those of the next.
        microns_per_pixel: of the full level.
        full: what `TiffWriter.write` gets for the full level only.
        reduced: what it gets for the other levels only.
        shared: what it gets for every level.
    """
    sizes = level_sizes(spool.height, spool.width)
    with ExitStack() as stack:
        for level, (height, width) in enumerate(sizes):
            below = None
            if level + 1 < len(sizes):
                below = stack.enter_context(Spool(folder, spool.planes, *sizes[level + 1], spool.dtype.type))
            pixels_per_centimetre = 1e4 / (microns_per_pixel * 2**level)
            tiles = _tiles(spool, below, halve)
            file.write(
                tiles if shared.get("predictor") else _compressed(tiles, **shared.get("compressionargs", {})),
                shape=(spool.planes, height, width) if spool.planes > 1 else (height, width),
                dtype=spool.dtype,
                tile=(TILE, TILE),
                compression="zlib",
                resolution=(pixels_per_centimetre, pixels_per_centimetre),
                resolutionunit="CENTIMETER",
                software="crcfp-jax",
                maxworkers=1,  # more threads hold hundreds of tiles each
                **shared,
                **(reduced if level else full),
            )
            spool = below


def _tiles(spool: Spool, below: Spool | None, halve: Halve) -> Iterator[UInt[np.ndarray, "_ _"]]:
    """Tiles row by row, plane by plane; those at the border are smaller. Writes the next level's rows on the way."""
    for plane in range(spool.planes):
        for top in range(0, spool.height, TILE):
            rows = spool.read(plane, top, min(TILE, spool.height - top))
            if below is not None:
                odd = rows.shape[0] % 2, rows.shape[1] % 2
                even = np.pad(rows, ((0, odd[0]), (0, odd[1])), mode="edge") if any(odd) else rows
                below.write(plane, top // 2, halve(even))
            for left in range(0, spool.width, TILE):
                yield rows[:, left : left + TILE]


def _compressed(tiles: Iterator[UInt[np.ndarray, "_ _"]], level: int | None = None) -> Iterator[bytes]:
    """Tiles as `TiffWriter.write` would compress them; those of one value, as glass is, once for each value."""
    compress, known = TIFF.COMPRESSORS[COMPRESSION.ADOBE_DEFLATE], {}
    for tile in tiles:
        uniform = tile.shape == (TILE, TILE) and bool((tile == tile[0, 0]).all())
        found = known.get(tile[0, 0]) if uniform else None
        if found is None:
            full = np.zeros((TILE, TILE), tile.dtype)
            full[: tile.shape[0], : tile.shape[1]] = tile
            found = compress(full, level)
            if uniform:
                known[tile[0, 0]] = found
        yield found
