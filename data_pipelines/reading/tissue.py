"""Where on a slide there is tissue, told from a thumbnail by a fixed rule."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from data_pipelines.reading.resample import View
from data_pipelines.reading.slide import Slide

PIXEL = 8.0  # µm of a thumbnail pixel; finer where the slide is small
SIDES = (512, 2048)  # pixels of the thumbnail's long side: at least, unless the slide has fewer, and at most
ASSUMED = 0.5  # µm of a slide pixel where nobody says, as at 20x
COLOUR = 10  # grey levels between the largest and the smallest channel; glass, dust, black and grey have fewer
GREY = (30, 215)  # brightness of tissue in a picture without any colour: below is padding, above is glass
REGION = 3000.0  # µm of the longer side of a picture that somebody has cut from a slide
PALER = 12  # levels below the brightness of the glass of a small picture, from which on pale is tissue
GLASS_SHARE = 0.01  # of a picture that has any glass
INK = {"green": 25, "blue": 90}  # grey levels by which an ink's channel exceeds both others; red ink looks like blood
INK_RIM = 40.0  # µm: ink lies on the coverslip, out of focus
INK_AREA = 3000.0  # µm²: a smaller spot is no pen's
SPECK = 1600.0  # µm²: less colour than that is dirt, unless it goes on beyond the slide's edge
GAP = 32.0  # µm: half the width of a gap in tissue that counts as tissue
HOLE = 50_000.0  # µm²: so does a hole up to that, such as a lumen or fat cells
MARGIN = 24.0  # µm kept around tissue


@dataclass(frozen=True)
class Tissue:
    """Tissue of a slide: `mask`, bool [h, w], covers exactly the slide."""

    mask: Bool[np.ndarray, "h w"]

    @cached_property
    def share(self) -> float:
        """Share of the slide that is tissue, 0 to 1."""
        return float(self.mask.mean())

    def window(
        self, top: int, left: int, height: int, width: int, size: tuple[int, int]
    ) -> Bool[np.ndarray, "{height} {width}"]:
        """A part of a canvas of `size` (height, width) that covers the slide: the mask at each pixel's centre."""
        rows, columns = self._nearest(top, height, size[0], 0), self._nearest(left, width, size[1], 1)
        return self.mask[rows[:, None], columns]

    def touches(self, top: int, left: int, height: int, width: int, size: tuple[int, int]) -> bool:
        """Whether there is tissue anywhere in that part, in whatever `window` shows of it and between its pixels."""
        rows, columns = self._nearest(top, height, size[0], 0), self._nearest(left, width, size[1], 1)
        return bool(self.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any())

    def _nearest(self, start: int, count: int, length: int, axis: int) -> np.ndarray:
        own = self.mask.shape[axis]
        index = (2 * np.arange(start, start + count, dtype=np.int64) + 1) * own // (2 * length)
        return np.clip(index, 0, own - 1)


def find_tissue(slide: Slide, microns_per_pixel: float | None = None) -> Tissue:
    """Tells tissue from glass, dust, padding and pen.

    A pixel of the thumbnail is tissue where it has colour, however pale, and no pen's; there is no threshold that
    depends on the rest of the picture, so a region full of tissue stays whole and an empty one empty. In a picture of
    at most 3 mm, whose stain may be paler than that, what is darker than the picture's glass is tissue too. Then
    specks go, gaps and holes are closed, and a margin is kept. In doubt it is tissue: looking at glass costs time only.

    Args:
        slide: is read by strips, at its coarsest level that will do.
        microns_per_pixel: of the slide's largest level, where the file is wrong or doesn't say.

    Raises:
        UserError: the slide is damaged.
    """
    microns = microns_per_pixel or slide.microns_per_pixel or ASSUMED
    longest = max(slide.size)
    scale = max(1.0, min(PIXEL / microns, longest / SIDES[0]), longest / SIDES[1])
    view = View(slide, scale)
    pixel = microns * max(1.0, longest / max(view.size))
    return Tissue(_clean(view.read(0, 0, *view.size), pixel, is_region=is_region(slide.size, microns)))


def is_region(size: tuple[int, int], microns_per_pixel: float) -> bool:
    """Whether a picture of height and width in pixels is so small that somebody has chosen what it shows."""
    return max(size) * microns_per_pixel <= REGION


def _clean(picture: UInt8[np.ndarray, "h w 3"], pixel: float, *, is_region: bool) -> Bool[np.ndarray, "h w"]:
    """The mask of a thumbnail whose pixels are `pixel` µm wide."""
    side = max(1, round(PIXEL / pixel))
    picture = cv2.blur(picture, (side, side), borderType=cv2.BORDER_REFLECT_101) if side > 1 else picture
    brightest, darkest = picture.max(-1), picture.min(-1)
    colour = brightest - darkest
    tissue = colour > COLOUR if colour.any() else (brightest >= GREY[0]) & (brightest <= GREY[1])
    if is_region:
        # Beside pale stain there is nothing grey in it: no pen, no coverslip's edge.
        glass = (colour <= COLOUR) & (darkest >= GREY[1])
        brightness = float(np.quantile(darkest[glass], 0.95)) if glass.mean() > GLASS_SHARE else 255.0
        tissue |= (brightest >= GREY[0]) & (darkest < brightness - PALER)
    ink = _ink(picture, pixel)
    tissue = _without_small(tissue & ~ink, SPECK / pixel**2)
    tissue = ~_grown(~_grown(tissue, GAP / pixel), GAP / pixel)
    tissue = ~_without_small(~tissue, HOLE / pixel**2)
    return _grown(tissue, MARGIN / pixel) & ~ink


def _ink(picture: UInt8[np.ndarray, "h w 3"], pixel: float) -> Bool[np.ndarray, "h w"]:
    red, green, blue = (picture[..., channel].astype(np.int16) for channel in range(3))
    green_ink = green - np.maximum(red, blue) > INK["green"]
    blue_ink = blue - np.maximum(red, green) > INK["blue"]
    return _grown(_without_small(green_ink | blue_ink, INK_AREA / pixel**2), INK_RIM / pixel)


def _grown(mask: Bool[np.ndarray, "h w"], radius: float) -> Bool[np.ndarray, "h w"]:
    """The mask and all within `radius` pixels of it."""
    if not mask.any():
        return mask
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance <= radius


def _without_small(mask: Bool[np.ndarray, "h w"], least: float) -> Bool[np.ndarray, "h w"]:
    """The mask without its connected parts of fewer than `least` pixels, save those that the picture's edge cuts."""
    _, parts, figures, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    left, top, width, height, area = figures.T
    cut = (left == 0) | (top == 0) | (left + width == mask.shape[1]) | (top + height == mask.shape[0])
    kept = (area >= least) | cut
    kept[0] = False  # what the mask leaves out
    return kept[parts]
