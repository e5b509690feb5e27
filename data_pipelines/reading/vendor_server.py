"""The process in which OpenSlide reads: requests come in by standard input, answers go out by standard output.

OpenSlide ends its process where damaged bytes make it ask for more memory than there is, and a fault in one of the
libraries below it does the same. Here that costs one slide. The module `vendor` is the other end.
"""

import itertools
import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import cv2
import numpy as np
import openslide
from jaxtyping import UInt8

from crcfp_jax.common.words import one_line
from data_pipelines.reading.pixels import lay_on_white
from data_pipelines.reading.slide import pixel_size

CACHE = 2**28  # bytes of decoded tiles: two rows of them across a slide of 100,000 pixels
LARGEST_TILE = 2**28  # pixels; damaged bytes can say more
BLOCK = 512  # pixels
HEAD = struct.Struct("<IQ")  # of a message: bytes of its JSON, and of the pixels behind that
BOUNDS = ("openslide.bounds-y", "openslide.bounds-x", "openslide.bounds-height", "openslide.bounds-width")


class OpenSlideFile:
    """A slide through OpenSlide, cropped to its bounds as in QuPath where a scanner saved a larger, empty canvas.

    Raises ValueError or an error of OpenSlide's for damaged bytes.
    """

    def __init__(self, path: str):
        self._handle = openslide.OpenSlide(path)
        self._handle.set_cache(openslide.OpenSlideCache(CACHE))
        properties = self._handle.properties
        sizes = [(height, width) for width, height in self._handle.level_dimensions]
        self._downsamples = self._handle.level_downsamples
        top, left, height, width = (int(properties.get(name, 0)) for name in BOUNDS)
        for level in range(len(sizes)):
            tile = [int(properties.get(f"openslide.level[{level}].tile-{side}", 0)) for side in ("height", "width")]
            if tile[0] * tile[1] > LARGEST_TILE:
                raise ValueError(f"tiles of {tile[0]} x {tile[1]} pixels")
        cropped = height > 0 and width > 0 and height != sizes[0][0] and width != sizes[0][1]
        self._origin = (top, left) if cropped else (0, 0)
        if cropped:
            sizes = [(max(1, round(height / n)), max(1, round(width / n))) for n in self._downsamples]
        microns_y, microns_x = (_number(properties.get(name)) for name in ("openslide.mpp-y", "openslide.mpp-x"))
        microns_per_pixel, notes = pixel_size(microns_y, microns_x)
        self.known = {  # see `Slide`
            "levels": sizes, "microns_per_pixel": microns_per_pixel, "notes": notes, "origin": self._origin,
        }  # fmt: skip

    def read(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        """A region within a level; safe from several threads at once."""
        if self._downsamples[level].is_integer():
            return self._paint(level, top, left, height, width)
        # OpenSlide takes positions in whole pixels of level 0 and interpolates between those of the level: a pixel's
        # value depends on where the region begins. Beginning in fixed places only, it has one value.
        output = np.empty((height, width, 3), np.uint8)
        for y in range(top // BLOCK * BLOCK, top + height, BLOCK):
            for x in range(left // BLOCK * BLOCK, left + width, BLOCK):
                below, right = min(y + BLOCK, top + height), min(x + BLOCK, left + width)
                block = self._paint(level, y, x, below - y, right - x)
                above, before = max(y, top), max(x, left)
                output[above - top : below - top, before - left : right - left] = block[above - y :, before - x :]
        return output

    def _paint(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        factor = self._downsamples[level]
        place = (round(left * factor) + self._origin[1], round(top * factor) + self._origin[0])
        rgba = np.asarray(self._handle.read_region(place, level, (width, height)))
        alpha = rgba[..., 3]
        if alpha.min() < 255:  # no tile there: white as the glass is
            return lay_on_white(rgba[..., :3], alpha)
        return cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)

    def close(self) -> None:
        """Closes the file."""
        self._handle.close()


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


class Server:
    """Answers requests (operation, arguments) on one slide at a time."""

    def __init__(self) -> None:
        self._file: OpenSlideFile | None = None

    def open(self, path: str) -> dict[str, Any] | None:
        """What is known of the slide; None where the file is of no vendor that OpenSlide knows.

        Not so TIFFs of no vendor: of these OpenSlide reads the tiled ones only, none of their SubIFDs, and CMYK, CIELAB
        or 16-bit grey without a word.
        """
        if openslide.OpenSlide.detect_format(path) in (None, "generic-tiff"):
            return None
        self._file = OpenSlideFile(path)
        return self._file.known

    def read(self, *region: int) -> UInt8[np.ndarray, "h w 3"]:
        """A region of the open slide."""
        return self._file.read(*region)

    def close(self) -> None:
        """Closes the open slide, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None


def send(file: BinaryIO, *message: Any) -> None:
    """Writes one message: what JSON can say, and pixels, uint8, as the last part or not at all.

    No pickle, which is a program: this process may be one whose memory a damaged slide has changed.
    """
    *parts, last = message
    pixels = last if isinstance(last, np.ndarray) else None
    head = json.dumps([*parts, last] if pixels is None else [*parts, pixels.shape]).encode()
    file.write(HEAD.pack(len(head), 0 if pixels is None else pixels.size) + head)
    if pixels is not None:
        file.write(np.ascontiguousarray(pixels).data)
    file.flush()


def receive(file: BinaryIO) -> list[Any]:
    """Reads one message; EOFError where there is none any more."""
    head, size = HEAD.unpack(_read(file, bytearray(HEAD.size)))
    message = json.loads(_read(file, bytearray(head)))
    if size:
        *parts, shape = message
        message = [*parts, np.frombuffer(_read(file, bytearray(size)), np.uint8).reshape(shape)]
    return message


def _read(file: BinaryIO, buffer: bytearray) -> bytearray:
    if file.readinto(buffer) < len(buffer):
        raise EOFError
    return buffer


def main() -> None:
    """Answers until the other end is closed, which is also what its death does."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the other end is to finish what it is at
        signal.signal(number, signal.SIG_IGN)
    answers, lock = os.fdopen(os.dup(1), "wb"), threading.Lock()
    os.dup2(2, 1)  # what a library prints is no answer
    server = Server()

    def answer(number: int, operation: Callable[..., Any], arguments: list[Any]) -> None:
        try:
            message = (number, None, operation(*arguments))
        except Exception as error:  # OpenSlide and the codecs raise what they like for damaged bytes
            message = (number, [isinstance(error, MemoryError), one_line(error)], None)
        with lock:
            send(answers, *message)

    with ThreadPoolExecutor() as pool:
        for number in itertools.count():
            try:
                name, *arguments = receive(sys.stdin.buffer)
            except EOFError:
                os._exit(0)  # without waiting for what is being read
            pool.submit(answer, number, getattr(server, name), arguments)
