"""Bands of rows: the unit in which results go from the network to the files."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8, UInt16

from crcfp_jax.blending.programs import UNSEEN

NOT_ANALYSED = UNSEEN  # class number of pixels that no network has seen


@dataclass(frozen=True, eq=False)
class Band:
    """Some rows of the output, at its full width.

    Bands come from the top to the bottom and leave out no row. The arrays are the receiver's to read, not to change.
    """

    top: int  # first row, in output pixels
    classes: UInt8[np.ndarray, "rows width"]  # class numbers; NOT_ANALYSED elsewhere
    # 255 = 1; 0 where not analysed. None: all 0, or no format wants them
    probabilities: UInt8[np.ndarray, "rows width c"] | None = None
    uncertainty: UInt16[np.ndarray, "rows width"] | None = None  # 65535 = 1; likewise


@dataclass(frozen=True)
class OutputGrid:
    """The pixels of the output, which cover exactly the slide."""

    height: int
    width: int
    scale: tuple[float, float]  # slide pixels per output pixel: y, x
    microns_per_pixel: float  # of an output pixel

    @property
    def millimetres2(self) -> float:
        """Area of an output pixel."""
        return (self.microns_per_pixel / 1000) ** 2
