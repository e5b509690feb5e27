"""What the pages of a TIFF are: levels of a pyramid, their kind of pixels, and the size of a pixel."""

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import tifffile
from defusedxml import DefusedXmlException, ElementTree
from jaxtyping import Shaped, UInt8

from crcfp_jax.common.errors import UserError
from data_pipelines.reading.pixels import (
    ANY_LAID_ON_WHITE,
    GREY,
    ORIENTATION,
    TURNED,
    deep,
    depth,
    lay_on_white,
    palette_table,
    to_8_bit,
)
from data_pipelines.reading.slide import described_size, pixel_size

Conversion = Callable[[Shaped[np.ndarray, "h w s"]], UInt8[np.ndarray, "h w 3"]]

MICRONS = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "nm": 1e-3, "inch": 25400.0}
GREY_KINDS = ("MINISBLACK", "MINISWHITE")
NAMES = {"SEPARATED": "CMYK", "YCBCR": "YCbCr"}
NEEDED = (256, 257, 258, 262)  # tags: width, length, bits per sample, colour type
LEFT_OUT = "fourth channel left out, as the file doesn't say what it is"
ASSOCIATED, UNASSOCIATED = 1, 2  # alpha multiplied into the colours, or not
JPEG = (6, 7)  # turns luminance and chrominance into RGB itself
GREATEST_VALUE = 281  # tag, MaxSampleValue
SAVE_AS_RGB = "save it as an 8-bit RGB TIFF"


