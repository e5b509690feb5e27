"""Gathers what a run folder holds and writes review.html, with the places of disagreement beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json, read_metrics, write_text_atomic
from crcfp_jax.doctor.folder import diagnose
from crcfp_jax.doctor.history import in_order
from crcfp_jax.review.about import data_section, next_section, settings_section, subtitle
from crcfp_jax.review.curves import curve_groups, draw_curves
from crcfp_jax.review.disagreement import Disagreement, Place, find_disagreement, slide_box, write_geojson
from crcfp_jax.review.figures import intervals
from crcfp_jax.review.page import (
    captioned,
    class_table,
    headline,
    laid_over,
    listed,
    page,
    picture,
    scrolled,
    section,
    stored_picture,
    swatch,
    text,
)
from crcfp_jax.runs.data_summary import DATA_FILE
from crcfp_jax.runs.parts import Parts
from crcfp_jax.runs.restore import restore_variables

PAGE, FOLDER = "review.html", "review"
PANEL = 300  # pixels of a picture's longer side
CONTEXT = 1.6  # times a place's extent that is shown of its tile


def write_review(workdir: Path) -> Path:
    """Writes the page of a finished run; returns it.

    Raises:
        UserError: no run folder, or one that is not finished or damaged.
    """
    if not (workdir / "report.md").is_file():
        raise UserError(f"{workdir} is not the folder of a finished run (no report.md): train it to its end first")
    settings, rows = read_json(workdir / "config.json"), read_metrics(workdir / "metrics.jsonl")
    diagnosis, title, result = diagnose(workdir)
    data = read_json(workdir / DATA_FILE) if (workdir / DATA_FILE).is_file() else None
    parts, disagreement, reason = None, None, ""
    try:
        parts, variables, _ = restore_variables(workdir)
        disagreement = find_disagreement(parts, variables)
    except UserError as error:  # the data set has gone, or has been built anew since: the rest is worth reading
        reason = str(error)
    classes = parts.data_set.classes if parts is not None else ()
    sections = [
        _result(result, classes),
        _warnings(diagnosis),
        _disagreement(workdir, parts, disagreement, reason),
        _pictures(workdir),
        section(
            "Curves",
            '<div class="curves">'
            + "".join(draw_curves(name, curves) for name, curves in curve_groups(in_order(rows)).items())
            + "</div>",
        ),
        data_section(settings, data, parts),
        settings_section(settings, result),
        next_section(workdir, settings, tested=result is not None),
    ]
    path = workdir / PAGE
    write_text_atomic(path, page(title, subtitle(settings, data, result), sections))
    return path


def _result(result: Mapping[str, Any] | None, classes: Sequence[ClassInfo]) -> str:
    if result is None:
        told = "No test images: nothing here says how good the model is. Cross-validate it: docs/crossvalidation.md."
        return section("Result", f'<p class="warn">{text(told)}</p>')
    found = intervals(result)
    return section("Result", headline(result, found), class_table(result, found, classes))


def _warnings(diagnosis) -> str:
    lines = [f'<span class="warn">{text(line)}</span>' for line in diagnosis.warnings]
    lines += [text(line) for line in diagnosis.notes]
    return section("Warnings", listed(lines) if lines else '<p class="faint">None.</p>')


def _disagreement(workdir: Path, parts: Parts | None, found: Disagreement | None, reason: str) -> str:
    title = "Where model and annotation disagree most"
    if parts is None or found is None:
        return section(title, f'<p class="warn">{text(reason)}</p>')
    paths = write_geojson(workdir / FOLDER, found.places, parts.data_set.images)
    classes = parts.data_set.classes
    some = "" if found.tiles == found.of else f" (of {found.of}, evenly spaced)"
    told = (
        f"Of {found.tiles} annotated tiles{some}, those of training too. Where a model is sure of another class, it is"
        " wrong or the annotation is: look at both. In brackets its mean probability of that class."
    )
    legend = f'<ul class="legend">{"".join(f"<li>{swatch(info)}</li>" for info in classes)}</ul>'
    blocks = "".join(_place(rank, place, parts, paths) for rank, place in enumerate(found.places, 1))
    names = ", ".join(sorted(path.name for path in paths.values()))
    files = f"For QuPath, to be deleted there before the annotations are built again: {names} in {FOLDER}/."
    return section(
        title,
        f"<p>{text(told)}</p>",
        legend,
        f'<div class="places">{blocks}</div>',
        f"<p>{text(files if paths else '')}</p>",
    )


def _place(rank: int, place: Place, parts: Parts, paths: Mapping[str, Path]) -> str:
    height, width = place.label.shape
    side = min(max(height, width), round(CONTEXT * max(place.height, place.width, 48)))
    top = min(max(0, place.top + place.height // 2 - side // 2), max(0, height - side))
    left = min(max(0, place.left + place.width // 2 - side // 2), max(0, width - side))
    window = np.s_[top : top + side, left : left + side]
    box = (place.left - left, place.top - top, place.left - left + place.width - 1, place.top - top + place.height - 1)
    panels = []
    for label in (None, place.label, place.prediction):
        shown = (
            place.image[window]
            if label is None
            else laid_over(place.image[window], label[window], parts.data_set.classes)
        )
        factor = max(1, round(PANEL / max(shown.shape[:2])))
        large = cv2.resize(np.ascontiguousarray(shown), None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
        corners = [value * factor for value in box]
        for colour, thickness in (((255, 255, 255), 5), ((0, 0, 0), 2)):  # seen on light and on dark tissue
            cv2.rectangle(large, corners[:2], [value + factor - 1 for value in corners[2:]], colour, thickness)
        told = ("image", "annotation", "prediction")[len(panels)]
        panels.append(captioned(picture(large, f"place {rank}, {told}"), told))
    x, y = (round(value) for value in slide_box(place, parts.data_set.images)[:2])
    words = f"annotated {place.annotated}, the model says {place.predicted} ({place.confidence:.2f})"
    where = f"{place.record.image}, patient {place.record.patient}, {place.part}; at x {x}, y {y}"
    return (
        f'<div><h3>{rank}. {text(words)}</h3><div class="trio">{"".join(panels)}</div>'
        f'<p class="faint">{text(where)}</p></div>'
    )


def _pictures(workdir: Path) -> str:
    folder = workdir / "pictures"
    every = sorted(folder.glob("*.png"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
    chosen = folder / "test.png" if (folder / "test.png").is_file() else every[-1] if every else None
    if chosen is None:
        return section("Predictions", '<p class="faint">No pictures were made.</p>')
    kind = "test images" if chosen.stem == "test" else f"images of {chosen.stem.partition('_')[0]}"
    return section(
        "Predictions", f"<p>Of {text(kind)}.</p>", scrolled(stored_picture(chosen.read_bytes(), f"predictions, {kind}"))
    )
