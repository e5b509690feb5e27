"""From stain concentrations to a scanned image: each hospital's dyes, section thickness and scanner."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_pipelines.synthesis.layout import smooth_field

HOSPITAL_SPREAD = 0.9  # 0: all hospitals look the same; 1: as far apart as the ranges below allow
TILE_VARIATION = 0.05  # deviation of the logarithm of stain strength and thickness between tiles of a hospital

# Optical densities of red, green and blue per unit of concentration; the low and the high end of what hospitals use.
HAEMATOXYLIN = np.array([[0.78, 0.60, 0.24], [0.46, 0.78, 0.42]])  # blue .. purple
EOSIN = np.array([[0.07, 0.92, 0.34], [0.20, 0.70, 0.68]])  # magenta pink .. salmon
RED_CELLS = np.array([[0.16, 0.92, 0.62], [0.20, 0.84, 0.84]])  # crimson .. brick
BALANCE = (0.66, 1.45)  # strength of haematoxylin, and its inverse that of eosin
THICKNESS = (0.70, 1.05)  # relative to nominal
WHITE = np.array([[0.98, 0.94, 0.86], [0.88, 0.93, 0.98]])  # scanner's white point: warm .. cool
GAMMA = (0.85, 1.2)
BLUR = (0.45, 1.0)  # pixels, deviation of the point spread
NOISE = (0.030, 0.008)  # deviation of the sensor's noise, of full scale
MAGNIFICATION = (0.92, 1.10)  # of all structures: section treatment and pixel size

# Eight training hospitals: an orthogonal array, so that every two of them differ in four of the seven traits
# (haematoxylin hue, eosin hue, balance, thickness, scanner colour, focus, magnification). The rest are weighted means
# of training hospitals: inside their range, but like none of them.
_A, _B, _C = (np.array([(i >> bit) & 1 for i in range(8)]) * 2 - 1 for bit in range(3))
TRAINING = np.stack([_A, _B, _C, _A * _B, _A * _C, _B * _C, _A * _B * _C], 1)
MIXTURES = {
    "H09": (1, 5, 7),
    "H10": (2, 4, 8),
    "H11": (1, 4, 6),
    "H12": (3, 6, 7),
    "H13": (8, 2, 5),
    "H14": (7, 4, 3),
}
MIXTURE_WEIGHTS = (0.75, 0.15, 0.10)  # the first is the training hospital that it resembles most


@dataclass(frozen=True)
class Appearance:
    """`stains` [3, 3]: optical density of red, green, blue per unit of haematoxylin, eosin, red cells; the rest."""

    stains: np.ndarray
    thickness: float
    white: np.ndarray  # [3] intensity of empty glass, of full scale
    gamma: float
    blur: float  # pixels
    noise: float  # of full scale
    magnification: float


def _traits(hospital: str) -> np.ndarray:
    number = int(hospital[1:])
    if number <= 8:
        return TRAINING[number - 1].astype(float)
    return np.array(MIXTURE_WEIGHTS) @ TRAINING[np.array(MIXTURES[hospital]) - 1]


def appearance(hospital: str) -> Appearance:
    """Returns the look of a hospital, 'H01' to 'H14'; KeyError for another name."""
    traits = 0.5 + 0.5 * HOSPITAL_SPREAD * _traits(hospital)

    def between(ends, trait: int):
        return (1 - traits[trait]) * np.asarray(ends[0]) + traits[trait] * np.asarray(ends[1])

    balance = np.exp(between(np.log(BALANCE), 2))
    stains = np.stack(
        [between(HAEMATOXYLIN, 0) * np.sqrt(balance), between(EOSIN, 1) / np.sqrt(balance), between(RED_CELLS, 1)]
    )
    return Appearance(
        stains=stains.astype(np.float32),
        thickness=float(between(THICKNESS, 3)),
        white=between(WHITE, 4).astype(np.float32),
        gamma=float(between(GAMMA, 4)),
        blur=float(between(BLUR, 5)),
        noise=float(between(NOISE, 5)),
        magnification=float(between(MAGNIFICATION, 6)),
    )


def transmit(concentrations: np.ndarray, look: Appearance) -> np.ndarray:
    """Returns the light that passes, float32 [h, w, 3] of full scale, by Beer and Lambert's law.

    intensity = white * 10 ** -(thickness * sum over stains of concentration * optical density)
    """
    density = look.thickness * (concentrations @ look.stains)
    return look.white * np.exp(-np.float32(np.log(10)) * density)


def scan(rng: np.random.Generator, concentrations: np.ndarray, look: Appearance) -> np.ndarray:
    """Returns the scanned image uint8 [h, w, 3] of stain `concentrations` float32 [h, w, 3]."""
    size = concentrations.shape[0]
    uneven = 1 + 0.04 * smooth_field(rng, size, 128)  # section thickness within a tile
    strength = np.exp(TILE_VARIATION * rng.standard_normal(3)).astype(np.float32)
    light = transmit(concentrations * uneven[..., None] * strength, look)
    light = cv2.GaussianBlur(light, (0, 0), look.blur * rng.uniform(0.9, 1.1))
    image = light**look.gamma
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    image += look.noise * grain
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