def pyramid(path: Path, file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The largest page and those that are smaller copies of it (SubIFDs, or pages marked as reduced), largest first.

    Raises:
        UserError: it holds no image, or several images of that size, or its chain of pages has no end.
    """
    pages = [page for page in page_chain(path, file) if not page.is_mask and 0 not in page.shaped]
    if not pages:
        raise UserError(f"{path} holds no image, or is truncated: copy it again")
    whole = [page for page in pages if not page.is_reduced] or pages
    main = max(whole, key=lambda page: page.imagelength * page.imagewidth)
    copies = [page for page in [*pages, *(main.pages or ())] if _is_copy(page, main)]
    images = sum(page.shaped == main.shaped for page in whole)
    if file.is_imagej:  # its large stacks have one page only
        images = max(images, int(file.imagej_metadata.get("images", 1)))
    if images * main.imagedepth > 1:
        kinds = "channels, planes or times"
        raise UserError(
            f"{path} holds {images * main.imagedepth} images of one size ({kinds}): {SAVE_AS_RGB} of one image"
        )
    sizes = {(page.imagelength, page.imagewidth): page for page in reversed(copies)}  # the first of each size
    return [main, *(sizes[size] for size in sorted(sizes, reverse=True))]


def page_chain(path: Path, file: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """The pages, each of which says where the next one lies.

    Raises:
        UserError: that goes round in a circle, which tifffile would follow without end.
    """
    seen = set()
    for page in file.pages:
        if page.offset in seen:
            raise UserError(f"{path} is damaged (its chain of images is a circle): copy it again")
        seen.add(page.offset)
        yield page


def check_end(path: Path, page: tifffile.TiffPage) -> None:
    """Raises UserError where the file ends before the page's data do."""
    end = max(map(operator.add, page.dataoffsets, page.databytecounts), default=0)
    if end > (size := page.parent.filehandle.size):
        raise UserError(f"{path} is truncated or damaged ({size} bytes instead of {end} or more): copy it again")


def check_tiles(path: Path) -> None:
    """Raises UserError where a vendor's TIFF has tiles beyond its end, which OpenSlide sees when it reads them only.

    The offsets of an NDPI of more than 4 GB are not those that stand in it.
    """
    with _openslide_judges(), tifffile.TiffFile(path) as file:
        if not file.is_ndpi:
            for page in _tiled(path, file):
                check_end(path, page)


def vendor_notes(path: Path) -> tuple[str, ...]:
    """Notes on a vendor's TIFF that OpenSlide gives as 8-bit colour, whatever it is.

    Raises:
        UserError: its pixels have more than 8 bits, of which OpenSlide gives the upper ones: black, if they hold fewer.
    """
    notes: tuple[str, ...] = ()
    with _openslide_judges(), tifffile.TiffFile(path) as file:
        if pages := _tiled(path, file):
            page = max(pages, key=lambda page: page.imagelength * page.imagewidth)
            if page.bitspersample > 8:
                raise UserError(
                    f"{path} has {page.bitspersample}-bit pixels, of which OpenSlide reads 8: {SAVE_AS_RGB}"
                )
            notes = (GREY,) if _photometric(page) in GREY_KINDS else ()
    return notes


def _tiled(path: Path, file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The pages of a slide; those in strips are labels and the like."""
    return [page for page in page_chain(path, file) if page.is_tiled]


@contextmanager
def _openslide_judges() -> Iterator[None]:
    """Ends the block in silence where tifffile finds a vendor's file odd."""
    try:
        yield
    except UserError:
        raise
    except Exception:  # tifffile raises what it likes
        return


def _is_copy(page: tifffile.TiffPage, main: tifffile.TiffPage) -> bool:
    kind = ("photometric", "samplesperpixel", "bitspersample", "planarconfig", "dtype", "extrasamples")
    if not (page.is_reduced or page.is_subifd) or any(getattr(page, name) != getattr(main, name) for name in kind):
        return False
    height, width = page.imagelength, page.imagewidth
    factor = (main.imagelength / height + main.imagewidth / width) / 2
    # A level's sides are rounded, up or down.
    fits = abs(height * factor - main.imagelength) <= factor and abs(width * factor - main.imagewidth) <= factor
    return factor > 1 and fits


def conversion(
    path: Path, page: tifffile.TiffPage, greatest: Callable[[], Sequence[int]]
) -> tuple[Conversion, tuple[str, ...]]:
    """How the page's pixels become RGB, and notes on it.

    Args:
        path: of the file.
        page: the largest.
        greatest: gives the greatest value of every channel, of which only 16 bits don't say how many bits they hold.

    Raises:
        UserError: pixels that a network for colour pictures can't take.
    """
    if any(tag not in page.tags for tag in NEEDED):
        raise UserError(f"{path} is truncated or damaged (it lacks tags that every colour TIFF has): copy it again")
    kind = _photometric(page)
    colours = {"RGB": 3, "YCBCR": 3, "PALETTE": 1, "MINISBLACK": 1, "MINISWHITE": 1}.get(kind)
    if colours is None or (kind == "YCBCR" and (page.compression not in JPEG or page.planarconfig != 1)):
        raise _refused(path, f"pixels of type {NAMES.get(kind, kind)}")
    others = page.samplesperpixel - colours
    alpha = others == 1 and kind != "PALETTE" and tuple(page.extrasamples) in ((ASSOCIATED,), (UNASSOCIATED,))
    left_out = others == 1 and colours == 3 and not alpha
    if others and not alpha and not left_out:
        raise _refused(path, f"{page.samplesperpixel} channels")
    if page.dtype not in (np.uint8, np.uint16) or page.bitspersample != 8 * page.dtype.itemsize:
        raise _refused(path, f"{page.bitspersample}-bit pixels ({page.dtype})")
    if page.dtype == np.uint16 and colours == 1:
        raise _refused(path, "16-bit grey pixels")
    table = palette_table(page.colormap) if kind == "PALETTE" else None
    premultiplied = tuple(page.extrasamples) == (ASSOCIATED,)
    is_deep = page.dtype == np.uint16
    most = [int(value) for value in greatest()] if is_deep else []
    bits = depth(max(most[:colours]), _declared_bits(page)) if is_deep else 8
    alpha_bits = depth(most[colours]) if is_deep and alpha else 8

    def convert(stored: Shaped[np.ndarray, "h w s"]) -> UInt8[np.ndarray, "h w 3"]:
        if table is not None:
            return table[stored[..., 0]]
        colour = to_8_bit(stored[..., :colours], bits)
        colour = colour if kind != "MINISWHITE" else 255 - colour
        colour = np.repeat(colour, 3, -1) if colours == 1 else colour
        if alpha:
            return lay_on_white(colour, to_8_bit(stored[..., colours], alpha_bits), premultiplied=premultiplied)
        return np.ascontiguousarray(colour)

    notes = {
        deep(bits): is_deep,
        GREY: kind in GREY_KINDS,
        ANY_LAID_ON_WHITE: alpha,
        LEFT_OUT: left_out,
        TURNED: page.tags.valueof(ORIENTATION, 1) != 1,
    }
    return convert, tuple(note for note, applies in notes.items() if applies)


def _photometric(page: tifffile.TiffPage) -> str:
    return getattr(page.photometric, "name", str(page.photometric))


def _declared_bits(page: tifffile.TiffPage) -> int:
    """Bits that the values have, as OME-XML or the tag of the greatest value says; 0: neither does."""
    tagged = int(np.max(page.tags.valueof(GREATEST_VALUE, 0))).bit_length()
    file = page.parent
    try:
        return max([tagged, *(int(each.get("SignificantBits", 0)) for each in _ome_pixels(file, page))])
    except ValueError:
        return tagged


def _refused(path: Path, what: str) -> UserError:
    return UserError(f"{path} has {what}, not the colours of a stained section: {SAVE_AS_RGB}")


def microns_per_pixel(file: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[float | None, tuple[str, ...]]:
    """Size of the page's pixels in µm, None where the file doesn't say or means a screen's, and notes on it.

    OME-XML says it, or ImageJ's unit of length, or the resolution tags, or the description.
    """
    for pixels in _ome_pixels(file, page):
        names = ("PhysicalSizeY", "PhysicalSizeX")
        sides = [_length(pixels.get(name), pixels.get(f"{name}Unit", "µm")) for name in names]
        if None not in sides:
            return pixel_size(*sides)
    across, down = page.get_resolution()  # pixels per unit
    unit = file.imagej_metadata.get("unit", "") if file.is_imagej else ""
    factor = MICRONS.get(str(unit).replace("\\u00B5", "µ")) or {2: 25400.0, 3: 1e4}.get(int(page.resolutionunit))
    found = pixel_size(factor / down, factor / across) if factor and across > 0 and down > 0 else (None, ())
    return found if found[0] is not None else described_size(page.description)


def _ome_pixels(file: tifffile.TiffFile, page: tifffile.TiffPage) -> list[Element]:
    """What OME-XML says of the image of the page's size: that element, or none."""
    if not file.is_ome:
        return []
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except (ElementTree.ParseError, DefusedXmlException, ValueError):
        return []
    size = (str(page.imagelength), str(page.imagewidth))
    return [each for each in root.iterfind(".//{*}Pixels") if (each.get("SizeY"), each.get("SizeX")) == size][:1]


def _length(number: str | None, unit: str) -> float | None:
    try:
        return float(number) * MICRONS[unit]
    except (TypeError, ValueError, KeyError):
        return None
