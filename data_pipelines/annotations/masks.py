"""Mask images of every kind: class codes, 0 and 255, palettes, colours, numbers of objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from jaxtyping import Int64, UInt8

from crcfp_jax.common.classes import IGNORED
from crcfp_jax.common.errors import UserError
from data_pipelines.annotations.table import BACKGROUND, ClassTable, same_name
from data_pipelines.reading.open import TIFF_MAGIC
from data_pipelines.reading.picture import picture, png_kind
from data_pipelines.reading.slide import BMP_MAGIC, PNG_MAGIC, check_size, first_bytes, one_line
from data_pipelines.reading.tiff import JPEG

UNKNOWN = -1  # value of a transparent pixel
MOST_CODES = 32  # different values of a mask that is not of instances
SHOWN = 8  # values in a message
FOREGROUND, OBJECT = "foreground", "object"  # classes of masks that name none
INSTANCES = "instances"
SAVE = "save it as a PNG of one channel, grey or with a palette"


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask as it is stored. `values`: codes, palette indices, or colours as red * 65536 + green * 256 + blue."""

    path: Path
    values: Int64[np.ndarray, "h w"]
    colours: bool

    def counts(self) -> dict[int, int]:
        """Pixels of each value."""
        values, counts = np.unique(self.values, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Naming:
    """Which value of a mask means which class; None: of none, unknown. `rest`: values above 0 that are not listed."""

    names: Mapping[int, str | None]
    rest: str | None = None

    def of(self, value: int) -> str | None:
        """The class of a value; KeyError where it has none."""
        if value not in self.names and self.rest is not None and value > 0:
            return self.rest
        return self.names[value]


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
        pixels, colours = _read_tiff(path)
    elif head.startswith((PNG_MAGIC, BMP_MAGIC)):
        pixels, colours = _read_picture(path, head.startswith(PNG_MAGIC))
    else:
        raise UserError(f"{path} is no PNG, TIFF or BMP; a JPEG alters the values of a mask: {SAVE}")
    if size is not None and pixels.shape != size:
        sizes = f"{pixels.shape[1]} x {pixels.shape[0]} pixels, its image {size[1]} x {size[0]}"
        raise UserError(f"{path} has {sizes}: a mask has the size of its image")
    return Mask(path, pixels, colours)


def _read_picture(path: Path, is_png: bool) -> tuple[Int64[np.ndarray, "h w"], bool]:
    with picture(path) as image:
        depth = png_kind(path)[0] if is_png else 8
        pixels, mode = np.asarray(image), image.mode
    if mode == "1":
        return pixels.astype(np.int64), False
    if mode in ("L", "P", "I", "I;16") or mode.startswith("I;16"):
        values = pixels.astype(np.int64)
        if mode == "L" and depth < 8:  # which Pillow spreads over 0 to 255
            values //= 255 // (2**depth - 1)
        return values, False
    if mode == "LA":
        return _hidden(pixels[..., 0].astype(np.int64), pixels[..., 1]), False
    if mode in ("RGB", "RGBA"):
        packed = _packed(pixels)
        return (packed if mode == "RGB" else _hidden(packed, pixels[..., 3])), True
    raise UserError(f"{path} is a picture of the kind {mode}, not a mask: {SAVE}")


def _read_tiff(path: Path) -> tuple[Int64[np.ndarray, "h w"], bool]:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            check_size(path, page.imagelength, page.imagewidth)
            if page.compression in JPEG:
                raise UserError(f"{path} is compressed as JPEG, which alters the values of a mask: {SAVE}")
            pixels = page.asarray()
    except UserError:
        raise
    except Exception as error:  # tifffile and the codecs raise what they like for damaged bytes
        raise UserError(f"{path} cannot be read as TIFF ({one_line(error)}): copy it again") from error
    if pixels.dtype.kind not in "ub":
        raise UserError(f"{path} holds {pixels.dtype} values, not whole numbers from 0: {SAVE}")
    if pixels.ndim == 2:
        return pixels.astype(np.int64), False
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4) and pixels.dtype == np.uint8:
        return _packed(pixels), True
    raise UserError(f"{path} has the shape {' x '.join(map(str, pixels.shape))}, not a mask's: {SAVE}")


def _packed(pixels: UInt8[np.ndarray, "h w _"]) -> Int64[np.ndarray, "h w"]:
    return pixels[..., :3].astype(np.int64) @ np.array([65536, 256, 1])


