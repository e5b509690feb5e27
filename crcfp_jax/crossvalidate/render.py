"""A cross-validation's figures as crossvalidation.md, and the same as lines for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from crcfp_jax.common.words import METRICS

UNKNOWN = "-"
SHOWN = ("mean_iou", "mean_dice")
SELECTIONS = {"last": "the model of the last step", "best_validation": "the best model on validation images"}


def markdown(figures: Mapping[str, Any]) -> str:
    """The whole of crossvalidation.md."""
    sections = (_head, _methods, _classes, _differences, _folds, _explanation)
    return "\n\n".join(filter(None, (section(figures) for section in sections))) + "\n"


def lines(figures: Mapping[str, Any]) -> list[str]:
    """One line a method, and one a difference."""
    found = []
    for method, row in figures["methods"].items():
        if row["pooled"] is not None:
            texts = (f"{METRICS[name]} {_pooled(row['pooled'], name)}" for name in SHOWN)
            found.append(f"{method}: {', '.join(texts)}")
    for row in figures["differences"]:
        found.append(f"{row['method']} - {row['than']}: mIoU {_difference(row['mean_iou'])}")
    return found


def _head(figures: Mapping[str, Any]) -> str:
    patients = sum(map(len, figures["patients"]))
    lines = [
        f"# Cross-validation: {figures['data']}, {patients} patients in {figures['folds']} folds",
        "",
        f"- Data: {figures['data']}, fingerprint {figures['data_fingerprint']}; labels of {figures['fraction']} of "
        f"what a fold trains on; seed {figures['seed']}",
        f"- Settings: `{figures['config']}`, {figures['steps']} steps; {SELECTIONS[figures['selection']]}",
        *(f"- Command: `{command}`" for command in figures["commands"]),
    ]
    return "\n".join(lines)


def _methods(figures: Mapping[str, Any]) -> str:
    percent = f"{figures['level']:.0%}".replace("%", " %")
    heads = ["method", "folds"]
    for name in SHOWN:
        heads += [f"{METRICS[name]} pooled ({percent} interval)", f"{METRICS[name]} over folds"]
    rows = []
    for method, row in figures["methods"].items():
        done, folds = len(row["folds"]), figures["folds"]
        words = [method, str(done) if done == folds else f"{done} of {folds}"]
        for name in SHOWN:
            words += [_pooled(row["pooled"], name), _spread(row["over_folds"][name])]
        rows.append(words)
    return _table(heads, rows)


def _classes(figures: Mapping[str, Any]) -> str:
    pooled = {method: row["pooled"] for method, row in figures["methods"].items() if row["pooled"] is not None}
    if not pooled:
        return ""
    rows = []
    for name in figures["classes"]:
        by_method = [found["per_class"][name] for found in pooled.values()]
        cells = [_with_interval(row["iou"], row["iou_interval"]) for row in by_method]
        rows.append([name, str(by_method[0]["patients"]), *cells])
    return "## IoU by class, pooled\n\n" + _table(["class", "patients", *pooled], rows)


def _differences(figures: Mapping[str, Any]) -> str:
    rows = [
        [f"{row['method']} - {row['than']}", *(_difference(row[name]) for name in SHOWN)]
        for row in figures["differences"]
    ]
    if not rows:
        return ""
    return "## Difference on the same patients\n\n" + _table(["", *(METRICS[name] for name in SHOWN)], rows)


def _folds(figures: Mapping[str, Any]) -> str:
    rows = []
    for fold, patients in enumerate(figures["patients"]):
        found = [
            next((row["mean_iou"] for row in method["folds"] if row["fold"] == fold), None)
            for method in figures["methods"].values()
        ]
        rows.append([str(fold), ", ".join(patients), *map(_figure, found)])
    return "## mIoU by fold\n\n" + _table(["fold", "patients tested", *figures["methods"]], rows)


def _explanation(figures: Mapping[str, Any]) -> str:
    patients = sum(map(len, figures["patients"]))
    parts = [
        "All in percent. Every annotated patient is tested once, by a model that has seen none of its tiles. Pooled: "
        "of one confusion matrix over all patients, each annotated pixel counted once. Over folds: mean (sample "
        "standard deviation) of the folds' own figures; a fold without a class leaves that class out, so this mean can "
        "differ from the pooled figure.",
    ]
    if patients < 3:
        parts.append(f"No interval: {patients} patients are too few to tell how much patients differ; it takes three.")
    else:
        parts.append(
            "Intervals: bootstrap over patients, its standard error times sqrt(n / (n - 1)) with Student's t of n - 1 "
            "degrees of freedom, on the logit's scale; of differences on their own scale, resampled together. A class "
            "that fewer than three patients hold has none. They tell how figures would vary with other patients to "
            "test, not with other ones to learn from or other seeds: see how far the folds differ. The models of the "
            "folds learn from fewer patients than one that is trained on everything, which should be no worse."
        )
    return "\n\n".join(parts)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    left = 1
    marks = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(words)} |" for words in (heads, marks, *rows))


def _pooled(pooled: Mapping[str, Any] | None, name: str) -> str:
    return UNKNOWN if pooled is None else _with_interval(pooled[name], pooled["intervals"][name])


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return _figure(value) + ("" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})")


def _difference(row: Mapping[str, Any]) -> str:
    interval = row["interval"]
    ends = "" if interval is None else f" ({interval[0]:+.1f} to {interval[1]:+.1f})"
    return f"{row['difference']:+.1f}{ends}"


def _spread(row: Mapping[str, float | None]) -> str:
    return _figure(row["mean"]) + ("" if row["deviation"] is None else f" ({row['deviation']:.1f})")


def _figure(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f}"
