"""The tables of a diagnosis: figures over time, over all pixels and by class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crcfp_jax.doctor.history import History
from crcfp_jax.methods.systems.definition import SUPERVISED


@dataclass(frozen=True)
class Row:
    """One figure, its mean over each span; None where it was not logged.

    Attributes:
        share: the values lie in [0, 1] and are shown in percent.
        meaning: what the figure is, for the legend of its table; '' where the label says it.
    """

    label: str
    values: Sequence[float | None]
    share: bool = False
    meaning: str = ""


@dataclass(frozen=True)
class Section:
    """A table whose columns are the spans of the run. `caption`: what all its figures are."""

    title: str
    rows: Sequence[Row]
    caption: str = ""


TOTAL = "what is minimised: the terms above times their weights, added"


def losses(run: History) -> Section:
    """The terms, their total, the gradient norm, and the validation mIoU where there is a validation split."""
    terms = [key.removeprefix("loss/") for key in run.keys("loss/")]
    order = sorted(terms, key=lambda term: (term == "total", term != SUPERVISED.name))
    meanings = {term.name: term.meaning for term in run.method.all_terms} | {"total": TOTAL}
    rows = [
        Row(term.replace("_", "-"), run.over_time(f"loss/{term}"), meaning=meanings.get(term, "")) for term in order
    ]
    for key, label, meaning in (
        ("gradient_norm", "gradient norm", "length of the gradient over all parameters"),
        ("validation/mean_iou", "validation mIoU", "in percent; on images that no training sees"),
    ):
        if run.has(key):
            rows.append(Row(label, run.over_time(key), meaning=meaning))
    return Section("Losses", rows)


def pseudo_labels(run: History) -> Section:
    """What the unlabelled images had to say."""
    guess = f", {math.log(len(run.class_names)):.2f} is a guess" if len(run.class_names) > 1 else ""
    figures = {
        "share/confident": (
            "confident, %",
            f"pixels whose class has a probability above {run.setting(run.method.confidence)}",
        ),
        "entropy": ("entropy, nats", f"how undecided a prediction is: 0 is certain{guess}"),
        "share/agreement": ("agreement, %", "pixels on which an auxiliary classifier names the main one's class"),
        "share/positive_pairs": (
            "positives, %",
            "cells of the feature map that pass as anchors of a positive pair, one place seen twice",
        ),
        "share/bank_filled": ("bank filled, %", "slots of the memory bank that hold a feature"),
    }
    rows = [
        Row(label, run.over_time(key), key.startswith("share/"), meaning)
        for key, (label, meaning) in figures.items()
        if run.has(key)
    ]
    return Section("Unlabelled images", rows)


def time(run: History) -> Section:
    """What the time went to, other than the step."""
    meaning = "of the time of training; no batch was ready and the devices stood idle"
    rows = [Row("input wait, %", run.over_time("input_wait"), True, meaning)] if run.has("input_wait") else []
    return Section("Time", rows)


def by_class(run: History) -> list[Section]:
    """Pseudo-labels, confidence, positives and bank of each class."""
    threshold = run.setting(run.method.confidence)
    captions = {
        "pseudo_labels": ("Pseudo-labels", "Percent of the unlabelled pixels that are predicted as the class."),
        "confident": (
            "Confidence",
            f"Percent of the pixels predicted as the class that have a probability above {threshold}.",
        ),
        "positives": ("Positives", "Percent of all cells that are accepted and predicted as the class."),
        "bank": ("Memory bank", "Percent of all slots that hold a feature of the class: the negatives of the others."),
    }
    sections = []
    for kind, (title, caption) in captions.items():
        rows = [
            Row(name, _of_class(run, kind, name), share=True) for name in run.class_names if run.has(f"{kind}/{name}")
        ]
        sections.append(Section(title, rows, caption))
    return sections


def _of_class(run: History, kind: str, name: str) -> list[float | None]:
    values = run.over_time(f"{kind}/{name}")
    if kind != "confident":
        return values
    predicted = run.over_time(f"pseudo_labels/{name}")
    return [part / whole if part is not None and whole else None for part, whole in zip(values, predicted, strict=True)]
