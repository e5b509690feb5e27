"""Mask images of every kind: class codes, 0 and 255, palettes, colours, numbers of objects."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Integer, UInt8

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.words import one_line
from data_pipelines.reading.open import TIFF_MAGIC
from data_pipelines.reading.picture import picture, png_kind
from data_pipelines.reading.slide import BMP_MAGIC, PNG_MAGIC, check_size, first_bytes
from data_pipelines.reading.tiff_pages import page_chain

UNKNOWN = -1  # value of a transparent pixel
BLOCK = 2**20  # pixels looked at together
# Compressions of TIFF that keep values: none, CCITT's, LZW, Deflate, PackBits, LZMA, Zstandard.
KEEPING = (1, 2, 3, 4, 5, 8, 32946, 32773, 34925, 50000)
GREY, PALETTE, COLOURS = ("MINISBLACK", "MINISWHITE"), "PALETTE", "RGB"  # pixels of TIFF
SAVE = "save it as a PNG of one channel, grey or with a palette"

Values = Integer[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask as it is stored.

    `values`: codes, palette indices, or colours as red * 65536 + green * 256 + blue; UNKNOWN where it is transparent.
    A TIFF's note that 0 is white changes nothing: tifffile writes it with every mask of one bit.
    """

    path: Path
    values: Values
    colours: bool

    def counts(self) -> dict[int, int]:
        """Pixels of each value."""
        found: Counter[int] = Counter()
        for _, block in self._blocks():
            if block.dtype in (np.uint8, np.uint16):
                counts = np.bincount(block.ravel())
                values = np.flatnonzero(counts)
                counts = counts[values]
            else:
                values, counts = np.unique(block, return_counts=True)
            found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        return dict(sorted(found.items()))

    def label(self, labels: Mapping[int, int]) -> UInt8[np.ndarray, "h w"]:
        """The label that `labels` has for each value, all of which it must hold."""
        values = np.array(sorted(labels), np.int64)
        table = np.array([labels[value] for value in values.tolist()], np.uint8)
        output = np.empty(self.values.shape, np.uint8)
        for rows, block in self._blocks():
            output[rows] = table[np.searchsorted(values, block)]
        return output

    def _blocks(self) -> Iterator[tuple[slice, Values]]:
        """Some rows after others: what is computed of a mask would take many times its memory."""
        height, width = self.values.shape
        step = max(1, BLOCK // max(1, width))
        for top in range(0, height, step):
            yield slice(top, top + step), self.values[top : top + step]


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Mask:
    """Reads a PNG, BMP or TIFF of whole numbers or colours.

    Args:
        path: of the mask.
        size: height and width of its image, which it must have; None: any.

    Raises:
        UserError: too large or damaged; a JPEG, which alters values; no whole numbers; another size.
    """
    head = first_bytes(path)
    if head in TIFF_MAGIC:
        values, colours = _read_tiff(path)
    elif head.startswith((PNG_MAGIC, BMP_MAGIC)):
        values, colours = _read_picture(path, head.startswith(PNG_MAGIC))
    else:
        raise UserError(f"{path} is no PNG, TIFF or BMP; a JPEG alters the values of a mask: {SAVE}")
    if size is not None and values.shape != size:
        sizes = f"{values.shape[1]} x {values.shape[0]} pixels, its image {size[1]} x {size[0]}"
        raise UserError(f"{path} has {sizes}: a mask has the size of its image")
    return Mask(path, values, colours)


def _read_picture(path: Path, is_png: bool) -> tuple[Values, bool]:
    with picture(path) as image:
        depth = png_kind(path)[0] if is_png else 8
        pixels, mode = np.asarray(image), image.mode
    if mode == "1":
        return pixels.astype(np.uint8), False
    if mode in ("L", "P"):
        # Pillow spreads grey values of 2 and 4 bits over 0 to 255.
        return (pixels // (255 // (2**depth - 1)) if mode == "L" and depth < 8 else pixels), False
    if mode == "I" or mode.startswith("I;16"):
        return pixels.astype(np.uint16 if pixels.max(initial=0) < 2**16 else np.int32), False
    if depth == 8 and mode == "LA":
        return _hidden(pixels[..., 0], pixels[..., 1]), False
    if depth == 8 and mode in ("RGB", "RGBA"):
        return _colours(pixels), True
    raise UserError(f"{path} is a picture of the kind {mode} with {depth} bits, not a mask: {SAVE}")


def _read_tiff(path: Path) -> tuple[Values, bool]:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            check_size(path, page.imagelength, page.imagewidth)
            kind, planes = _check_kind(path, file, page), page.planarconfig == 2 and page.samplesperpixel > 1
            _check_whole(path, file, page)
            pixels = page.asarray()
        if kind == COLOURS:
            return _colours(np.moveaxis(pixels, 0, -1) if planes else pixels), True
        pixels = pixels.reshape(page.imagelength, page.imagewidth)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # tifffile and the codecs raise what they like for damaged bytes
        raise UserError(f"{path} cannot be read as TIFF ({one_line(error)}): copy it again") from error
    pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    if pixels.min(initial=0) < 0:
        raise UserError(f"{path} holds negative values ({pixels.min()}): {SAVE}")
    return pixels, False


def _check_kind(path: Path, file: tifffile.TiffFile, page: tifffile.TiffPage) -> str:
    """The kind of a page's pixels; UserError for one that no mask has, before it is decoded."""
    if page.compression not in KEEPING:
        name = getattr(page.compression, "name", str(page.compression)[:40])
        raise UserError(f"{path} is compressed as {name}, which may alter the values of a mask: {SAVE}")
    images = sum(other.shaped == page.shaped for other in page_chain(path, file))
    if images > 1 or page.imagedepth > 1 or (file.is_imagej and int(file.imagej_metadata.get("images", 1)) > 1):
        raise UserError(f"{path} holds several images of one size: save the mask alone")
    kind = getattr(page.photometric, "name", str(page.photometric))
    dtype = "colours" if page.dtype is None else str(page.dtype)
    if kind == COLOURS and page.samplesperpixel in (3, 4) and page.dtype == np.uint8:
        return kind
    if kind not in (*GREY, PALETTE, COLOURS) or page.samplesperpixel != 1:
        raise UserError(f"{path} has {page.samplesperpixel} channels ({kind}, {dtype}), not a mask's: {SAVE}")
    if page.dtype is None or page.dtype.kind not in "bui" or page.dtype.itemsize > 4:
        raise UserError(f"{path} holds {dtype} values, not whole numbers of at most 32 bits: {SAVE}")
    return kind


def _check_whole(path: Path, file: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """UserError for a page of which tifffile would decode a part, and take the rest for zeros."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if len(ends) < math.prod(page.chunked) or max(ends) > file.filehandle.size:
        raise UserError(f"{path} is truncated or damaged: copy it again")


def _colours(pixels: UInt8[np.ndarray, "h w _"]) -> Values:
    packed = pixels[..., 0].astype(np.int32)
    for channel in (1, 2):
        packed = (packed << 8) | pixels[..., channel]
    return packed if pixels.shape[2] == 3 else _hidden(packed, pixels[..., 3])


def _hidden(values: Values, alpha: UInt8[np.ndarray, "h w"]) -> Values:
    return np.where(alpha == 0, np.int32(UNKNOWN), values.astype(np.int32))
