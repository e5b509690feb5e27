"""What every reader gives: a slide or picture as 8-bit RGB, read by regions."""

import logging
import math
import re
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import check_regular, describe_os_error
from crcfp_jax.common.pixel_size import PLAUSIBLE
from crcfp_jax.common.words import one_line

# What they log of odd files either doesn't matter here or is told as an error.
for library in ("tifffile", "imagecodecs"):
    logging.getLogger(library).setLevel(logging.CRITICAL)

PNG_MAGIC = b"\x89PNG"
BMP_MAGIC = b"BM"
LARGEST_SLIDE = 10**11  # pixels; a slide of 26 x 76 mm at 0.15 µm per pixel has 9 x 10^10. Damage can say any number
LARGEST = 2**27  # pixels held at once: 0.4 GB as RGB, up to 1.6 GB while they are decoded
ADVICE = (
    "convert it to a tiled pyramidal TIFF, e.g. with `vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg`"
)
AGAIN = "the file is damaged, copy it again"
INSTALL = "pip install 'crcfp-jax[slides]' (or ./launch.sh install slides)"


class ReaderError(Exception):
    """What reads a file could not do what was asked; says why, and what to do about it."""

    def __init__(self, reason: str, remedy: str = AGAIN):
        super().__init__(reason)
        self.remedy = remedy


class Slide(ABC):
    """A slide or picture as 8-bit RGB, read by regions; a with-statement closes it.

    Pixels are those that are stored: an orientation tag (of EXIF or TIFF) and a colour profile are not applied.
    Training data and predictions are both read through this class: a file has the same pixels, or is refused, in both.
    """

    def __init__(
        self,
        path: Path,
        levels: tuple[tuple[int, int], ...],
        microns_per_pixel: float | None,
        notes: tuple[str, ...],
        origin: tuple[int, int] = (0, 0),
    ):
        """Args:
        path: of the file.
        levels: height, width of each, the largest first.
        microns_per_pixel: of the largest level; None: the file doesn't say.
        notes: what is read otherwise than it is stored, a short clause each.
        origin: top, left of the slide on a larger canvas, which programs that know no bounds of it count from.

        Raises:
            UserError: more pixels than any slide has, which would be looked at for days.
        """
        height, width = levels[0]
        if height * width > LARGEST_SLIDE:
            raise UserError(
                f"{path} says that it has {width} x {height} pixels, more than any slide has ({LARGEST_SLIDE:.0e}): "
                "if that is so, cut it into parts, or save it at a larger pixel size"
            )
        self.path = path
        self.levels = levels
        self.microns_per_pixel = microns_per_pixel
        self.notes = notes
        self.origin = origin

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the largest level."""
        return self.levels[0]

    def read(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
        """Pixels of a level; what lies beyond the slide is white. Safe from several threads at once.

        Raises:
            UserError: the file is damaged there.
        """
        whole = self.levels[level]
        rows = max(0, top), min(whole[0], top + height)
        columns = max(0, left), min(whole[1], left + width)
        inside = (rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])
        if inside == (top, left, height, width) and height and width:
            return self._read_checked(level, inside)
        region = np.full((height, width, 3), 255, np.uint8)
        if inside[2] > 0 and inside[3] > 0:
            region[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left] = self._read_checked(
                level, inside
            )
        return region

    def _read_checked(self, level: int, region: tuple[int, int, int, int]) -> UInt8[np.ndarray, "h w 3"]:
        try:
            return self._read(level, *region)
        except MemoryError:
            raise
        except Exception as error:  # readers and codecs raise what they like for damaged bytes
            top, left, height, width = region
            place = f"rows {top} to {top + height}, columns {left} to {left + width} of level {level}"
            remedy = error.remedy if isinstance(error, ReaderError) else AGAIN
            raise UserError(f"{self.path}: cannot read {place} ({one_line(error)}): {remedy}") from error

    @abstractmethod
    def _read(self, level: int, top: int, left: int, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
        """Pixels of a region that is not empty and lies within the level."""

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""

    def __enter__(self) -> "Slide":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pixel_size(microns_y: float | None, microns_x: float | None) -> tuple[float | None, tuple[str, ...]]:
    """The mean of a pixel's height and width in µm, None where that is no microscope's, and notes."""
    if microns_y is None or microns_x is None or not all(map(math.isfinite, (microns_y, microns_x))):
        return None, ()
    if not all(PLAUSIBLE[0] <= side <= PLAUSIBLE[1] for side in (microns_y, microns_x)):
        return None, ()
    mean = (microns_y + microns_x) / 2
    if abs(microns_y - microns_x) <= 0.02 * mean:
        return mean, ()
    return mean, (f"pixels are {microns_x:.4g} µm wide and {microns_y:.4g} µm high, taken as squares of {mean:.4g} µm",)


def described_size(*texts: object) -> tuple[float | None, tuple[str, ...]]:
    """Size of a pixel that a description names as Aperio's do ("MPP = 0.4990"), which a slide's crops keep, and a note.

    It is for files that say it nowhere else: a crop that was made smaller afterwards has kept it too.
    """
    for text in texts:
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        if isinstance(text, str) and (found := re.search(r"\bMPP\s*=\s*([0-9]+(?:\.[0-9]+)?)", text)):
            size, _ = pixel_size(float(found[1]), float(found[1]))
            if size is not None:
                return size, (f"pixel size of {size:.4g} µm as its description says",)
    return None, ()


def first_bytes(path: Path) -> bytes:
    """The first four bytes of a file.

    Raises:
        UserError: no such file, a folder, an empty file, or no permission to read it.
    """
    check_regular(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder: give the files in it")
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        raise UserError(f"cannot read {describe_os_error(error, path)}") from error
    if not head:
        raise UserError(f"{path} is empty: copy it again")
    return head


def check_size(path: Path, height: int, width: int) -> None:
    """Raises UserError for a picture of more pixels than are held at once."""
    if height * width > LARGEST:
        raise too_large(path)


def too_large(path: Path, what: str | None = None) -> UserError:
    """The error of a file that can't be held at once; `what` is a clause on it, by default its number of pixels."""
    what = what or f"has more than {LARGEST / 1e6:.0f} million pixels"
    advice = f"cut it into smaller images, or to predict it {ADVICE}"
    return UserError(f"{path} {what}, too many to be held at once: {advice}")
