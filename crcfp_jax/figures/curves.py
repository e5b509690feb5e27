"""mIoU against the number of negatives, of auxiliary classifiers (paper, Fig. 7 and 8), and of training steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from crcfp_jax.config import default
from crcfp_jax.figures.runs import Comparison, MissingRuns, Run
from crcfp_jax.figures.style import CYCLE, MARKERS, SINGLE, Drawing, look, styled
from crcfp_jax.methods.systems.palette import GREY
from crcfp_jax.tables.paper import PaperRow, paper_rows
from data_pipelines.recipes import unit_name

SWEPT = ("negatives", "classifiers", "steps")  # attributes of a run


@dataclass(frozen=True)
class Sweep:
    """A curve: of a system with one fraction of the labels, mIoU (percent) of every seed by the swept number."""

    system: str
    fraction: str
    scores: dict[int, dict[int, float]]  # swept number -> seed -> mIoU

    def means(self) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Swept numbers ascending, mean mIoU, and standard deviation over seeds (NaN for a single seed)."""
        values = sorted(self.scores)
        seeds = [np.asarray(list(self.scores[value].values())) for value in values]
        deviations = [scores.std(ddof=1) if len(scores) > 1 else np.nan for scores in seeds]
        return values, np.asarray([scores.mean() for scores in seeds]), np.asarray(deviations)


def sweeps(runs: Sequence[Run], swept: str) -> list[Sweep]:
    """The curves that these runs give: those with at least two values of `swept`, one of `SWEPT`.

    Runs that differ from the others in a number that is not swept make a curve of their own, unless they are alone.
    """
    fixed = [name for name in SWEPT if name != swept]
    groups: dict[tuple, dict[int, dict[int, float]]] = {}
    for run in runs:
        if run.result["mean_iou"] is not None:
            group = groups.setdefault((run.system, run.fraction, *(getattr(run, name) for name in fixed)), {})
            group.setdefault(getattr(run, swept), {})[run.seed] = float(run.result["mean_iou"])
    return [Sweep(system, fraction, scores) for (system, fraction, *_), scores in groups.items() if len(scores) > 1]


def published(runs: Sequence[Run], curves: Sequence[Sweep], table: int) -> list[PaperRow]:
    """The rows of the paper's table where one of the curves is of their system, data, split and labels."""
    data = runs[0].settings["data"]  # the same for all runs
    here = (data["name"], unit_name(data["name"], data["split_unit"]))
    shown = {(curve.system, curve.fraction) for curve in curves}
    return [
        row
        for row in paper_rows()
        if row.table == table and (row.data, row.split_unit) == here and (row.system, row.fraction) in shown
    ]


@styled
def draw_sweeps(
    curves: Sequence[Sweep], label: str, *, logarithmic: bool, paper: int, printed: Sequence[PaperRow]
) -> Figure:
    """Means over seeds as a line, one standard deviation as a band, every seed as a point.

    Args:
        curves: what to draw.
        label: of the horizontal axis.
        logarithmic: the horizontal axis.
        paper: the paper's setting, marked.
        printed: the paper's own curve of the same labels, or nothing: hollow points, bars of one standard deviation.
    """
    figure = Figure((SINGLE, 0.75 * SINGLE), layout="constrained")
    axes = figure.add_subplot()
    for curve, colour, marker in zip(curves, CYCLE * len(curves), MARKERS * len(curves), strict=False):
        values, means, deviations = curve.means()
        if np.isfinite(deviations).any():
            axes.fill_between(values, means - deviations, means + deviations, color=colour, alpha=0.18, linewidth=0)
        points = [(value, score) for value in values for score in curve.scores[value].values()]
        axes.plot(*zip(*points, strict=True), ".", color=colour, alpha=0.5, markersize=6, markeredgewidth=0)
        axes.plot(values, means, color=colour, marker=marker, label=f"{look(curve.system).label}, {curve.fraction}")
    if printed:
        figures = [row.figures["mean_iou"] for row in printed]
        axes.errorbar(
            [row.value for row in printed], [one.mean for one in figures], [one.deviation for one in figures],
            color=GREY, marker="o", markerfacecolor="white", linewidth=0.8, elinewidth=0.6, zorder=1,
            label=f"{look(printed[0].system).label}, {printed[0].fraction}, the paper's",
        )  # fmt: skip
    ticks = sorted({value for curve in curves for value in curve.scores})
    if logarithmic:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45 if logarithmic else 0)
    axes.set_xticks([], minor=True)
    axes.grid(False, axis="x")
    if min(ticks) <= paper <= max(ticks):
        axes.axvline(paper, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        axes.annotate(
            "paper", (paper, 1), xycoords=("data", "axes fraction"), xytext=(2, -1), textcoords="offset points",
            ha="left", va="top", color=GREY,
        )  # fmt: skip
    axes.set(xlabel=label, ylabel="mIoU on test (%)")
    axes.margins(y=0.12)
    axes.legend(loc="best")
    return figure


def _drawing(runs: Sequence[Run], swept: str, table: int, label: str, **options) -> Drawing:
    curves = sweeps(runs, swept)
    if not curves:
        raise MissingRuns(
            f"needs finished runs of a system that differ in {swept}: `python -m crcfp_jax.tables {table}`"
        )
    rows = [
        {"system": curve.system, "fraction": curve.fraction, swept: value, "seed": seed, "mean_iou": score}
        for curve in curves
        for value in sorted(curve.scores)
        for seed, score in sorted(curve.scores[value].items())
    ]
    printed = published(runs, curves, table)
    figures = {row.value: row.figures["mean_iou"] for row in printed}
    paper = {value: {"mean_iou": figure.mean, "deviation": figure.deviation} for value, figure in figures.items()}
    drawn = draw_sweeps(curves, label, printed=printed, **options)
    return Drawing(drawn, rows, {"paper": paper} if paper else {})


def negatives(runs: Sequence[Run], _: Comparison) -> Drawing:
    """mIoU against the number of negatives; MissingRuns where the runs don't vary it."""
    paper = default().contrastive.negatives
    label = "negatives pushed into the bank a step"
    return _drawing(runs, "negatives", 5, label, logarithmic=True, paper=paper)


def classifiers(runs: Sequence[Run], _: Comparison) -> Drawing:
    """mIoU against K; MissingRuns where the runs don't vary it."""
    paper = default().cross_consistency.classifiers
    label = "auxiliary classifiers per perturbation, K"
    return _drawing(runs, "classifiers", 6, label, logarithmic=False, paper=paper)


def lengths(runs: Sequence[Run], _: Comparison) -> Drawing:
    """mIoU against the length of training; MissingRuns where the runs don't vary it."""
    return _drawing(runs, "steps", 8, "training steps", logarithmic=False, paper=default().train.steps)
