"""The figures of an evaluation, as people read them: a table per class, and a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crcfp_jax.common.classes import ClassInfo
from crcfp_jax.common.words import METRICS


def result_table(result: Mapping[str, Any], classes: Sequence[ClassInfo] = (), *, title: str = "") -> Table:
    """IoU, Dice, precision and recall per class, in percent, of a dict as in result.json, with means last."""
    colours = {info.name: info.colour for info in classes}
    caption = f"all in percent; accuracy {_figure(result['accuracy'])}"
    table = Table(title=title or None, caption=caption, show_footer=True)
    table.add_column("class", footer="mean", overflow="fold")
    for name, mean in (("IoU", "mean_iou"), ("Dice", "mean_dice"), ("precision", None), ("recall", None)):
        table.add_column(name, justify="right", footer=_figure(result[mean]) if mean else "")
    total = sum(row["support"] for row in result["per_class"].values())
    table.add_column("share of pixels", justify="right")
    for name, row in result["per_class"].items():
        swatch = Text.assemble(("■ ", "rgb({},{},{})".format(*colours[name])) if name in colours else "", name)
        figures = [_figure(row[key]) for key in ("iou", "dice", "precision", "recall")]
        table.add_row(swatch, *figures, _figure(100 * row["support"] / total if total else None))
    return table


def print_result(result: Mapping[str, Any], classes: Sequence[ClassInfo] = (), *, title: str = "") -> None:
    """Prints `result_table` to stdout."""
    Console().print(result_table(result, classes, title=title))


def compare_results(result: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    """One line that says whether an evaluation repeats the stored one, and where not, by how much.

    Both may hold `versions`: another one of this project may see images otherwise.
    """
    if result["confusion_matrix"] == stored.get("confusion_matrix"):
        return "the same figures as result.json, to the pixel"
    parts = [
        f"{name} {_figure(result[key], 2)} (stored {_figure(stored.get(key), 2)})" for key, name in METRICS.items()
    ]
    line = "differs from result.json: " + ", ".join(parts)
    here, made = (values.get("versions", {}).get("crcfp-jax") for values in (result, stored))
    return line if made == here else f"{line}; that was made by crcfp-jax {made}, this is {here}"


def _figure(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
