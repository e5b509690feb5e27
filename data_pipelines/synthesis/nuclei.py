"""Nuclei of each tissue: placing, outline, chromatin."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_pipelines.synthesis import layout

NUCLEUS_OVERLAP = 0.2  # 0: each tissue has its own nuclei only; 1: many strangers (lymphocytes everywhere)
SIZE_SPREAD = 0.13  # standard deviation of the logarithm of a nucleus' radius, times the style's pleomorphism


@dataclass(frozen=True)
class Style:
    """What one sort of nucleus looks like. Lengths in pixels at nominal magnification."""

    radius: float  # geometric mean of the half axes
    elongation: float  # long axis over short axis, mean
    density: float  # haematoxylin concentration
    rim: float = 0.25  # darker envelope, share of the density
    chromatin: float = 0.2  # contrast of the chromatin texture
    irregularity: float = 0.05  # of the outline
    pleomorphism: float = 1.0  # variety of sizes
    nucleolus: float = 0.0  # probability of a visible nucleolus
    opacity: float = 1.0


STYLES = {
    "tumour": Style(7.0, 1.25, 0.72, 0.45, 0.55, 0.08, 1.9, 0.7),
    "lymphocyte": Style(3.6, 1.08, 1.35, 0.05, 0.25, 0.04, 0.8),
    "plasma": Style(4.4, 1.25, 1.10, 0.25, 0.45, 0.05, 1.0),
    "spindle": Style(3.3, 3.6, 0.95, 0.1, 0.2, 0.05, 1.2),
    "ghost": Style(5.2, 1.2, 0.42, 0.2, 0.4, 0.12, 1.5, 0.0, 0.6),
    "pyknotic": Style(2.3, 1.2, 1.35, 0.0, 0.15, 0.15, 2.6),
    "flat": Style(2.4, 3.8, 0.95, 0.1, 0.2, 0.05, 1.0),
}
NAMES = tuple(STYLES)

# Mean distance between nuclei in pixels, then the shares of styles, by tissue kind.
SPACING = {
    layout.TUMOUR: 13.5,
    layout.STROMA: 21.0,
    layout.INFLAMMATORY: 8.6,
    layout.NECROSIS: 14.0,
    layout.WALL: 13.0,
}
POPULATION = {
    layout.TUMOUR: {"tumour": 1.0, "lymphocyte": 0.16 * NUCLEUS_OVERLAP},
    layout.STROMA: {"spindle": 1.0, "lymphocyte": 0.4 * NUCLEUS_OVERLAP, "plasma": 0.2 * NUCLEUS_OVERLAP},
    layout.INFLAMMATORY: {"lymphocyte": 1.0, "plasma": 0.35, "spindle": 0.3 * NUCLEUS_OVERLAP},
    layout.NECROSIS: {"ghost": 0.5, "pyknotic": 1.0, "lymphocyte": 0.2 * NUCLEUS_OVERLAP},
    layout.WALL: {"flat": 1.0},
}


def scatter(rng: np.random.Generator, kind: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns centres int [n, 2] (y, x) at about the tissue's spacing from each other, and styles int [n]."""
    height, width = kind.shape
    spacing = np.zeros(8)
    for tissue, distance in SPACING.items():
        spacing[tissue] = distance * scale
    count = kind.size // 8
    ys, xs = rng.integers(0, height, count), rng.integers(0, width, count)
    tissues = kind[ys, xs]
    radii = (spacing[tissues] * rng.uniform(0.75, 1.15, count)).round().astype(int)
    taken = np.zeros_like(kind)
    kept = []
    for i in np.flatnonzero(radii):  # dart throwing
        x, y = int(xs[i]), int(ys[i])
        if not taken[y, x]:
            kept.append(i)
            cv2.circle(taken, (x, y), int(radii[i]), 1, -1)
    tissues, draws = tissues[kept], rng.random(len(kept))
    styles = np.zeros(len(kept), int)
    for tissue, population in POPULATION.items():
        here = tissues == tissue
        shares = np.array([population.get(name, 0.0) for name in NAMES])
        styles[here] = np.searchsorted(np.cumsum(shares / shares.sum()), draws[here])
    return np.stack([ys[kept], xs[kept]], 1).reshape(-1, 2), np.minimum(styles, len(NAMES) - 1)


