"""TIFF of no vendor: stripped or tiled, pyramids, BigTIFF, OME-TIFF; only the segments that a region needs."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Shaped, UInt8

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.common.words import one_line
from data_pipelines.reading.pixels import by_bands
from data_pipelines.reading.slide import ADVICE, LARGEST, Slide, too_large
from data_pipelines.reading.tiff_pages import Conversion, check_end, conversion, microns_per_pixel, pyramid

CACHE = 2**28  # bytes of decoded segments: two rows of tiles of 256 across a slide of 170,000 pixels; or one segment
LARGEST_PART = 2**29  # bytes of a segment; while it is decoded, some three times as many are held
PART = 2**20  # bytes of uncompressed rows read at once
LOOKED_AT = 64  # parts of a picture, for the greatest value in it
JPEG = (6, 7, 34892, 33007)  # the compressions whose segments share tables


class TiffSlide(Slide):
    """A TIFF through tifffile."""

    def __init__(self, path: Path):
        with _user_error_on_read(path):
            self._file = tifffile.TiffFile(path)
        try:
            with _user_error_on_read(path):
                self._open(path)
        except BaseException:
            self._file.close()
            raise

    def _open(self, path: Path) -> None:
        pages = pyramid(path, self._file)
        self._convert, notes = conversion(path, pages[0], lambda: _greatest_values(path, pages[-1]))
        microns, remarks = microns_per_pixel(self._file, pages[0])
        super().__init__(path, tuple((page.imagelength, page.imagewidth) for page in pages), microns, notes + remarks)
        self._file.filehandle.set_lock(True)
        self._segments = [_Segments(path, page) for page in pages]
        self._cache: OrderedDict[tuple[int, int], UInt8[np.ndarray, "h w 3"]] = OrderedDict()
        self._cached = 0  # bytes
        self._decoding: dict[tuple[int, int], Future[UInt8[np.ndarray, "h w 3"]]] = {}
        self._lock = threading.Lock()
        for level in range(len(pages)):  # what can't be decoded is told now, not after hours
            self._segment(level, 0)

    def _read(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        output = np.empty((height, width, 3), np.uint8)
        segments = self._segments[level]
        tall, wide = segments.shape
        for row in range(top // tall, (top + height - 1) // tall + 1):
            for column in range(left // wide, (left + width - 1) // wide + 1):
                y, x = row * tall, column * wide
                above, before = max(y, top), max(x, left)
                segment = self._segment(level, row * segments.across + column)
                part = segment[above - y : top + height - y, before - x : left + width - x]
                output[above - top : above - top + part.shape[0], before - left : before - left + part.shape[1]] = part
        return output

    def _segment(self, level: int, index: int) -> UInt8[np.ndarray, "h w 3"]:
        key = (level, index)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            other = self._decoding.get(key)
            if other is None:
                own = self._decoding[key] = Future()
        if other is not None:
            return other.result()
        try:
            segment = self._segments[level].read(index, self._convert)
        except BaseException as error:
            with self._lock:
                del self._decoding[key]
            own.set_exception(error)
            raise
        with self._lock:
            del self._decoding[key]
            self._cache[key] = segment
            self._cached += segment.nbytes
            while self._cached > CACHE and len(self._cache) > 1:  # one that is larger serves the reads to come
                self._cached -= self._cache.popitem(last=False)[1].nbytes
        own.set_result(segment)
        return segment

    def close(self) -> None:
        self._file.close()


@contextmanager
def _user_error_on_read(path: Path) -> Iterator[None]:
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # tifffile and the codecs raise what they like for damaged bytes
        raise UserError(f"{path} cannot be read as TIFF ({one_line(error)}): copy it again, or {ADVICE}") from error


def _greatest_values(path: Path, page: tifffile.TiffPage) -> Shaped[np.ndarray, " s"]:
    """The greatest stored value of every channel, in parts spread evenly over the page."""
    segments = _Segments(path, page)
    chosen = evenly_spaced(segments.count, LOOKED_AT)
    stored = (segments.stored(index) for index in chosen)  # one at a time: a part may have half a gigabyte
    greatest = [part.max(axis=(0, 1)) for part in stored if part is not None]
    return np.max(greatest, axis=0) if greatest else np.zeros(page.samplesperpixel, int)


class _Segments:
    """The parts in which a page is read: its tiles or strips, or some rows of uncompressed ones."""

    def __init__(self, path: Path, page: tifffile.TiffPage):
        self._page, self._file = page, page.parent.filehandle
        self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self._height, self._width = page.imagelength, page.imagewidth
        tall, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        tall = min(tall, self._height)
        self._count = -(-self._height // tall) * -(-self._width // wide)  # of one plane
        if min(len(page.dataoffsets), len(page.databytecounts)) < self._count * self._planes:
            raise UserError(f"{path} is damaged (some of its data have no place in the file): copy it again")
        check_end(path, page)
        self._tables = (
            {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in JPEG else {}
        )
        samples = page.samplesperpixel // self._planes
        self._row_bytes = self._width * samples * page.bitspersample // 8
        self._by_rows = page.is_contiguous and not page.is_tiled and page.predictor == page.fillorder == 1
        if self._by_rows:
            tall = min(max(1, PART // self._row_bytes), self._height)
        elif tall * wide > LARGEST or tall * wide * page.samplesperpixel * page.bitspersample > 8 * LARGEST_PART:
            kind = "tiles" if page.is_tiled else "strips"
            raise too_large(path, f"has {kind} of {tall} x {wide} pixels")
        self.shape = (tall, wide)  # pixels of a part; at the bottom and the right the image ends earlier
        self.across = -(-self._width // wide)
        self.count = -(-self._height // tall) * self.across

    def read(self, index: int, convert: Conversion) -> UInt8[np.ndarray, "h w 3"]:
        """Pixels of a part, cut at the image's edge; one without data, as sparse files have them, is white."""
        stored = self.stored(index)
        height, width = self._size(index)
        if stored is None:
            return np.full((height, width, 3), 255, np.uint8)
        return by_bands(lambda top, bottom: convert(stored[top:bottom]), height, width)

    def stored(self, index: int) -> Shaped[np.ndarray, "h w s"] | None:
        """Values of a part as stored, cut likewise; None without data."""
        read = self._rows if self._by_rows else self._decode
        planes = [read(index, plane) for plane in range(self._planes)]
        if any(plane is None for plane in planes):
            return None
        height, width = self._size(index)
        return (planes[0] if len(planes) == 1 else np.concatenate(planes, -1))[:height, :width]

    def _size(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.across)
        return (
            min(self.shape[0], self._height - row * self.shape[0]),
            min(self.shape[1], self._width - column * self.shape[1]),
        )

    def _decode(self, index: int, plane: int) -> Shaped[np.ndarray, "h w s"] | None:
        index += plane * self._count
        if self._page.databytecounts[index] == 0:
            return None
        data = self._bytes(self._page.dataoffsets[index], self._page.databytecounts[index])
        return self._page.decode(data, index, **self._tables)[0][0]

    def _rows(self, index: int, plane: int) -> Shaped[np.ndarray, "h w s"]:
        top = index * self.shape[0]
        rows = min(self.shape[0], self._height - top)
        offset = self._page.dataoffsets[0] + (plane * self._height + top) * self._row_bytes
        stored = np.frombuffer(
            self._bytes(offset, rows * self._row_bytes), self._page.parent.byteorder + self._page.dtype.char
        )
        return stored.reshape(rows, self._width, -1).astype(self._page.dtype, copy=False)

    def _bytes(self, offset: int, count: int) -> bytes:
        with self._file.lock:
            self._file.seek(offset)
            data = self._file.read(count)
        if len(data) < count:
            raise ValueError(f"{len(data)} bytes instead of {count}")
        return data
