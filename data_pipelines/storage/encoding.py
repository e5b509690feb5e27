"""Sources read, checked and encoded, several at a time and in their order."""

import hashlib
import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.errors import UserError
from data_pipelines.data_set import Record, within
from data_pipelines.recipes import Recipe, Source, Tile

MOST_AT_ONCE = 8  # sources, which are held in memory whole


@dataclass(frozen=True)
class EncodedTile:
    """A tile as it is stored. `record` has no position yet."""

    record: Record
    image: bytes  # PNG
    label: bytes  # PNG
    pixels: np.ndarray  # int64 [classes], labelled as each
    notes: tuple[str, ...]
    content: tuple[bytes | np.ndarray, ...]  # what the data set's digest is over


@dataclass(frozen=True)
class EncodedSource:
    """All tiles of a source. `digest`: of their content; b'' where the data set's takes them one by one."""

    tiles: tuple[EncodedTile, ...]
    digest: bytes = b""


def encode_source(recipe: Recipe, source: Source) -> EncodedSource:
    """Reads the tiles of a source.

    Raises:
      UserError: from the source, or a mask with a value that is no class.
      ValueError: a tile that breaks the contract (a defect of the recipe).
    """
    tiles = tuple(_encode(recipe, source, tile) for tile in source.tiles())
    if not source.key:
        return EncodedSource(tiles)
    return EncodedSource(tiles, hashlib.sha256(b"".join(tile.content[0] for tile in tiles)).digest())


def _encode(recipe: Recipe, source: Source, tile: Tile) -> EncodedTile:
    height, width = tile.image.shape[:2]
    label = tile.label if tile.label is not None else np.full((height, width), IGNORED, np.uint8)
    if tile.image.shape != (height, width, 3) or tile.image.dtype != np.uint8:
        raise ValueError(f"{tile.id}: image {tile.image.dtype} {tile.image.shape} is not uint8 [h, w, 3]")
    if tile.microns_per_pixel is not None and not tile.microns_per_pixel > 0:
        raise ValueError(f"{tile.id}: {tile.microns_per_pixel} µm per pixel is no size")
    if label.shape != (height, width) or label.dtype != np.uint8:
        raise ValueError(f"{tile.id}: label {label.dtype} {label.shape} is not uint8 [{height}, {width}]")
    image, label = np.ascontiguousarray(tile.image), np.ascontiguousarray(label)
    _check_codes(recipe, source, _count(label))
    pixels = _count(label if tile.core is None else within(tile.core, label))[: len(recipe.classes)]
    content = (tile.id.encode(), image, label)
    if source.key:
        digest = hashlib.sha256()
        for part in content:
            digest.update(part)
        content = (digest.digest(),)
    pixel = recipe.microns_per_pixel if tile.microns_per_pixel is None else tile.microns_per_pixel
    where = (tile.hospital, tile.patient, tile.source_image, int(tile.x), int(tile.y))
    record = Record(tile.id, source.split, -1, *where, bool(pixels.any()), pixel, height, width, tile.core)
    level = recipe.png_level
    return EncodedTile(record, _png(image, level), _png(label, level), pixels, tile.notes, content)


def _count(label: np.ndarray) -> np.ndarray:
    return np.bincount(label.ravel(), minlength=256)


def _check_codes(recipe: Recipe, source: Source, counts: np.ndarray) -> None:
    """Raises UserError where a mask has a value that is no class."""
    wrong = len(recipe.classes) + np.flatnonzero(counts[len(recipe.classes) : IGNORED])
    if wrong.size:
        known = ", ".join(f"{code} {info.name}" for code, info in enumerate(recipe.classes))
        held = ", ".join(map(str, wrong[:8]))
        raise UserError(f"the mask of {source.name} holds {held}; known are {known}, and {IGNORED} for not annotated")


def _png(pixels: np.ndarray, level: int | None) -> bytes:
    """A PNG as TFDS encodes it, when no level of compression is given."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", **({} if level is None else {"compress_level": level}))
    return buffer.getvalue()


@contextmanager
def encoded_ahead(recipe: Recipe, sources: Sequence[Source]) -> Iterator[Iterator[Future[EncodedSource]]]:
    """Futures of all sources in their order, of which a few are under way in threads: readers and zlib free the GIL."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = min(MOST_AT_ONCE, cores)
    with ThreadPoolExecutor(at_once, "encode") as pool:
        waiting: deque[Future[EncodedSource]] = deque()
        rest = iter(sources)

        def refill() -> None:
            while len(waiting) <= at_once and (source := next(rest, None)) is not None:
                waiting.append(pool.submit(encode_source, recipe, source))

        def futures() -> Iterator[Future[EncodedSource]]:
            refill()
            while waiting:
                yield waiting.popleft()
                refill()

        try:
            yield futures()
        finally:
            for future in waiting:
                future.cancel()
