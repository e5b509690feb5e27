"""One picture, from its file to its results."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from crcfp_jax.common.files import check_space, user_error_on_write
from crcfp_jax.portable_model.card import Card
from crcfp_jax.slides.engine import Job, Timing
from crcfp_jax.slides.formats import FORMATS, need_uncertainty, needed_of_pixels
from crcfp_jax.slides.frames import read_frames
from crcfp_jax.slides.inputs import Input
from crcfp_jax.slides.options import Options
from crcfp_jax.slides.plan import SlidePlan, caveats, plan_picture
from crcfp_jax.slides.strips import slab_height
from crcfp_jax.slides.writing.areas import AreaCount
from crcfp_jax.slides.writing.band import OutputGrid
from crcfp_jax.slides.writing.frame_areas import FrameAreaWriter
from crcfp_jax.slides.writing.mask import PNG_PIXELS
from crcfp_jax.slides.writing.output import Output, Writer
from data_pipelines.reading.open import open_slide


class Making:
    """A picture's results in the making, in a folder; use it as a context manager.

    Its `job` goes to the engine; `finish` completes the files once the engine has handed on every row.
    """

    def __init__(self, card: Card, picture: Input, folder: Path, options: Options):
        """Opens the picture and the files.

        Args:
            card: of the model.
            picture: what is predicted.
            folder: an empty folder.
            options: how.

        Raises:
            UserError: the picture or its regions can't be read, nothing tells its pixel size, or the disk is full.
        """
        self._started = time.perf_counter()
        self._card, self._folder, self._options = card, folder, options
        classes = card.classes
        with ExitStack() as stack:
            self.plan = plan_picture(stack.enter_context(open_slide(picture.path)), card, options)
            frames, self._notes = (
                ([], []) if picture.regions is None else read_frames(picture.regions, self.plan.slide.size)
            )
            self._frame_areas = FrameAreaWriter(folder, self.plan.grid, classes, frames)
            size = _size_in_the_making(self.plan.grid, options, len(classes))
            check_space(folder.parent, size, what="making the results", option="--output")
            with user_error_on_write(folder.parent):
                self._writers = _open_writers(stack, folder, self.plan, card, options)
            if frames:
                self._writers.append(self._frame_areas)
            self._output = Output(self.plan.grid, self.plan.tissue, self._writers, num_classes=len(classes))
            stack.callback(self._output.close)
            self._stack = stack.pop_all()

    def __enter__(self) -> "Making":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def job(self, advance: Callable[[int, int], None]) -> Job:
        """What the engine is to do; `advance` is called with the windows just done and all windows."""
        plan, count = self.plan, len(self._card.classes)
        return Job(
            canvas=plan.view,
            tiling=plan.tiling,
            windows=plan.windows,
            output=(plan.grid.height, plan.grid.width),
            channels={"probabilities": count} | ({"uncertainty": 1} if need_uncertainty(self._options.formats) else {}),
            gives=needed_of_pixels(self._options.formats),
            sink=self._output.write,
            slab_height=slab_height(plan.view.size[1]),
            advance=lambda done: advance(done, plan.count),
        )

    def finish(self, timing: "Future[Timing]") -> dict[str, Any]:
        """Waits for the last row and completes the files.

        Returns:
            What result.json says of the picture: JSON.

        Raises:
            UserError: the picture can't be read, or the disk is full.
        """
        with user_error_on_write(self._folder.parent):
            took = timing.result()
            self._output.finish()
        # What is hidden is a user's, put aside (`ResultFolders.claimed`).
        files = sorted(file.name for file in self._folder.iterdir() if not file.name.startswith("."))
        seconds = time.perf_counter() - self._started
        result = _describe_result(self.plan, self._card, self._options, self._output.areas, files, took, seconds)
        result["input"]["notes"] += self._notes
        result["input"]["notes"] += [note for writer in self._writers for note in getattr(writer, "notes", ())]
        return result | {"regions": self._frame_areas.describe()}


def _size_in_the_making(grid: OutputGrid, options: Options, classes: int) -> int:
    """Bytes of the rows that are kept aside until a file can be written."""
    pixels = grid.height * grid.width
    planes = sum(FORMATS[name].kept(classes, pixels > PNG_PIXELS) for name in options.formats)  # bytes a pixel
    return pixels * planes * 4 // 3  # with the lower levels of the pyramids


def _open_writers(stack: ExitStack, folder: Path, plan: SlidePlan, card: Card, options: Options) -> list[Writer]:
    """The writers of the wanted files, each given up at the end of `stack` if it has not been finished."""
    given = {"folder": folder, "grid": plan.grid, "classes": card.classes, "slide": plan.slide}
    given["least_area"] = options.least_area
    writers = []
    for name in options.formats:
        writers.append(FORMATS[name].open(**given))
        stack.callback(writers[-1].close)
    return writers


def _describe_result(
    plan: SlidePlan, card: Card, options: Options, count: AreaCount, files: list[str], timing: Timing, seconds: float
) -> dict[str, Any]:
    of = len(plan.tiling.tops) * len(plan.tiling.lefts)
    megapixels = plan.view.size[0] * plan.view.size[1] / 1e6 * plan.count / of
    return {
        "input": {
            "size": list(plan.slide.size),
            "origin": list(plan.slide.origin),
            "microns_per_pixel": plan.microns_per_pixel,
            "notes": [*plan.slide.notes, *caveats(plan, card, options)],
        },
        "output": {
            "size": [plan.grid.height, plan.grid.width],
            "microns_per_pixel": plan.grid.microns_per_pixel,
            "files": files,
        },
        "tissue_share": None if plan.tissue is None else plan.tissue.share,
        "areas": count.describe(card.classes, plan.grid.millimetres2),
        "network": {"size": list(plan.view.size), "windows": plan.count, "of": of, "megapixels": megapixels},
        "timing": {
            "seconds": seconds,
            "network_seconds": timing.seconds,
            "compile_seconds": timing.compiling,
            "device_busy": timing.busy,
            "megapixels_per_second": megapixels / seconds,
        },
    }
