"""Where each tissue lies in a synthetic tile, as smooth regions cut out of random fields."""

from dataclasses import dataclass

import cv2
import numpy as np

from crcfp_jax.common.classes import IGNORED

TUMOUR, STROMA, INFLAMMATORY, NECROSIS, FAT, BLOOD, WALL, LUMEN = range(8)  # kinds of tissue
KIND_TO_CLASS = np.array([0, 1, 2, 3, 4, 4, 4, 4], np.uint8)  # fat, blood and vessels are the class "other"

CLASS_SHARES = (0.30, 0.24, 0.16, 0.15, 0.15)  # mean area of tumour, stroma, inflammatory, necrosis, other
MIX_CONCENTRATION = 4.0  # of the Dirichlet distribution of a tile's shares: lower is more one-sided tiles
LEAST_SHARE = 0.04  # smaller regions are dropped
REGION_LENGTH = 100.0  # pixels; typical extent of a region
REGION_ROUGHNESS = 0.15  # share of fine detail in the borders
LEAST_REGION = 700  # pixels
BORDER = 3  # pixels on all sides that the annotator left out
OUTSIDE_PROBABILITY = 0.3  # of a corner outside the annotated region of interest
FOLD_PROBABILITY = 0.15  # of a tissue fold, dark and ignored


@dataclass(frozen=True)
class Layout:
    """`kind` uint8 [h, w] of tissue, `label` uint8 [h, w] (class, 255 = ignored), `nests` and `fold` float32 [h, w]."""

    kind: np.ndarray
    label: np.ndarray
    nests: np.ndarray  # the field that tumour nests are cut from; fibres follow its contours
    fold: np.ndarray  # 0..1: added thickness of a tissue fold


def smooth_field(rng: np.random.Generator, size: int, length: float) -> np.ndarray:
    """Returns noise float32 [size, size] of mean about 0 and deviation about 1 that varies over `length` pixels."""
    cells = int(np.ceil(size / length)) + 3
    grid = rng.standard_normal((cells, cells), dtype=np.float32)
    shift = rng.uniform(1, 2, 2)
    along = np.arange(size, dtype=np.float32) / np.float32(length)
    x, y = np.meshgrid(along + np.float32(shift[0]), along + np.float32(shift[1]))
    return cv2.remap(grid, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT) * np.float32(1.35)


def _rough_field(rng: np.random.Generator, size: int, length: float) -> np.ndarray:
    return smooth_field(rng, size, length) + REGION_ROUGHNESS * smooth_field(rng, size, length / 4)


def _paint(kind: np.ndarray, field: np.ndarray, free: np.ndarray, share: float, value: int) -> None:
    """Gives the `share` of all pixels where `field` is highest among the `free` ones to tissue `value`, in place."""
    count = min(int(share * kind.size), int(free.sum()))
    if count:
        values = field[free]
        threshold = np.partition(values, values.size - count)[values.size - count]
        kind[free & (field >= threshold)] = value


def _without_crumbs(kind: np.ndarray) -> np.ndarray:
    """Gives connected regions of fewer than `LEAST_REGION` pixels to the tissue around them."""
    crumb = np.zeros_like(kind)
    for value in np.unique(kind):
        _, region, statistics, _ = cv2.connectedComponentsWithStats((kind == value).astype(np.uint8))
        small = statistics[:, cv2.CC_STAT_AREA] < LEAST_REGION
        small[0] = False  # the background
        crumb[small[region]] = 1
    _, nearest = cv2.distanceTransformWithLabels(crumb, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tissue = np.zeros(int(nearest.max()) + 1, np.uint8)
    tissue[nearest[crumb == 0]] = kind[crumb == 0]
    return tissue[nearest]


def _paint_vessels(rng: np.random.Generator, kind: np.ndarray, share: float, scale: float) -> None:
    size = kind.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wobble = smooth_field(rng, size, 24)
    painted = 0
    for _ in range(6):
        radius = rng.uniform(22, 46) * scale
        centre, angle, stretch = rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0, np.pi), rng.uniform(1, 1.5)
        along = ((x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)) / stretch
        across = ((y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)) * stretch
        distance = np.hypot(along, across) + 2.5 * wobble
        wall = rng.uniform(6, 11) * scale
        kind[distance < radius] = WALL
        kind[distance < radius - wall] = BLOOD if rng.random() < 0.6 else LUMEN
        painted += np.pi * radius**2
        if painted >= share * size * size:
            return


def draw_layout(rng: np.random.Generator, size: int, scale: float) -> Layout:
    """Returns a random layout of `size` x `size` pixels; `scale` is the magnification (1 = nominal)."""
    shares = rng.dirichlet(MIX_CONCENTRATION * np.array(CLASS_SHARES))
    shares = np.where(shares < LEAST_SHARE, 0, shares)
    length = REGION_LENGTH * scale
    nests = _rough_field(rng, size, length)
    kind = np.full((size, size), STROMA, np.uint8)
    other = rng.choice([FAT, BLOOD, WALL], p=[0.4, 0.25, 0.35]) if shares[4] else STROMA
    if other in (FAT, BLOOD):
        _paint(kind, _rough_field(rng, size, length * 1.3), kind == STROMA, shares[4], other)
    # Necrosis lies inside or beside nests, infiltrate beside them: neighbours share neither colour nor texture alone.
    inside = 0.7 * nests + 0.7 * _rough_field(rng, size, length)
    _paint(kind, inside, kind == STROMA, shares[3], NECROSIS)
    _paint(kind, nests, kind == STROMA, shares[0], TUMOUR)
    _paint(kind, _rough_field(rng, size, length), kind == STROMA, shares[2], INFLAMMATORY)
    kind = _without_crumbs(cv2.medianBlur(kind, 11))
    if other == WALL:
        _paint_vessels(rng, kind, shares[4], scale)
    label, fold = _annotate(rng, kind)
    return Layout(kind, label, nests, fold)


def _annotate(rng: np.random.Generator, kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the label map with its ignored parts, and the tissue fold that one of them shows."""
    size = kind.shape[0]
    label = KIND_TO_CLASS[kind]
    label[:BORDER] = label[-BORDER:] = IGNORED
    label[:, :BORDER] = label[:, -BORDER:] = IGNORED
    y, x = np.mgrid[:size, :size].astype(np.float32)
    if rng.random() < OUTSIDE_PROBABILITY:
        angle = rng.uniform(0, 2 * np.pi)
        across = (x - size / 2) * np.cos(angle) + (y - size / 2) * np.sin(angle)
        label[across > size * rng.uniform(0.32, 0.5)] = IGNORED
    fold = np.zeros((size, size), np.float32)
    if rng.random() < FOLD_PROBABILITY:
        angle, width = rng.uniform(0, np.pi), rng.uniform(4, 9)
        across = (x - rng.uniform(0, size)) * np.cos(angle) + (y - rng.uniform(0, size)) * np.sin(angle)
        fold = np.clip(width - np.abs(across + 8 * smooth_field(rng, size, 60)), 0, 2) / 2
        label[fold > 0] = IGNORED
    return label, fold
