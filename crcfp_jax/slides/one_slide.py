"""One picture, from its file to its results."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crcfp_jax.common.files import check_space, user_error_on_write
from crcfp_jax.portable_model.card import Card
from crcfp_jax.slides.engine import Forward, Timing, predict_canvas
from crcfp_jax.slides.formats import FORMATS, need_uncertainty
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


@dataclass(frozen=True)
class Predictor:
    """A model ready to run."""

    card: Card
    forward: Forward
    devices: int  # that share a batch


def predict_picture(
    predictor: Predictor,
    picture: Input,
    folder: Path,
    options: Options,
    *,
    pool: Executor,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Writes the wanted files of a picture into a folder.

    Args:
        predictor: a model on its devices.
        picture: what is predicted.
        folder: an empty folder.
        options: how.
        pool: threads that read.
        advance: called with the windows just done and all windows.

    Returns:
        What result.json says of the picture: JSON.

    Raises:
        UserError: the picture or its regions can't be read, nothing tells its pixel size, or the disk is full.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        plan = plan_picture(stack.enter_context(open_slide(picture.path)), predictor.card, options)
        frames, notes = ([], []) if picture.regions is None else read_frames(picture.regions, plan.slide.size)
        frame_areas = FrameAreaWriter(folder, plan.grid, predictor.card.classes, frames)
        size = _size_in_the_making(plan.grid, options, len(predictor.card.classes))
        check_space(folder.parent, size, what="making the results", option="--output")
        with user_error_on_write(folder.parent):
            writers = _open_writers(stack, folder, plan, predictor.card, options)
        if frames:
            writers.append(frame_areas)
        size = (plan.view.size[0], plan.view.size[1])
        output = Output(size, plan.grid, plan.tissue, writers, num_classes=len(predictor.card.classes))
        advance(0, plan.count)
        with user_error_on_write(folder.parent):
            timing = predict_canvas(
                plan.view,
                plan.tiling,
                plan.windows,
                predictor.forward,
                output.write,
                channels=len(predictor.card.classes) + need_uncertainty(options.formats),
                devices=predictor.devices,
                batch_size=options.batch_size,
                pool=pool,
                slab_height=slab_height(plan.view.size[1]),
                advance=lambda done: advance(done, plan.count),
            )
            output.finish()
        notes += [note for writer in writers for note in getattr(writer, "notes", ())]
    # What is hidden is a user's, put aside (`ResultFolders.claimed`).
    files = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    result = _describe_result(plan, predictor.card, options, output.areas, files, timing, time.perf_counter() - started)
    result["input"]["notes"] += notes
    return result | {"regions": frame_areas.describe()}


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
