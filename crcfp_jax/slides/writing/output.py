"""From rows of the canvas to bands of the output, and to every writer."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from crcfp_jax.slides.writing.areas import AreaCount
from crcfp_jax.slides.writing.band import NOT_ANALYSED, Band, OutputGrid
from crcfp_jax.slides.writing.mask import PNG_PIXELS
from data_pipelines.reading.resample import RowResampler
from data_pipelines.reading.tissue import Tissue


@runtime_checkable
class Writer(Protocol):
    """Takes bands in their order; `finish` completes the file, `close` alone gives it up.

    One may have `notes` besides: lines that a user should see of what it wrote.
    """

    def write(self, band: Band) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


def output_grid(size: tuple[int, int], microns_per_pixel: float, canvas: tuple[int, int]) -> OutputGrid:
    """The pixels of the output: the slide's own, or the network's where the slide is large and these are coarser.

    Args:
        size: height, width of the slide in pixels.
        microns_per_pixel: of the slide.
        canvas: height, width of the slide in pixels as the network sees them.
    """
    own = size[0] * size[1] <= PNG_PIXELS or canvas[0] * canvas[1] >= size[0] * size[1]
    height, width = size if own else canvas
    scale = (size[0] / height, size[1] / width)
    return OutputGrid(height, width, scale, microns_per_pixel * (scale[0] + scale[1]) / 2)


class Output:
    """Brings rows to the output's pixels, decides the class of each, and hands them to the writers.

    Attributes:
        areas: pixels of each class so far.
    """

    def __init__(
        self,
        canvas: tuple[int, int],
        grid: OutputGrid,
        tissue: Tissue | None,
        writers: Sequence[Writer],
        *,
        num_classes: int,
    ):
        """Args:
        canvas: height, width of the rows that come, in all.
        grid: pixels of the output.
        tissue: what counts as analysed; None: everything.
        writers: get each band.
        num_classes: channels of a row that are probabilities; one more is the uncertainty.
        """
        self._grid, self._tissue, self._writers, self._classes = grid, tissue, writers, num_classes
        self._resampler = RowResampler(canvas, (grid.height, grid.width))
        self._top = 0
        self.areas = AreaCount(num_classes)

    def write(self, rows: Float32[np.ndarray, "rows width channels"]) -> None:
        """Takes the next rows of the canvas."""
        values = self._resampler.push(rows)
        if not len(values):
            return
        total = values[..., : self._classes] @ np.ones(self._classes, np.float32)
        seen = total > 0
        if self._tissue is not None:
            size = (self._grid.height, self._grid.width)
            seen &= self._tissue.window(self._top, 0, *values.shape[:2], size)
        classes = np.full(seen.shape, NOT_ANALYSED, np.uint8)
        settled = np.zeros_like(values)
        columns = np.flatnonzero(seen.any(0))  # most of a slide is glass
        if len(columns):
            part, shown = values[:, columns], seen[:, columns]
            # Of the values as they are, as evaluation takes it: division may round two of them to the same number.
            classes[:, columns] = np.where(shown, part[..., : self._classes].argmax(-1), NOT_ANALYSED)
            # Where pixels that were looked at meet others, an output pixel may be a mean of both.
            part /= np.where(shown, total[:, columns], 1)[..., None]
            part[~shown] = 0
            settled[:, columns] = part
        probabilities = settled[..., : self._classes]
        uncertainty = settled[..., self._classes] if settled.shape[-1] > self._classes else None
        band = Band(self._top, classes, probabilities, uncertainty)
        self.areas.add(classes)
        for writer in self._writers:
            writer.write(band)
        self._top += len(values)

    def finish(self) -> None:
        """Completes every file."""
        if self._top != self._grid.height:
            raise RuntimeError(f"{self._top} rows of {self._grid.height} came")
        for writer in self._writers:
            writer.finish()
