"""Stain concentrations of everything between the nuclei: fibres, cytoplasm, debris, fat, red cells."""

import cv2
import numpy as np

from data_pipelines.synthesis import layout
from data_pipelines.synthesis.layout import Layout, smooth_field
from data_pipelines.synthesis.nuclei import draw_nuclei

FIBRE_CONTRAST = 0.30  # eosin between a fibre and the gap beside it
CLEFT_SHARE = 0.10  # of stroma that is empty gaps between bundles
FIBRE_ORDER = 5.0  # 0: fibres whorl around nests; high: straight parallel fibres
TUMOUR_CYTOPLASM = (0.36, 0.38)  # haematoxylin, eosin: less of the first looks like stroma
NECROSIS_STAIN = (0.08, 0.36)  # haematoxylin, eosin: more of the second looks like stroma
NECROSIS_GRAIN = 1.0  # contrast of the debris: lower looks like smooth cytoplasm
TILE_SPREAD = 0.10  # deviation of a tile's cytoplasm, fibre and debris concentrations


def fine_noise(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """Returns white noise float32 [size, size] blurred over `sigma` pixels, of deviation 1."""
    noise = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), sigma)
    return noise / noise.std()


def flow(rng: np.random.Generator, nests: np.ndarray) -> np.ndarray:
    """Returns unit vectors float32 [h, w, 2] (x, y) along the fibres: one main direction that bends around nests."""
    size = nests.shape[0]
    along, angle = np.linspace(-1, 1, size, dtype=np.float32), rng.uniform(0, 2 * np.pi)
    slope = np.float32(np.cos(angle)) * along[None, :] + np.float32(np.sin(angle)) * along[:, None]
    potential = cv2.GaussianBlur(0.7 * nests + 0.4 * smooth_field(rng, size, 40), (0, 0), 7)
    potential = potential + FIBRE_ORDER * size / 256 * slope + 0.04 * smooth_field(rng, size, 14)
    vectors = np.stack([-cv2.Sobel(potential, cv2.CV_32F, 0, 1), cv2.Sobel(potential, cv2.CV_32F, 1, 0)], -1)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def fibres(noise: np.ndarray, vectors: np.ndarray, length: int, step: float) -> np.ndarray:
    """Returns `noise` smeared along the flow (line integral convolution), float32 [h, w] of deviation 1."""
    height, width = noise.shape
    x0, y0 = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    total = noise.copy()
    for sign in (step, -step):
        x, y = x0, y0
        for _ in range(length):
            along = cv2.remap(vectors, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            x, y = x + sign * along[..., 0], y + sign * along[..., 1]
            total += cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    total -= total.mean()
    return total / total.std()


def cells(rng: np.random.Generator, size: int, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns packed cells [size, size]: pixels to the nearest border between two cells, to the centre, cell number."""
    points = rng.integers(0, size, (int(3 * (size / spacing + 2) ** 2), 2))
    taken = np.zeros((size, size), np.uint8)
    seeds = np.full((size, size), 255, np.uint8)
    for x, y in points.tolist():
        if not taken[y, x]:
            seeds[y, x] = 0
            cv2.circle(taken, (x, y), int(spacing * 0.8), 1, -1)
    centre, cell = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    edge = np.ones((size, size), np.uint8)
    edge[:, 1:][cell[:, 1:] != cell[:, :-1]] = 0
    edge[1:][cell[1:] != cell[:-1]] = 0
    return cv2.distanceTransform(edge, cv2.DIST_L2, 5), centre, cell


def concentrations(rng: np.random.Generator, drawn: Layout, scale: float) -> np.ndarray:
    """Returns stain concentrations float32 [h, w, 3]: haematoxylin, eosin, red cells (haemoglobin and eosin).

    A concentration of 1 is a strongly stained structure at nominal thickness. `scale` is the magnification.
    """
    size = drawn.kind.shape[0]
    vary = dict(zip(range(8), np.exp(TILE_SPREAD * rng.standard_normal(8)), strict=True))
    vectors = flow(rng, drawn.nests)
    bundle = fibres(fine_noise(rng, size, 1.0 * scale), vectors, 12, 1.6 * scale)
    coarse = fibres(fine_noise(rng, size, 2.6 * scale), vectors, 10, 2.5 * scale)
    chromatin, mottle = fine_noise(rng, size, 0.9 * scale), fine_noise(rng, size, 2.2 * scale)
    cloud = smooth_field(rng, size, 20 * scale)

    stains = np.zeros((8, 3, size, size), np.float32)  # tissue kind, stain
    fibre = np.clip(0.50 + FIBRE_CONTRAST * (0.5 * bundle + 0.45 * coarse), 0.06, 1.2)
    cleft = np.clip((coarse + 0.5 * bundle - np.quantile(coarse + 0.5 * bundle, CLEFT_SHARE)) / 0.35, 0.12, 1)
    stains[layout.STROMA, :2] = 0.09 + 0.03 * mottle, fibre * cleft * vary[layout.STROMA]
    border, _, _ = cells(rng, size, 14 * scale)
    cytoplasm = (1 + 0.10 * mottle + 0.12 * cloud) * (0.72 + 0.28 * np.clip(border / (1.6 * scale), 0, 1))
    cytoplasm *= vary[layout.TUMOUR]
    stains[layout.TUMOUR, :2] = (TUMOUR_CYTOPLASM[0] * cytoplasm, TUMOUR_CYTOPLASM[1] * cytoplasm)
    stains[layout.INFLAMMATORY, :2] = 0.12 + 0.04 * mottle, (0.20 + 0.09 * bundle + 0.06 * cloud) * vary[2]
    debris = np.clip(1 + NECROSIS_GRAIN * (0.38 * chromatin + 0.36 * mottle + 0.10 * cloud), 0.1, 2.4)
    stains[layout.NECROSIS, :2] = (NECROSIS_STAIN[0] * debris, NECROSIS_STAIN[1] * debris * vary[layout.NECROSIS])
    membrane, _, _ = cells(rng, size, 36 * scale)
    membrane = np.maximum(cv2.GaussianBlur(membrane, (0, 0), 2.5 * scale) - 0.9 * scale + 0.25 * mottle, 0)
    ring = np.exp(-np.square(membrane / (1.2 * scale)))
    stains[layout.FAT, :2] = 0.05 * ring, 0.38 * ring + 0.012
    rim, centre, cell = cells(rng, size, 5.8 * scale)
    tone = rng.uniform(0.55, 1.15, int(cell.max()) + 1).astype(np.float32)[cell]
    body = np.clip((rng.uniform(3.1, 4.3, int(cell.max()) + 1).astype(np.float32)[cell] * scale - centre) / 1.5, 0, 1)
    body = body * (0.75 + 0.25 * np.clip(rim / scale, 0, 1)) * (1 - 0.25 * np.exp(-np.square(centre / (1.6 * scale))))
    stains[layout.BLOOD, 2] = (0.14 + 0.72 * tone * body) * vary[layout.BLOOD]
    stains[layout.WALL, 0] = 0.12
    stains[layout.WALL, 1] = np.clip(0.62 + 0.16 * bundle, 0.2, 1.1) * vary[layout.WALL]
    stains[layout.LUMEN, 1] = np.clip(0.03 + 0.015 * cloud, 0, 1)

    weights = [cv2.GaussianBlur((drawn.kind == k).astype(np.float32), (0, 0), 1.4) for k in range(8)]
    mixed = np.einsum("khw,kshw->shw", np.stack(weights), stains)
    # A thin retraction gap sets nests off from stroma here and there.
    gap = 4 * weights[layout.TUMOUR] * weights[layout.STROMA] * np.clip(cloud, 0, 1)
    mixed *= 1 - 0.8 * np.clip(gap, 0, 1)
    angle = np.arctan2(vectors[..., 1], vectors[..., 0])
    draw_nuclei(rng, mixed[0], mixed[1], drawn.kind, angle, chromatin, scale)
    return np.ascontiguousarray(np.maximum(mixed, 0).transpose(1, 2, 0)) * (1 + 1.1 * drawn.fold[..., None])
