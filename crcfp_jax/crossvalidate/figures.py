"""What the runs of a cross-validation add up to: over folds, pooled over patients, and method against method."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.words import METRICS
from crcfp_jax.crossvalidate.folder import CrossValidationFolder
from crcfp_jax.evaluation.intervals import FEWEST, Metric, bootstrap_difference, bootstrap_interval
from crcfp_jax.evaluation.metrics import accuracy, by_patient, class_iou, mean_dice, mean_iou, summary

LEVEL = 0.95
POOLED: Mapping[str, Metric] = {"mean_iou": mean_iou, "mean_dice": mean_dice, "accuracy": accuracy}


def summarise(folder: CrossValidationFolder) -> dict[str, Any]:
    """All figures, ready for JSON; in percent.

    Of a method whose folds have not all finished, what has; it has no pooled figures yet, and None for them.

    Raises:
        UserError: plan.json or a result.json is damaged, or a fold was tested on other patients than the plan's.
    """
    about = folder.read()
    counts = {method: _counts_by_patient(folder, method, about["patients"]) for method in about["methods"]}
    whole = {method: np.stack(list(rows.values())) for method, rows in counts.items() if rows is not None}
    first = next(iter(about["methods"]), None)
    return {
        **{key: about[key] for key in ("config", "data", "folds", "seed", "patients", "classes", "commands")},
        "data_fingerprint": about["settings"]["data_fingerprint"],
        "fraction": about["settings"]["fraction"],
        "steps": about["settings"]["train"]["steps"],
        "selection": about["settings"]["evaluation"]["selection"],
        "level": LEVEL,
        "methods": {
            method: _over_folds(folder, method, about["patients"])
            | {
                "pooled": pool(whole[method], about["classes"]) if method in whole else None,
                "per_patient": _per_patient(counts[method]),
            }
            for method in about["methods"]
        },
        "differences": [
            {"method": other, "than": first} | compare(whole[other], whole[first])
            for other in about["methods"]
            if other != first and {first, other} <= whole.keys()
        ],
    }


def pool(counts: Int64[np.ndarray, "n c c"], classes: Sequence[str]) -> dict[str, Any]:
    """Figures of the sum of the patients' confusion matrices, each `interval` [low, high] or None.

    A class has no interval where fewer than three patients hold it.
    """
    figures = summary(counts.sum(0), classes)
    held = (counts.sum(2) > 0).sum(0)  # patients by class
    return figures | {
        "patients": len(counts),
        "intervals": {name: _percents(bootstrap_interval(counts, metric)) for name, metric in POOLED.items()},
        "per_class": {
            name: row
            | {
                "patients": int(held[index]),
                "iou_interval": _percents(bootstrap_interval(counts, _iou_of(index)))
                if held[index] >= FEWEST
                else None,
            }
            for index, (name, row) in enumerate(figures["per_class"].items())
        },
    }


def compare(other: Int64[np.ndarray, "n c c"], first: Int64[np.ndarray, "n c c"]) -> dict[str, Any]:
    """By metric, the pooled figure of `other` less that of `first`, of the same patients, and its interval."""
    return {
        name: {
            "difference": 100 * (metric(other.sum(0)) - metric(first.sum(0))),
            "interval": _percents(bootstrap_difference(other, first, metric)),
        }
        for name, metric in POOLED.items()
    }


def for_final(figures: Mapping[str, Any], method: str) -> dict[str, Any] | None:
    """What a model that is trained on everything may tell of its cross-validation; None before that is finished.

    It goes on with the model: no patient is named.
    """
    pooled = figures["methods"][method]["pooled"]
    if pooled is None:
        return None
    about = {key: figures[key] for key in ("data", "data_fingerprint", "fraction", "folds", "seed", "level")}
    kept = ("patients", "mean_iou", "mean_dice", "accuracy", "intervals", "per_class")
    return about | {"method": method} | {key: pooled[key] for key in kept}


def _counts_by_patient(
    folder: CrossValidationFolder, method: str, patients: Sequence[Sequence[str]]
) -> dict[str, Int64[np.ndarray, "c c"]] | None:
    """Patient -> confusion matrix, sorted by name; None before every fold has finished."""
    found: dict[str, np.ndarray] = {}
    for fold, expected in enumerate(patients):
        name = f"{method}/fold{fold}"
        result = folder.result(name)
        if result is None:
            return None
        tested = by_patient(result["per_image"])
        if sorted(tested) != sorted(expected):
            raise UserError(
                f"{folder.run(name)} was tested on other patients than plan.json says: give another --workdir"
            )
        found |= tested
    return dict(sorted(found.items()))


def _over_folds(folder: CrossValidationFolder, method: str, patients: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The figures of each finished fold, with their mean and sample standard deviation."""
    rows = []
    for fold, tested in enumerate(patients):
        result = folder.result(f"{method}/fold{fold}")
        if result is not None:
            rows.append({"fold": fold, "patients": len(tested)} | {name: result[name] for name in METRICS})
    spread = {}
    for name in METRICS:
        values = [row[name] for row in rows if row[name] is not None]
        spread[name] = {
            "mean": statistics.fmean(values) if values else None,
            "deviation": statistics.stdev(values) if len(values) > 1 else None,
        }
    return {"folds": rows, "over_folds": spread}


def _per_patient(counts: Mapping[str, np.ndarray] | None) -> list[dict[str, Any]]:
    return [
        {"patient": patient, "mean_iou": 100 * mean_iou(matrix), "confusion_matrix": matrix}
        for patient, matrix in (counts or {}).items()
    ]


def _iou_of(index: int) -> Callable[[np.ndarray], float]:
    return lambda counts: float(class_iou(counts)[index])


def _percents(ends: tuple[float, float]) -> list[float] | None:
    return None if np.isnan(ends).any() else [100 * end for end in ends]
