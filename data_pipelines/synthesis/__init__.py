"""Synthetic tissue: images that look like haematoxylin and eosin, with labels, from a seed."""

import numpy as np

from data_pipelines.synthesis.layout import draw_layout
from data_pipelines.synthesis.staining import appearance, scan
from data_pipelines.synthesis.tissue import concentrations


def synthesise(seed: int, hospital: str, index: int, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Draws tile `index` of `hospital` ('H01' to 'H14').

    Returns:
      An image uint8 [size, size, 3] and its labels uint8 [size, size]: 0 tumour, 1 stroma, 2 inflammatory, 3 necrosis,
      4 other, 255 ignored. The same arguments give the same bytes.
    """
    look = appearance(hospital)
    rng = np.random.default_rng([seed, int(hospital[1:]), index])
    drawn = draw_layout(rng, size, look.magnification)
    return scan(rng, concentrations(rng, drawn, look.magnification), look), drawn.label
