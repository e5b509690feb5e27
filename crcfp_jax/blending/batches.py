"""Windows of one canvas after another in full batches."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8

from crcfp_jax.blending.blender import Blender
from data_pipelines.tiling import Window

# Starts a batch of windows, uint8 [n, side, side, 3], on the devices, without waiting for them: 'probabilities' float32
# [n, side, side, c] and, with a model that has it, 'uncertainty' float32 [n, side, side].
Forward = Callable[[UInt8[np.ndarray, "n side side 3"]], Mapping[str, Any]]


class Batches:
    """Sends windows through the network, some at a time, and their results to the blenders of their canvases.

    Windows of a canvas come in the order of its tiling, one canvas after another; they share batches.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        side: int,
        size: int,
        least: int,
        started: Callable[[Mapping[str, Any], Mapping[Blender, int]], None],
    ):
        """Args:
        forward: starts a batch. It always gets few shapes, since each is compiled.
        side: pixels of a window.
        size: windows of a full batch.
        least: windows of the smallest one; batches between have that number times a power of two.
        started: called with the results of each batch, which are under way, and how many windows of it each canvas
            has; it may wait.
        """
        self._forward, self._side, self._size, self._least, self._started = forward, side, size, least, started
        self._known: set[int] = set()  # numbers of windows that are compiled
        self._pixels: np.ndarray | None = None
        self._places: list[tuple[Blender, Window]] = []
        self._ending: list[Blender] = []

    def push(self, blender: Blender, window: Window, pixels: UInt8[np.ndarray, "side side 3"]) -> None:
        """Takes the next window."""
        while not blender.reaches(window):
            if any(owner is blender and blender.touches_block(waiting) for owner, waiting in self._places):
                self.flush()
            blender.finish_block()
        if self._pixels is None:
            self._pixels = np.empty((self._size, self._side, self._side, 3), np.uint8)
        self._pixels[len(self._places)] = pixels
        self._places.append((blender, window))
        if len(self._places) == self._size:
            self.flush()

    def end(self, blender: Blender) -> None:
        """No window of this canvas will come: its last rows follow its last window."""
        if any(owner is blender for owner, _ in self._places):
            self._ending.append(blender)
        else:
            blender.finish()

    def flush(self) -> None:
        """Starts what is waiting, though the batch be not full."""
        if self._places:
            count = self._shape(len(self._places))
            batch, places = self._pixels[:count], self._places
            batch[len(places) :] = 0
            self._pixels, self._places = None, []  # the devices may read the batch while the next one is filled
            results = self._forward(batch)
            windows: dict[Blender, dict[int, Window]] = {}
            for number, (blender, window) in enumerate(places):
                windows.setdefault(blender, {})[number] = window
            for blender, own in windows.items():
                blender.add(results, own)
            self._started(results, {blender: len(own) for blender, own in windows.items()})
        ending, self._ending = self._ending, []
        for blender in ending:
            blender.finish()

    def _shape(self, count: int) -> int:
        """Windows of the batch that so many are sent in: one that is compiled before one that fits better."""
        fitting = [known for known in self._known if known >= count]
        if not fitting:
            shape = self._least
            while shape < count:
                shape *= 2
            fitting = [min(shape, self._size)]
            self._known.add(fitting[0])
        return min(fitting)
