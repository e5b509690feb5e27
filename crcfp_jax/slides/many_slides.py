"""Every picture of a command line: found, predicted or skipped, and summed up."""

import os
import traceback
from argparse import Namespace
from concurrent.futures import Executor, ThreadPoolExecutor

import jax

from crcfp_jax.common.command import user_line
from crcfp_jax.common.errors import UserError
from crcfp_jax.portable_model.folder import load_model
from crcfp_jax.slides.formats import need_uncertainty
from crcfp_jax.slides.frames import fingerprint, match_regions
from crcfp_jax.slides.inputs import Input, find_inputs
from crcfp_jax.slides.one_slide import Predictor, predict_picture
from crcfp_jax.slides.options import Options
from crcfp_jax.slides.result_folders import ResultFolders
from crcfp_jax.slides.summary import Summary

READERS = 8  # threads, at most


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
    predictor = Predictor(card, model.predictor(devices, uncertainty=need_uncertainty(formats)), len(devices))
    settings = {"model": card.digest} | options.settings()
    folders = ResultFolders(
        given.output,
        settings,
        own=lambda picture: {"--regions": fingerprint(picture.regions)},
        overwrite=given.overwrite,
    )
    with (
        Summary(given.output, card.classes, len(pictures)) as summary,
        ThreadPoolExecutor(min(READERS, os.cpu_count() or 1), "read") as pool,
    ):
        for sentence in left_out:
            summary.note(sentence)
        for picture in pictures:
            _predict(predictor, picture, folders, options, pool, summary)
    return summary.exit_code


def _predict(
    predictor: Predictor, picture: Input, folders: ResultFolders, options: Options, pool: Executor, summary: Summary
) -> None:
    """Makes one picture's results, or notes why not."""
    try:
        if (result := folders.finished(picture)) is not None:
            summary.skipped(picture, result)
            return
        with folders.claimed(picture) as folder:
            if folder is None:
                if (result := folders.finished(picture)) is not None:  # another process has just made it
                    summary.skipped(picture, result)
                else:
                    summary.busy(picture)
                return
            with summary.progress(picture) as advance:
                result = predict_picture(predictor, picture, folder, options, pool=pool, advance=advance)
            result = folders.finish(folder, picture, result)
        summary.done(picture, result)
    except Exception as error:  # one bad picture must not cost a night's others
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):  # the latter is XLA's word for it
            size = f"{options.batch_size} windows of {options.side} pixels"
            line = f"not enough memory for batches of {size}: give a smaller --batch_size"
            summary.failed(picture, line)
            raise UserError(line) from error  # the next picture would fare no better
        line = user_line(error)
        if line is None:
            traceback.print_exc()
            line = f"a defect of crcfp-jax ({type(error).__name__}: {error}); its traceback is above"
        summary.failed(picture, line)