def _hidden(values: Int64[np.ndarray, "h w"], alpha: UInt8[np.ndarray, "h w"]) -> Int64[np.ndarray, "h w"]:
    return np.where(alpha == 0, UNKNOWN, values)


def name_values(
    masks: Mapping[Path, Mapping[int, int]], *, colours: bool, table: ClassTable | None, kind: str
) -> Naming:
    """What the values of all masks of a study mean, which are all of colours, or none.

    Args:
        masks: pixels of each value, per mask.
        colours: whether the values are colours.
        table: classes.toml.
        kind: 'instances', where values above 0 number objects of one class; or 'auto'.

    Raises:
        UserError: a value that means nothing that is known; the message says how to tell.
    """
    found: dict[int, int] = {}
    for counts in masks.values():
        for value, count in counts.items():
            found[value] = found.get(value, 0) + count
    if kind == INSTANCES:
        if colours:
            raise UserError(f"{next(iter(masks))} is a mask of colours: --mask instances takes whole numbers")
        return Naming({0: _background(table), UNKNOWN: None}, rest=_object(table))
    if colours:
        return _by_table(masks, found, {} if table is None else _colours(table), colours=True)
    if table is not None and any(row.values for row in table.rows):
        by_value = {value: row.name for row in table.rows for value in row.values}
        return _by_table(masks, found, {IGNORED: None} | by_value, colours=False)
    if table is not None:
        raise UserError(
            f"{next(iter(masks))} holds {_listed(found, colours=False)}, and {table.path} says of no class which value"
            " it has: give classes values = [...], or build with --mask instances"
        )
    if found.keys() <= {0, IGNORED, UNKNOWN} and IGNORED in found:
        return Naming({0: BACKGROUND, IGNORED: FOREGROUND, UNKNOWN: None})
    codes = found.keys() - {IGNORED, UNKNOWN}
    if len(codes) > MOST_CODES or max(codes, default=0) > IGNORED:
        path = max(masks, key=lambda path: len(masks[path]))
        raise UserError(
            f"{path} holds {len(masks[path])} different values: if they number objects of one class, build with --mask"
            " instances; else list them in classes.toml"
        )
    return Naming({code: f"class {code}" if code else BACKGROUND for code in codes} | {IGNORED: None, UNKNOWN: None})


def _by_table(
    masks: Mapping[Path, Mapping[int, int]], found: Mapping[int, int], names: Mapping[int, str | None], *, colours: bool
) -> Naming:
    wrong = {value: count for value, count in found.items() if value not in names and value != UNKNOWN}
    if wrong:
        path = next(path for path, counts in masks.items() if wrong.keys() & counts.keys())
        value = max(wrong, key=wrong.__getitem__)
        key = f'colour = "#{value:06x}"' if colours else f"values = [{value}]"
        raise UserError(
            f"{path} holds {_listed(wrong, colours=colours)} of no class: give a class of classes.toml {key}, and so on"
        )
    return Naming({**names, UNKNOWN: None})


def _listed(values: Mapping[int, int], *, colours: bool) -> str:
    """The commonest values with their shares, for a message."""
    total = sum(values.values())
    most = sorted(values, key=lambda value: -values[value])[:SHOWN]
    told = [f"{f'#{value:06x}' if colours else value} ({100 * values[value] / total:.1f} %)" for value in most]
    rest = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return f"the {'colours' if colours else 'values'} {', '.join(told)}{rest}"


def _colours(table: ClassTable) -> dict[int, str | None]:
    return {(r << 16) + (g << 8) + b: row.name for row in table.rows if row.colour for r, g, b in [row.colour]}


def _background(table: ClassTable | None) -> str:
    return BACKGROUND if table is None else table.background


def _object(table: ClassTable | None) -> str:
    """The class of objects: the table's, where it has but one beside the background."""
    names = [row.name for row in table.rows if same_name(row.name) != same_name(table.background)] if table else []
    if len(names) > 1:
        raise UserError(f"{table.path} has {len(names)} classes: --mask instances numbers the objects of one")
    return names[0] if names else OBJECT


def mask_label(mask: Mask, naming: Naming, labels: Mapping[str, int]) -> UInt8[np.ndarray, "h w"]:
    """The label of a mask; `labels`: of the classes by their names."""
    values, inverse = np.unique(mask.values, return_inverse=True)
    names = [naming.of(value) for value in values.tolist()]
    table = np.array([IGNORED if name is None else labels[name] for name in names], np.uint8)
    return table[inverse].reshape(mask.values.shape)