def draw_nuclei(
    rng: np.random.Generator,
    haematoxylin: np.ndarray,
    eosin: np.ndarray,
    kind: np.ndarray,
    direction: np.ndarray,
    chromatin: np.ndarray,
    scale: float,
) -> None:
    """Scatters nuclei over the concentration maps float32 [h, w], in place.

    `direction` float32 [h, w] is the angle of the fibres, which spindle cells follow; `chromatin` float32 [h, w] is
    fine noise of deviation 1.
    """
    centres, styles = scatter(rng, kind, scale)
    for number, name in enumerate(NAMES):
        chosen = centres[styles == number]
        if len(chosen):
            _draw_style(rng, haematoxylin, eosin, chosen, STYLES[name], direction, chromatin, scale)


def _draw_style(rng, haematoxylin, eosin, centres, style, direction, chromatin, scale) -> None:
    count = len(centres)
    column = (count, 1, 1)
    radius = style.radius * scale * np.exp(SIZE_SPREAD * style.pleomorphism * rng.standard_normal(column))
    radius = np.clip(radius, 1.2, 2.2 * style.radius * scale)
    elongation = np.maximum(1, 1 + (style.elongation - 1) * rng.uniform(0.4, 1.6, column))
    angle = rng.uniform(0, np.pi, column)
    if style.elongation > 2:
        angle = direction[centres[:, 0], centres[:, 1]].reshape(column) + 0.15 * rng.standard_normal(column)
    long, short = radius * np.sqrt(elongation), radius / np.sqrt(elongation)
    reach = int(np.ceil(min(long.max(), 24) * 1.15)) + 2
    offset = np.arange(-reach, reach + 1, dtype=np.float32)
    dx = offset[None, None, :] - rng.uniform(-0.5, 0.5, column).astype(np.float32)
    dy = offset[None, :, None] - rng.uniform(-0.5, 0.5, column).astype(np.float32)
    cosine, sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    u = (dx * cosine + dy * sine) / long.astype(np.float32)
    v = (dy * cosine - dx * sine) / short.astype(np.float32)
    turn = np.arctan2(v, u)
    phase = rng.uniform(0, 2 * np.pi, (3, *column)).astype(np.float32)
    outline = 1 + style.irregularity * (
        np.cos(2 * turn + phase[0]) + np.cos(3 * turn + phase[1]) + 0.6 * np.cos(5 * turn + phase[2])
    )
    depth = (outline - np.hypot(u, v)) * short.astype(np.float32)  # pixels inside the outline, about
    opacity = style.opacity * np.clip(depth + 0.5, 0, 1)
    rows, columns = centres[:, :1, None] + np.arange(-reach, reach + 1)[None, :, None], centres[:, 1:, None]
    columns = columns + np.arange(-reach, reach + 1)[None, None, :]
    height, width = haematoxylin.shape
    texture = chromatin[rows % height, columns % width]
    amount = style.density * rng.uniform(0.8, 1.2, column).astype(np.float32)
    amount = amount * (1 + style.chromatin * texture * 0.6 + style.rim * np.exp(-np.square(depth / (1.1 * scale))))
    if style.nucleolus:
        place = rng.uniform(-0.4, 0.4, (2, *column)).astype(np.float32)
        distance = np.square((u - place[0]) * long) + np.square((v - place[1]) * short)
        visible = (rng.random(column) < style.nucleolus) * rng.uniform(0.5, 1.0, column)
        amount = amount + visible * style.density * np.exp(-distance / (2 * (1.1 * scale) ** 2))
    amount = np.maximum(amount, 0.15).astype(np.float32)
    for i, (y, x) in enumerate(centres):
        top, left = max(y - reach, 0), max(x - reach, 0)
        bottom, right = min(y + reach + 1, height), min(x + reach + 1, width)
        inside = np.s_[i, top - y + reach : bottom - y + reach, left - x + reach : right - x + reach]
        cover = opacity[inside]
        place = np.s_[top:bottom, left:right]
        haematoxylin[place] += cover * (amount[inside] - haematoxylin[place])
        eosin[place] *= 1 - 0.55 * cover
