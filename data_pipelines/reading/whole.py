"""Images and their masks read whole, as training takes them."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from crcfp_jax.common.errors import UserError
from data_pipelines.reading.open import open_slide
from data_pipelines.reading.picture import bmp_depth, picture, png_kind
from data_pipelines.reading.slide import BMP_MAGIC, PNG_MAGIC, check_size, first_bytes

COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with transparency", 6: "RGB with transparency"}
SAVE_CODES = "save the mask as an 8-bit PNG of one channel, grey or with a palette"


def read_image(path: Path) -> tuple[UInt8[np.ndarray, "h w 3"], tuple[str, ...]]:
    """The pixels of an image or slide as a prediction reads them too, and its notes.

    Raises:
        UserError: as `open_slide`; an image too large to be held, or damaged.
    """
    with open_slide(path) as slide:
        check_size(path, *slide.size)
        return slide.read(0, 0, 0, *slide.size), slide.notes


def read_codes(path: Path, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w"]:
    """A mask of class codes, as stored: values of an 8-bit grey PNG or BMP, or of a 1-bit PNG, or indices of a palette.

    Args:
        path: of the mask.
        size: height and width of its image, which it must have; None: any.

    Raises:
        UserError: no such file, too large or damaged; no PNG or BMP, since JPEG alters codes; other kinds of pixels,
            whose values would have to be scaled; another size.
    """
    head = first_bytes(path)
    if not head.startswith((PNG_MAGIC, BMP_MAGIC)):
        raise UserError(f"{path} is no PNG, so it holds no class codes: {SAVE_CODES}")
    with picture(path) as image:
        if head.startswith(PNG_MAGIC):
            depth, colours = png_kind(path)
            kind = COLOUR_TYPES[colours]
        else:
            depth, kind = bmp_depth(path), {"L": "grey", "P": "palette"}.get(image.mode, image.mode)
        if kind != "palette" and (depth, kind) not in ((8, "grey"), (1, "grey")):
            raise UserError(f"{path} is a picture in {depth}-bit {kind}, not a mask of class codes: {SAVE_CODES}")
        codes = np.asarray(image).astype(np.uint8, copy=False)
    if size is not None and codes.shape != size:
        sizes = f"{codes.shape[1]} x {codes.shape[0]} pixels, its image {size[1]} x {size[0]}"
        raise UserError(f"{path} has {sizes}")
    return codes
