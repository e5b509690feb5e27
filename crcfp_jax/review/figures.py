"""The figures of a result with their intervals over patients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from crcfp_jax.evaluation.intervals import FEWEST, bootstrap_interval
from crcfp_jax.evaluation.metrics import accuracy, by_patient, class_iou, mean_dice, mean_iou

METRICS = {"mean_iou": mean_iou, "mean_dice": mean_dice, "accuracy": accuracy}


@dataclass(frozen=True)
class Intervals:
    """In percent; a figure without an interval is left out. `why_none`: a sentence where there are none at all."""

    of: Mapping[str, tuple[float, float]]  # mean_iou, mean_dice, accuracy
    of_classes: Mapping[str, tuple[float, float]]  # IoU
    patients: int
    why_none: str = ""


def intervals(result: Mapping[str, Any]) -> Intervals:
    """95 % intervals over the patients of a result; see `evaluation.intervals`."""
    rows = result.get("per_image")
    if not rows:
        return Intervals({}, {}, 0, "No intervals: an older version evaluated it, and kept no patients apart.")
    counts = np.stack(list(by_patient(rows).values()))
    if len(counts) < FEWEST:
        why = f"No intervals: {_patients(len(counts))} too few to tell how much patients differ."
        return Intervals({}, {}, len(counts), why)
    found = {name: _percents(bootstrap_interval(counts, metric)) for name, metric in METRICS.items()}
    held = (counts.sum(2) > 0).sum(0)
    of_classes = {
        name: _percents(bootstrap_interval(counts, lambda total, label=label: float(class_iou(total)[label])))
        for label, name in enumerate(result["per_class"])
        if held[label] >= FEWEST
    }
    return Intervals(
        {name: each for name, each in found.items() if each is not None},
        {name: each for name, each in of_classes.items() if each is not None},
        len(counts),
    )


def _patients(count: int) -> str:
    return "one patient is" if count == 1 else f"{count} patients are"


def _percents(interval: tuple[float, float]) -> tuple[float, float] | None:
    return None if np.isnan(interval).any() else (100 * interval[0], 100 * interval[1])
