"""Every picture of a command line: found, predicted or skipped, and summed up."""

import os
import traceback
from argparse import Namespace
from collections import deque
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import jax

from crcfp_jax.blending.programs import window_mesh
from crcfp_jax.common.command import user_line
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import user_error_on_write
from crcfp_jax.portable_model.card import Card
from crcfp_jax.portable_model.folder import load_model
from crcfp_jax.runs.host_memory import KeptMemory
from crcfp_jax.slides.engine import Engine, Timing
from crcfp_jax.slides.formats import need_uncertainty
from crcfp_jax.slides.frames import fingerprint, match_regions
from crcfp_jax.slides.inputs import Input, find_inputs
from crcfp_jax.slides.one_slide import Making
from crcfp_jax.slides.options import Options
from crcfp_jax.slides.result_folders import ResultFolders
from crcfp_jax.slides.summary import Summary

READERS = 8  # threads, at most
UNDER_WAY = 32  # pictures that may be begun before the first is complete
FEW_WINDOWS = 512  # of pictures that may wait for their files; a large one has memory and scratch files of its own


def predict_all(given: Namespace, formats: tuple[str, ...]) -> int:
    """Does what `crcfp_jax.predict` was asked for.

    Returns:
        The exit code: 1 where a picture failed.

    Raises:
        UserError: an option, the model or the output folder can't be used, or an input names nothing.
    """
    inputs = find_inputs(given.inputs, given.output)
    pictures, left_out = inputs.pictures, inputs.notes
    if given.regions is not None:
        pictures, without_picture = match_regions(pictures, given.regions)
        left_out += without_picture
    model = load_model(given.model)
    card = model.card
    options = Options(
        microns_per_pixel=given.mpp,
        forced_microns_per_pixel=given.force_mpp,
        side=card.window if given.tile is None else given.tile,
        overlap=card.overlap if given.overlap is None else given.overlap,
        batch_size=given.batch_size,
        tissue_only=given.tissue_only,
        formats=formats,
        least_area=given.least_area,
    )
    if options.side % card.step and options.side != card.window:
        above = -(-options.side // card.step) * card.step
        raise UserError(f"--tile {options.side}: give a multiple of {card.step} pixels, the model's, such as {above}")
    devices = jax.local_devices()
    forward = model.predictor(devices, uncertainty=need_uncertainty(formats))
    settings = {"model": card.digest} | options.settings()
    folders = ResultFolders(
        given.output,
        settings,
        own=lambda picture: {"--regions": fingerprint(picture.regions)},
        overwrite=given.overwrite,
    )
    threads = min(READERS, os.cpu_count() or 1)
    with (
        Summary(given.output, card.classes, len(pictures)) as summary,
        ThreadPoolExecutor(threads, "read") as pool,
        Pictures(card, folders, options, summary, threads=threads) as under_way,
        Engine(
            forward, mesh=window_mesh(devices), side=options.side, batch_size=options.batch_size, pool=pool
        ) as engine,
    ):
        for sentence in left_out:
            summary.note(sentence)
        for picture in pictures:
            under_way.predict(picture, engine)
        engine.flush()
        under_way.wait()
    return summary.exit_code


class Pictures:
    """Pictures on their way: the next one is begun while files of those before are completed, in threads."""

    def __init__(self, card: Card, folders: ResultFolders, options: Options, summary: Summary, *, threads: int):
        self._card, self._folders, self._options, self._summary = card, folders, options, summary
        self._threads = ThreadPoolExecutor(threads, "finish")
        self._under_way: deque[tuple[Future, int]] = deque()  # being completed, and the windows of each
        self._memory = KeptMemory()

    def __enter__(self) -> "Pictures":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def predict(self, picture: Input, engine: Engine) -> None:
        """Begins a picture: its results will come, or it is noted why not.

        Raises:
            UserError: not enough memory, for this one or one before.
        """
        self._make_room(engine)
        self._memory.trim_if_grown()  # pictures of other sizes leave holes
        try:
            if (result := self._folders.finished(picture)) is not None:
                self._summary.skipped(picture, result)
                return
            with ExitStack() as stack:
                folder = stack.enter_context(self._folders.claimed(picture))
                if folder is None:
                    if (result := self._folders.finished(picture)) is not None:  # another process has just made it
                        self._summary.skipped(picture, result)
                    else:
                        self._summary.busy(picture)
                    return
                with self._summary.progress(picture) as advance:
                    making = stack.enter_context(Making(self._card, picture, folder, self._options))
                    advance(0, making.plan.count)
                    with user_error_on_write(folder.parent):
                        timing = engine.send(making.job(advance))
                finish = self._threads.submit(self._finish, stack.pop_all(), making, timing, picture, folder)
                self._under_way.append((finish, making.plan.count))
        except Exception as error:  # one bad picture must not cost a night's others
            self._failed(picture, error)

    def wait(self) -> None:
        """Waits for all that were begun."""
        while self._under_way:
            self._under_way.popleft()[0].result()

    def _make_room(self, engine: Engine) -> None:
        """Bounds the files that are open, and the memory of large pictures."""
        while self._under_way:
            before = sum(count for _, count in self._under_way) - self._under_way[-1][1]
            if not self._under_way[0][0].done():
                if len(self._under_way) < UNDER_WAY and before <= FEW_WINDOWS:
                    return
                engine.flush()
            self._under_way.popleft()[0].result()

    def _finish(self, stack: ExitStack, making: Making, timing: "Future[Timing]", picture: Input, folder: Path) -> None:
        try:
            with stack:
                result = self._folders.finish(folder, picture, making.finish(timing))
        except CancelledError:  # the command ends, for a reason that is told elsewhere
            pass
        except Exception as error:
            self._failed(picture, error)
        else:
            self._summary.done(picture, result)

    def _failed(self, picture: Input, error: Exception) -> None:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):  # the latter is XLA's word for it
            size = f"{self._options.batch_size} windows of {self._options.side} pixels"
            line = f"not enough memory for batches of {size}: give a smaller --batch_size"
            self._summary.failed(picture, line)
            raise UserError(line) from error  # the next picture would fare no better
        line = user_line(error)
        if line is None:
            traceback.print_exception(error)
            line = f"a defect of crcfp-jax ({type(error).__name__}: {error}); its traceback is above"
        self._summary.failed(picture, line)
