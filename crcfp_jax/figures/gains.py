"""What the unlabelled images add: supervised against semi-supervised by class and by share of labels (tables 1-3)."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crcfp_jax.figures.runs import SEMI_SUPERVISED, SUPERVISED, SYSTEMS, Comparison, MissingRuns, Run, nearest_to_paper
from crcfp_jax.figures.style import DOUBLE, FAINT, SINGLE, Drawing, look, styled

MEAN = "mean"  # the row of the mean over classes
SHIFT = 0.22  # of the seeds' points from the middle of their row, in rows
STEP = 0.07  # between two systems at the same share of labels, in shares


def scores(runs: Sequence[Run]) -> list[dict]:
    """IoU in percent by run and class, the mean over classes last: a row each, None where a class has no figure."""
    return [
        {
            "system": run.system,
            "fraction": run.fraction,
            "seed": run.seed,
            "steps": run.steps,
            "class": name,
            "iou": iou,
        }
        for run in runs
        for name, iou in [
            *((name, row["iou"]) for name, row in run.result["per_class"].items()),
            (MEAN, run.result["mean_iou"]),
        ]
    ]


def pair(runs: Sequence[Run]) -> tuple[str, str]:
    """The supervised and the semi-supervised system to set against each other: the first that share a fraction.

    Raises:
        MissingRuns: no two do.
    """
    fractions = {system: {run.fraction for run in runs if run.system == system} for system in SYSTEMS}
    for semi in SEMI_SUPERVISED:
        for supervised in SUPERVISED:
            if fractions[semi] & fractions[supervised]:
                return supervised, semi
    raise MissingRuns("needs finished runs of a supervised and of a semi-supervised system with the same fraction")


@styled
def draw_gains(rows: Sequence[dict], supervised: str, semi: str) -> Figure:
    """Above: IoU by class of the two systems, a panel a fraction. Below: mIoU of all systems by share of labels.

    Args:
        rows: from `scores`.
        supervised, semi: the systems of the upper panels.
    """
    by_fraction = {row["fraction"] for row in rows if row["system"] == supervised}
    by_fraction &= {row["fraction"] for row in rows if row["system"] == semi}
    fractions = sorted(by_fraction, key=Fraction)
    names = list(dict.fromkeys(row["class"] for row in rows))
    means = [row for row in rows if row["class"] == MEAN and row["iou"] is not None]
    upper, lower = 0.6 + 0.22 * len(names), 2.2  # inches
    if len({row["fraction"] for row in means}) == 1 and len({row["system"] for row in means}) == 2:
        lower = 0.0  # the upper panel says it all
    figure = Figure((min(DOUBLE, SINGLE + 1.6 * (len(fractions) - 1 + (lower > 0))), upper + lower + 0.2))
    figure.set_layout_engine("constrained")
    grid = figure.add_gridspec(1 + (lower > 0), len(fractions), height_ratios=(upper, lower)[: 1 + (lower > 0)])
    panels = [figure.add_subplot(grid[0, number]) for number in range(len(fractions))]
    for axes, fraction in zip(panels, fractions, strict=True):
        chosen = [row for row in rows if row["fraction"] == fraction and row["system"] in (supervised, semi)]
        _dumbbells(axes, chosen, names, (supervised, semi))
        axes.sharex(panels[0])
        axes.set_title("all labels" if fraction == "1/1" else f"{fraction} of the labels")
        axes.set_xlabel("IoU on test (%)")
        shown = [name if name != MEAN else "mean (mIoU)" for name in names] if axes is panels[0] else []
        axes.set_yticks(range(len(names)) if shown else [], shown)
        axes.set_ylim(len(names) - 0.5, -0.5)
    if lower:
        _by_labels(figure.add_subplot(grid[1, :]), means)
    systems = [system for system in SYSTEMS if lower and any(row["system"] == system for row in means)]
    handles = [
        Line2D([], [], color=look(name).colour, marker=look(name).marker, label=_label(name, means))
        for name in systems or (supervised, semi)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)), columnspacing=1.2)
    return figure


def _label(system: str, rows: Sequence[dict]) -> str:
    """The system's name, with the length of its training where that is not the others'."""
    if len({row["steps"] for row in rows}) == 1:
        return look(system).label
    own = sorted({row["steps"] for row in rows if row["system"] == system})
    return f"{look(system).label}, {' or '.join(map(str, own))} steps"


def _values(rows: Sequence[dict], **wanted: str) -> list[float]:
    """IoU of the rows whose columns have the wanted values, one a seed."""
    return [r["iou"] for r in rows if r["iou"] is not None and all(r[key] == value for key, value in wanted.items())]


def common_seeds(rows: Sequence[dict], systems: Sequence[str]) -> list[dict]:
    """The rows of seeds that all these systems have: other seeds are other labelled images."""
    seeds = set.intersection(*({row["seed"] for row in rows if row["system"] == system} for system in systems))
    return [row for row in rows if row["seed"] in seeds]


def _dumbbells(axes: Axes, rows: Sequence[dict], names: Sequence[str], systems: Sequence[str]) -> None:
    """A bar a class between the systems' means; the seeds' points above (first system) and below."""
    rows = common_seeds(rows, systems)
    for place, name in enumerate(names):
        ends = []
        for system, shift in zip(systems, (-SHIFT, SHIFT), strict=True):
            values, style = _values(rows, system=system, **{"class": name}), look(system)
            if len(values) > 1:
                axes.plot(values, [place + shift] * len(values), ".", color=style.colour, alpha=0.45, markeredgewidth=0)
            if values:
                axes.plot(np.mean(values), place, style.marker, color=style.colour, markersize=5, zorder=3)
                ends.append(np.mean(values))
        axes.plot(ends, [place] * len(ends), color=FAINT, linewidth=2.5, zorder=1, solid_capstyle="round")
    axes.axhspan(len(names) - 1.5, len(names) - 0.5, color="#F4F5F6", zorder=0)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _by_labels(axes: Axes, rows: Sequence[dict]) -> None:
    """Lines of the means, bars of one standard deviation, points of the seeds; systems side by side at each share.

    A mean of fewer seeds than another system has at that share is hollow: it is of other labelled images.
    """
    fractions = sorted({row["fraction"] for row in rows}, key=Fraction)
    systems = [system for system in SYSTEMS if any(row["system"] == system for row in rows)]
    for number, system in enumerate(systems):
        style, shift = look(system), STEP * (number - (len(systems) - 1) / 2)
        points = [(place + shift, _values(rows, system=system, fraction=name)) for place, name in enumerate(fractions)]
        most = [max(len(_values(rows, system=other, fraction=name)) for other in systems) for name in fractions]
        hollow = [(x, values) for (x, values), count in zip(points, most, strict=True) if 0 < len(values) < count]
        points = [(x, values) for x, values in points if values]
        for x, values in points:
            axes.plot([x] * len(values), values, ".", color=style.colour, alpha=0.45, markeredgewidth=0)
        for x, values in hollow:
            axes.plot(x, np.mean(values), style.marker, color=style.colour, markerfacecolor="white", zorder=4)
        axes.errorbar(
            [x for x, _ in points],
            [np.mean(values) for _, values in points],
            [np.std(values, ddof=1) if len(values) > 1 else np.nan for _, values in points],
            color=style.colour, marker=style.marker, linewidth=1.0, elinewidth=0.8, zorder=3,
        )  # fmt: skip
    axes.set_xticks(range(len(fractions)), fractions)
    axes.set_xlim(-0.5, len(fractions) - 0.5)
    axes.grid(False, axis="x")
    axes.set(xlabel="share of the labels", ylabel="mIoU on test (%)")


def supervised_vs_semi(runs: Sequence[Run], _: Comparison) -> Drawing:
    """Supervised against semi-supervised; MissingRuns where the runs hold no two systems to compare."""
    usual = nearest_to_paper(runs)  # a sweep's other runs are of other recipes
    supervised, semi = pair(usual)
    rows = scores(usual)
    return Drawing(draw_gains(rows, supervised, semi), rows)
