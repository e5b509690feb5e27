"""The one way to open a slide or a picture."""

import os
from pathlib import Path

from crcfp_jax.common.errors import UserError
from data_pipelines.reading.slide import ADVICE, BMP_MAGIC, INSTALL, PNG_MAGIC, Slide, first_bytes

# A DICOM slide is many .dcm files of which any one opens it all, so a folder of them is not taken for so many slides.
SUFFIXES = {
    ".bif", ".bmp", ".btf", ".jpeg", ".jpg", ".mrxs", ".ndpi", ".png", ".ptif", ".ptiff", ".qptiff", ".scn", ".svs",
    ".svslide", ".tf2", ".tf8", ".tif", ".tiff",
}  # fmt: skip
# Pictures and slides of other kinds, which a user who gives a folder would miss without a word.
OTHER_SUFFIXES = {
    ".afi", ".avif", ".czi", ".dcm", ".ets", ".gif", ".heic", ".i2syntax", ".ims", ".isyntax", ".j2k", ".jp2", ".jpx",
    ".lif", ".lsm", ".nd2", ".oib", ".oif", ".pdf", ".sld", ".tga", ".vmic", ".vms", ".vmu", ".vsi", ".webp", ".zvi",
}  # fmt: skip
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PICTURE_MAGIC = (PNG_MAGIC, BMP_MAGIC, b"\xff\xd8\xff")


def is_slide_file(path: str | os.PathLike) -> bool:
    """Whether a file's suffix is one of a slide or picture, for listing a folder."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def open_slide(path: str | os.PathLike) -> Slide:
    """Opens a slide or picture: what OpenSlide knows the vendor of, any other TIFF, PNG, JPEG and BMP.

    Raises:
        UserError: no such file, a folder, an empty, truncated or damaged file, no picture, or one of a kind that a
            network for colour pictures can't take (grey fluorescence, separate channels, CMYK, a stack).
    """
    path = Path(path)
    head = first_bytes(path)
    if head.startswith(PICTURE_MAGIC) and path.suffix.lower() != ".mrxs":  # whose main file is a picture of the slide
        from data_pipelines.reading.picture import ImageSlide

        return ImageSlide(path)
    try:
        from data_pipelines.reading import tiff, tiff_pages, vendor
    except ImportError as error:
        raise UserError(f"{path}: reading slides and TIFF needs a missing package ({error}): {INSTALL}") from error
    if head in TIFF_MAGIC:
        tiff_pages.check_tiles(path)
    if (slide := vendor.open_vendor(path)) is not None:
        try:
            slide.notes += tiff_pages.vendor_notes(path) if head in TIFF_MAGIC else ()
        except UserError:
            slide.close()
            raise
        return slide
    if head in TIFF_MAGIC:
        return tiff.TiffSlide(path)
    if path.suffix.lower() == ".mrxs":
        folder = path.with_suffix("")
        raise UserError(f"{path} is no slide without its folder of data, {folder}: copy that folder next to it")
    raise UserError(f"{path} is no slide or picture that can be read (svs, ndpi, mrxs, TIFF, PNG, JPEG ...): {ADVICE}")
