"""Every slide of a command line looked at, and the suggestions written."""

import os
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.progress import progress_bar
from crcfp_jax.common.words import shown
from crcfp_jax.portable_model.card import KNOWN
from crcfp_jax.portable_model.folder import load_model
from crcfp_jax.portable_model.known import read_known
from crcfp_jax.slides.inputs import Input, find_inputs
from crcfp_jax.slides.options import Options
from crcfp_jax.slides.plan import caveats_of_scale, plan_picture
from crcfp_jax.suggest.candidates import BATCH, Candidates, Forward, find_candidates
from crcfp_jax.suggest.division import divide
from crcfp_jax.suggest.output import SHEET, TABLE, earlier_frames, sheet, write_output
from crcfp_jax.suggest.pictures import show
from crcfp_jax.suggest.suggestions import Suggestion, suggest
from data_pipelines.reading.open import open_slide

READERS = 8  # threads, at most


def run(given: Namespace) -> int:
    """Does what `python -m crcfp_jax.suggest` was asked for.

    Returns:
        The exit code: 1 where an input could not be read.

    Raises:
        UserError: the model or the output folder can't be used, an input names nothing, or there is no tissue.
    """
    if (given.output / TABLE).exists() and not given.overwrite:
        raise UserError(f"{given.output} holds suggestions: give --overwrite to replace them, or another --output")
    earlier = earlier_frames(given.output)
    inputs = find_inputs(given.inputs, given.output)
    pictures = inputs.pictures
    for note in inputs.notes:
        print(f"note: {note}")
    model = load_model(given.model)
    card = model.card
    forward = model.predictor(jax.local_devices()[:1], uncertainty=False, embedding=True)
    known = read_known(given.model / KNOWN) if KNOWN in card.files else None
    extent = card.window * card.microns_per_pixel
    group = max(1, round((given.size or extent) / extent))
    looks = {"overlap": 0.0, "batch_size": BATCH, "tissue_only": True, "formats": ("mask",)}
    options = Options(given.mpp, given.force_mpp, card.window, **looks)
    found, microns, failed = _look(pictures, forward, len(card.classes), group, options, card)
    suggestions = suggest(found, known, card.classes, given.regions)
    if not suggestions:
        raise UserError("no place to suggest: no input has a place that is tissue by half")
    views = [show(each, card, forward, options) for each in suggestions]
    paths = write_output(given.output, earlier, suggestions, microns, sheet(suggestions, views, card.classes))
    _tell(suggestions, given, known is not None, [str(path) for path in paths])
    return int(failed)


def _look(
    pictures: Sequence[Input], forward: Forward, classes: int, group: int, options: Options, card
) -> tuple[list[tuple[Input, Candidates]], dict[str, float], bool]:
    """Candidates of each picture, its µm per pixel, and whether one could not be read."""
    found, microns, failed = [], {}, False
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1), "read") as pool:
        for picture in pictures:
            try:
                with open_slide(picture.path) as slide:
                    plan = plan_picture(slide, card, options)
                    for caveat in caveats_of_scale(plan, card, options):
                        print(f"note: {shown(picture.name)}: {caveat}")
                    division = down, across = divide(plan, group)
                    with progress_bar(picture.name, down.parts * across.parts, transient=True) as advance:
                        candidates = find_candidates(
                            plan, forward, classes=classes, division=division, pool=pool, advance=advance
                        )
            except UserError as error:  # one bad slide must not cost the others
                failed = True
                print(f"failed: {shown(picture.name)}: {error}")
                continue
            found.append((picture, candidates))
            microns[picture.name] = plan.microns_per_pixel
    return found, microns, failed


def _tell(suggestions: Sequence[Suggestion], given: Namespace, has_known: bool, paths: Sequence[str]) -> None:
    for each in suggestions:
        print(f"suggest {each.rank}: {shown(each.picture.name)}, {each.reason}")
    if len(suggestions) < given.regions:
        print(f"{len(suggestions)} places only: the inputs have no more with tissue")
    if not has_known:
        print(f"{given.model} doesn't tell what it was trained on: distances are from the other suggestions alone")
    print(f"look at {given.output / SHEET}; open in QuPath: {', '.join(paths)}")
