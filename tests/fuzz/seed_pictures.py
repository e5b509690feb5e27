"""Pictures and slides as predict and build read them, and masks of class codes and of colours."""

import io
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image
from seed import OneFile, digest_of

SIDE = 96
RNG = np.random.default_rng(1)
PICTURE = cv2.resize(RNG.integers(0, 256, (9, 9, 3), np.uint8), (SIDE, SIDE + 10), interpolation=cv2.INTER_CUBIC)
ALPHA = np.tile(np.arange(SIDE, dtype=np.uint8) + 100, (SIDE + 10, 1))
CODES = (PICTURE[..., 0] // 64).astype(np.uint8)
READ_AT_MOST = 2**22  # pixels of a level; of one that damage has made larger, its corner


def _read_slide(path: Path) -> bytes:
    from data_pipelines.reading.open import open_slide

    with open_slide(path) as slide:
        parts: list[Any] = [slide.levels, slide.microns_per_pixel]
        for level, (height, width) in enumerate(slide.levels):
            if height * width > READ_AT_MOST:
                height, width = min(height, 512), min(width, 512)
            parts.append(slide.read(level, 0, 0, height, width))
    return digest_of(parts)


def _pillow(array: np.ndarray, kind: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **settings)
    return buffer.getvalue()


def _deep_png() -> bytes:
    return cv2.imencode(".png", PICTURE.astype(np.uint16) * 257)[1].tobytes()


def _palette_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).quantize(16).save(buffer, "PNG")
    return buffer.getvalue()


def _tiff(*levels: np.ndarray, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    settings = {"photometric": "rgb", "metadata": None, **settings}
    with tifffile.TiffWriter(buffer, bigtiff=settings.pop("bigtiff", False), ome=False) as file:
        for number, level in enumerate(levels):
            file.write(level, subfiletype=int(number > 0), **settings)
    return buffer.getvalue()


def _ome_tiff() -> bytes:
    buffer = io.BytesIO()
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(buffer, PICTURE, photometric="rgb", ome=True, metadata=metadata, compression="zlib")
    return re.sub(rb"urn:uuid:[0-9a-f-]{36}", b"urn:uuid:" + b"0" * 36, buffer.getvalue())


def _svs() -> bytes:
    buffer = io.BytesIO()
    description = "Aperio Image Library v11.2.1 \r\n96x106 (64x64) LZW|AppMag = 20|MPP = 0.2500"
    with tifffile.TiffWriter(buffer) as file:
        for level in (PICTURE, PICTURE[::2, ::2]):
            settings = {"photometric": "rgb", "compression": "lzw", "metadata": None, "description": description}
            file.write(level, tile=(64, 64), **settings)
    return buffer.getvalue()


HALF = np.ascontiguousarray(PICTURE[::2, ::2])
GREY = {"photometric": "minisblack"}
TILED = {"tile": (32, 48)}
DEFLATED = {"compression": "zlib", "predictor": True, "rowsperstrip": 16}
PICTURES = {
    "rgb.png": OneFile(lambda: _pillow(PICTURE, "PNG"), _read_slide, "png", checked=True),
    "alpha.png": OneFile(lambda: _pillow(np.dstack([PICTURE, ALPHA]), "PNG"), _read_slide, "png", checked=True),
    "palette.png": OneFile(_palette_png, _read_slide, "png", checked=True),
    "deep.png": OneFile(_deep_png, _read_slide, "png", checked=True),
    "a.jpg": OneFile(lambda: _pillow(PICTURE, "JPEG", quality=90), _read_slide, "jpeg"),
    "progressive.jpg": OneFile(lambda: _pillow(PICTURE, "JPEG", progressive=True), _read_slide, "jpeg"),
    "a.bmp": OneFile(lambda: _pillow(PICTURE, "BMP"), _read_slide),
    "raw.tif": OneFile(lambda: _tiff(PICTURE, rowsperstrip=16), _read_slide, "tiff"),
    "planes.tif": OneFile(
        lambda: _tiff(np.moveaxis(PICTURE, -1, 0).copy(), planarconfig="separate", **TILED), _read_slide, "tiff"
    ),
    "deflate.tif": OneFile(lambda: _tiff(PICTURE, **DEFLATED), _read_slide, "tiff"),
    "deep-deflate.tif": OneFile(lambda: _tiff(PICTURE.astype(np.uint16) * 257, **DEFLATED), _read_slide, "tiff"),
    "lzw.tif": OneFile(lambda: _tiff(PICTURE, compression="lzw", rowsperstrip=16), _read_slide, "tiff"),
    "zstd.tif": OneFile(lambda: _tiff(PICTURE, compression="zstd", **TILED), _read_slide, "tiff"),
    "jpeg.tif": OneFile(lambda: _tiff(PICTURE, HALF, compression="jpeg", **TILED), _read_slide, "tiff"),
    "big.tif": OneFile(lambda: _tiff(PICTURE, HALF, compression="zlib", bigtiff=True, **TILED), _read_slide, "tiff"),
    "alpha.tif": OneFile(lambda: _tiff(np.dstack([PICTURE, ALPHA]), extrasamples=["unassalpha"]), _read_slide, "tiff"),
    "ome.tif": OneFile(_ome_tiff, _read_slide, "tiff"),
    "aperio.svs": OneFile(_svs, _read_slide, "tiff"),
}


def _read_mask(path: Path) -> bytes:
    from data_pipelines.annotations.masks import read_mask

    mask = read_mask(path)
    return digest_of([mask.values.shape, mask.values.astype(np.int64), mask.colours])


def _read_codes(path: Path) -> bytes:
    from data_pipelines.reading.whole import read_codes

    codes = read_codes(path)
    return digest_of([codes.shape, codes])


MASKS = {
    "codes.png": OneFile(lambda: _pillow(CODES, "PNG"), _read_codes, "png", checked=True),
    "codes.bmp": OneFile(lambda: _pillow(CODES, "BMP"), _read_codes),
    "mask.png": OneFile(lambda: _pillow(PICTURE, "PNG"), _read_mask, "png", checked=True),
    "mask.tif": OneFile(lambda: _tiff(CODES, **GREY, compression="zlib", rowsperstrip=16), _read_mask, "tiff"),
    "mask-raw.tif": OneFile(lambda: _tiff(CODES, **GREY, **TILED), _read_mask, "tiff"),
}
