"""Figures of merit from one integer confusion matrix over all pixels.

The functions return fractions in [0, 1]; `summary`, which is what a user sees, returns percent in [0, 100], unrounded,
as the paper's tables do. A class that occurs neither in the truth nor in the predictions has no figure (NaN, and None
in `summary`) and takes no part in a mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer, UInt8

from crcfp_jax.common.classes import IGNORED


def by_patient(per_image: Sequence[Mapping[str, Any]]) -> dict[str, Int64[np.ndarray, "c c"]]:
    """Patient -> the sum of the confusion matrices of its images, sorted by name; `per_image` as in result.json."""
    found: dict[str, np.ndarray] = {}
    for row in per_image:
        counts = np.array(row["confusion_matrix"], np.int64)
        found[row["patient"]] = found.get(row["patient"], 0) + counts
    return dict(sorted(found.items()))


def confusion_matrix(
    labels: UInt8[np.ndarray, "*shape"], predictions: Integer[np.ndarray, "*shape"], num_classes: int
) -> Int64[np.ndarray, "c c"]:
    """Counts pixels by true class (row) and predicted class (column); pixels labelled 255 do not count.

    Raises:
      ValueError: a class that is not in [0, num_classes).
    """
    counted = labels != IGNORED
    truth = labels[counted].astype(np.int64)
    predicted = predictions[counted].astype(np.int64)
    for name, values in (("label", truth), ("prediction", predicted)):
        if values.size and not (values.min() >= 0 and values.max() < num_classes):
            raise ValueError(f"{name} {values.max() if values.min() >= 0 else values.min()}: not one of {num_classes}")
    counts = np.bincount(truth * num_classes + predicted, minlength=num_classes * num_classes)
    return counts.astype(np.int64).reshape(num_classes, num_classes)


def class_iou(confusion: Int64[np.ndarray, "c c"]) -> Float64[np.ndarray, "c"]:
    """Intersection over union of each class."""
    hits = np.diag(confusion)
    return _ratio(hits, confusion.sum(0) + confusion.sum(1) - hits)


def class_dice(confusion: Int64[np.ndarray, "c c"]) -> Float64[np.ndarray, "c"]:
    """Dice coefficient (F1) of each class: 2 IoU / (1 + IoU), from all pixels together and not averaged over images."""
    iou = class_iou(confusion)
    return 2.0 * iou / (1.0 + iou)


def class_precision(confusion: Int64[np.ndarray, "c c"]) -> Float64[np.ndarray, "c"]:
    """Share of the pixels predicted as a class that are of it; NaN for a class never predicted."""
    return _ratio(np.diag(confusion), confusion.sum(0))


def class_recall(confusion: Int64[np.ndarray, "c c"]) -> Float64[np.ndarray, "c"]:
    """Share of a class's pixels that are predicted as it; NaN for a class without pixels."""
    return _ratio(np.diag(confusion), confusion.sum(1))


def mean_iou(confusion: Int64[np.ndarray, "c c"]) -> float:
    """Mean of `class_iou` over the classes that occur; NaN for an empty matrix."""
    return _mean(class_iou(confusion))


def mean_dice(confusion: Int64[np.ndarray, "c c"]) -> float:
    """Mean of `class_dice` over the classes that occur; NaN for an empty matrix."""
    return _mean(class_dice(confusion))


def accuracy(confusion: Int64[np.ndarray, "c c"]) -> float:
    """Share of all pixels that are predicted right; NaN for an empty matrix."""
    return float(_ratio(np.trace(confusion)[None], confusion.sum()[None])[0])


def summary(confusion: Int64[np.ndarray, "c c"], class_names: Sequence[str]) -> dict[str, Any]:
    """All figures, ready for JSON.

    Returns:
      `mean_iou`, `mean_dice`, `accuracy` in percent; `per_class`: by name, in class order, `iou`, `dice`, `precision`,
      `recall` in percent and `support`, the number of true pixels; `confusion_matrix`: nested lists of pixel counts,
      rows truth, columns prediction. A figure that is not defined is None.
    """
    if len(class_names) != len(confusion):
        raise ValueError(f"{len(class_names)} class names for {len(confusion)} classes")
    columns = {
        "iou": class_iou(confusion),
        "dice": class_dice(confusion),
        "precision": class_precision(confusion),
        "recall": class_recall(confusion),
    }
    support = confusion.sum(1)
    return {
        "mean_iou": _percent(mean_iou(confusion)),
        "mean_dice": _percent(mean_dice(confusion)),
        "accuracy": _percent(accuracy(confusion)),
        "per_class": {
            name: {key: _percent(values[index]) for key, values in columns.items()} | {"support": int(support[index])}
            for index, name in enumerate(class_names)
        },
        "confusion_matrix": confusion.tolist(),
    }


def _ratio(numerator: Int64[np.ndarray, "n"], denominator: Int64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    nowhere = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=nowhere, where=denominator > 0)


def _mean(values: Float64[np.ndarray, "n"]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _percent(fraction: float) -> float | None:
    return None if np.isnan(fraction) else 100.0 * float(fraction)
