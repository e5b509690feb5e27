"""From rows of the output to bands, and to every writer."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from crcfp_jax.slides.writing.areas import AreaCount
from crcfp_jax.slides.writing.band import NOT_ANALYSED, Band, OutputGrid
from crcfp_jax.slides.writing.mask import PNG_PIXELS
from data_pipelines.reading.tissue import Tissue

ROWS = 512  # of a band: files don't depend on the rows that come at a time
WAITING = 2  # bands that a writer may be behind


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
    """Makes bands of a fixed height of the rows that come; each writer gets them in a thread of its own.

    Attributes:
        areas: pixels of each class so far.
    """

    def __init__(self, grid: OutputGrid, tissue: Tissue | None, writers: Sequence[Writer], *, num_classes: int):
        """Args:
        grid: pixels of the output.
        tissue: what counts as analysed; None: everything.
        writers: get each band.
        num_classes: of the model.
        """
        self._grid, self._tissue, self._writers = grid, tissue, writers
        self._lanes = [ThreadPoolExecutor(1, "write") for _ in writers]
        self._waiting: deque[list[Future]] = deque()  # a band each
        self._parts: list[Band] = []  # of the band that is not complete
        self._top = 0
        self.areas = AreaCount(num_classes)

    def write(self, rows: int, found: Mapping[str, np.ndarray] | None) -> None:
        """Takes the next rows, as `blending.programs.settler` gives them; None: the network has seen none of them.

        Raises:
            Exception: of a writer, on this band or one before.
        """
        first = 0
        while first < rows:
            last = min(rows, first + ROWS - (self._top + first) % ROWS)
            part = found and {name: values[first:last] for name, values in found.items()}
            self._parts.append(self._band(self._top + first, last - first, part))
            if (self._top + last) % ROWS == 0:
                self._hand_on()
            first = last
        self._top += rows

    def finish(self) -> None:
        """Completes every file."""
        if self._top != self._grid.height:
            raise RuntimeError(f"{self._top} rows of {self._grid.height} came")
        if self._parts:
            self._hand_on()
        self._send(lambda writer: writer.finish())
        while self._waiting:
            self._wait()

    def close(self) -> None:
        """Waits for what the writers are at; no more is begun."""
        for lane in self._lanes:
            lane.shutdown(cancel_futures=True)

    def _hand_on(self) -> None:
        """Sends the parts of a band to the writers."""
        band, self._parts = joined(self._parts), []
        self.areas.add(band.classes)
        while len(self._waiting) >= WAITING:
            self._wait()
        self._send(lambda writer: writer.write(band))

    def _send(self, do: Callable[[Writer], None]) -> None:
        self._waiting.append([lane.submit(do, writer) for lane, writer in zip(self._lanes, self._writers, strict=True)])

    def _wait(self) -> None:
        for future in self._waiting.popleft():
            future.result()

    def _band(self, top: int, rows: int, found: Mapping[str, np.ndarray] | None) -> Band:
        width = self._grid.width
        if found is None:
            return Band(top, np.full((rows, width), NOT_ANALYSED, np.uint8))
        classes = np.array(found["classes"], order="C")  # those of a device may be read only, and wider than the output
        probabilities, uncertainty = found.get("probabilities8"), found.get("uncertainty16")
        if self._tissue is not None:
            glass = ~self._tissue.window(top, 0, rows, width, (self._grid.height, width))
            classes[glass] = NOT_ANALYSED
            probabilities, uncertainty = (_without(values, glass) for values in (probabilities, uncertainty))
        return Band(top, classes, probabilities, uncertainty)


def joined(parts: Sequence[Band]) -> Band:
    """Bands that follow one another, as one."""
    if len(parts) == 1:
        return parts[0]
    planes = {}
    for name in ("probabilities", "uncertainty"):
        found = [getattr(part, name) for part in parts]
        some = next((plane for plane in found if plane is not None), None)
        if some is not None:
            nothing = (np.zeros((len(part.classes), *some.shape[1:]), some.dtype) for part in parts)
            planes[name] = np.concatenate([n if p is None else p for n, p in zip(nothing, found, strict=True)])
    return Band(parts[0].top, np.concatenate([part.classes for part in parts]), **planes)


def _without(values: np.ndarray | None, glass: Bool[np.ndarray, "rows width"]) -> np.ndarray | None:
    if values is None:
        return None
    values = np.array(values, order="C")
    values[glass] = 0
    return values
