"""Two overlapping crops of one image, a whole number of feature cells apart."""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from crcfp_jax.common.errors import UserError
from data_pipelines import geometry

VIEWS = ("view_a", "view_b")
_OVERLAP_BINS = 10  # equal parts of the overlap range, each drawn equally often where the image has room for it


@dataclass(frozen=True)
class ViewPlacement:
    """Both views as parts of the smallest box around them; all but `offset` in pixels.

    The region (top, left, height, width) of the source image is resized to box_height x box_width; each view is a
    corner of the box. `offset` (dy, dx) is view_b's origin minus view_a's in cells of the stride.
    """

    top: int
    left: int
    height: int
    width: int
    box_height: int
    box_width: int
    offset: tuple[int, int]


@functools.lru_cache(maxsize=8)
def possible_offsets(side: int, stride: int, overlap: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative offsets [n, 2] in cells with the intersection over union in range, and the bin [n] of each.

    Raises UserError if there is none, or if the side is no multiple of the stride: the cells of a flipped view would
    then lie between those of the other view.
    """
    if side % stride:
        raise UserError(f"data.side {side} must be a multiple of the feature stride, {stride} pixels")
    least, greatest = overlap
    cells = np.stack(np.meshgrid(*[np.arange((side - 1) // stride + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    intersection = np.prod(side - cells * stride, axis=1)
    ratio = intersection / (2 * side**2 - intersection)
    chosen = (ratio >= least) & (ratio <= greatest)
    if not chosen.any():
        raise UserError(
            f"data.overlap {least} to {greatest}: no two crops of data.side {side} pixels, moved by multiples of "
            f"{stride} pixels, overlap by so much; choose a wider range"
        )
    width = max(greatest - least, np.finfo(float).eps)
    bins = np.minimum((ratio[chosen] - least) / width * _OVERLAP_BINS, _OVERLAP_BINS - 1).astype(np.int64)
    return cells[chosen], bins


@functools.lru_cache(maxsize=256)
def _needed_scales(
    height: int, width: int, side: int, stride: int, overlap: tuple[float, float]
) -> tuple[np.ndarray, float]:
    """Least scale at which each pair of `possible_offsets` fits into an image, and the least of all."""
    cells, _ = possible_offsets(side, stride, overlap)
    needed = ((side + cells * stride) / (height, width)).max(axis=1)
    return needed, float(needed.min())


def draw_placement(
    height: int,
    width: int,
    generator: np.random.Generator,
    *,
    side: int,
    stride: int,
    scale: float,
    overlap: tuple[float, float],
) -> ViewPlacement:
    """Draws where two views of side x side network pixels lie in an image; `scale`: network pixels per stored pixel.

    Their intersection over union is drawn uniformly from the part of `overlap` that the image has room for. An image
    too small for any pair of views is reflected at its edges, as for every other crop: its magnification stays.
    Raises UserError if no offset by multiples of `stride` gives an overlap in range.
    """
    cells, bins = possible_offsets(side, stride, tuple(overlap))
    needed, least = _needed_scales(height, width, side, stride, tuple(overlap))
    fits = needed <= max(scale, least)
    with_room = np.flatnonzero(np.bincount(bins[fits], minlength=_OVERLAP_BINS))
    chosen = np.flatnonzero(fits & (bins == generator.choice(with_room)))
    pair = chosen[generator.integers(len(chosen))]
    box_height, box_width = (int(length) for length in side + cells[pair] * stride)
    dy, dx = (int(cell) for cell in cells[pair] * generator.choice((-1, 1), size=2))
    # The region is cut before it is resized: one resize, of no more pixels than the views show. Its sides are whole
    # pixels, so the scale differs from the drawn one by at most half a pixel over the region, alike for both views.
    region_height, top = _place(height, box_height / scale, generator)
    region_width, left = _place(width, box_width / scale, generator)
    return ViewPlacement(top, left, region_height, region_width, box_height, box_width, (dy, dx))


def _place(length: int, wanted: float, generator: np.random.Generator) -> tuple[int, int]:
    """Length, in whole pixels, and origin of a part of an axis of `length` pixels, or of a longer one around it."""
    part = max(1, round(wanted))
    if wanted <= length:
        part = min(part, length)
    return part, int(generator.integers(min(0, length - part), max(0, length - part) + 1))


def cut_views(
    image: np.ndarray,
    placement: ViewPlacement,
    side: int,
    flips: Mapping[str, bool],
    *,
    vertical: bool = False,
) -> dict[str, np.ndarray]:
    """Cuts views [side, side, 3] at `placement` out of the image [h, w, 3], mirrored top to bottom if `vertical`.

    `flips`: of view_a and view_b those to cut, and whether each is mirrored left to right.
    """
    if not flips:
        return {}
    part = (placement.top, placement.left, placement.height, placement.width)
    region = geometry.crop_mirrored(image, *part, vertical=vertical)
    box, _ = geometry.resize(region, None, placement.box_height, placement.box_width)
    dy, dx = placement.offset
    slack_y, slack_x = placement.box_height - side, placement.box_width - side
    origins = {
        "view_a": (slack_y if dy < 0 else 0, slack_x if dx < 0 else 0),
        "view_b": (slack_y if dy > 0 else 0, slack_x if dx > 0 else 0),
    }
    cut = {}
    for name, flipped in flips.items():
        y, x = origins[name]
        view = box[y : y + side, x : x + side]
        # Never a slice, which would keep the whole box in memory for as long as the example waits for its batch.
        cut[name] = geometry.flip(view, horizontal=True) if flipped else view.copy()
    return cut


def overlapping_views(
    image: np.ndarray,
    generator: np.random.Generator,
    *,
    side: int,
    stride: int,
    scale: float,
    overlap: tuple[float, float],
    read: Collection[str] = VIEWS,
    vertical: bool = False,
) -> dict[str, np.ndarray]:
    """Draws two overlapping crops of an image, each with its own horizontal flip of probability 1/2.

    Args:
      image: uint8 [h, w, 3].
      generator: source of every draw.
      side: of a view, network pixels.
      stride: network pixels per feature cell; the views are a multiple of it apart.
      scale: network pixels per pixel of the image, which is reflected where it is too small for two views.
      overlap: least and greatest intersection over union of the views.
      read: the views that are made; the draws are the same whichever they are.
      vertical: mirror the image top to bottom first.

    Returns:
      Of `view_a`, `view_b` those to be read, uint8 [side, side, 3]; `offset` int32 [2], view_b's origin minus view_a's
      in cells before the flips, so that pixel (y, x) of view_a shows pixel (y - dy * stride, x - dx * stride) of
      view_b; `flip` bool [2], whether view_a and view_b were flipped.

    Raises:
      UserError: no offset by multiples of `stride` gives an overlap in range.
    """
    placement = draw_placement(*image.shape[:2], generator, side=side, stride=stride, scale=scale, overlap=overlap)
    flips = generator.random(2) < 0.5
    wanted = {name: bool(flipped) for name, flipped in zip(VIEWS, flips, strict=True) if name in read}
    cut = cut_views(image, placement, side, wanted, vertical=vertical)
    return cut | {"offset": np.asarray(placement.offset, np.int32), "flip": flips}
