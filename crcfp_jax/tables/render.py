"""A grid's summary as table.md, for people, and table.csv, for programs."""

from collections.abc import Sequence

from crcfp_jax.common.csv_text import csv_text
from crcfp_jax.common.files import write_atomic, write_text_atomic
from crcfp_jax.common.words import METRICS
from crcfp_jax.tables.comparison import Comparison, compare
from crcfp_jax.tables.definitions import DATA, STEPS, SYSTEMS, Sweep
from crcfp_jax.tables.folder import GridFolder
from crcfp_jax.tables.paper import PaperFigure, source
from crcfp_jax.tables.summary import SETTINGS, Cell, Summary, summarise

UNKNOWN = "-"
SLIP = "†"
SELECTIONS = {
    "last": "the model of the last step",
    "best_validation": "the best model on validation images (best_validation)",
}


def write_tables(folder: GridFolder) -> None:
    """Writes table.md and table.csv anew, each whole or not at all.

    Raises:
        UserError: the folder is unwritable, or a file in it is damaged.
    """
    with folder.changing():  # the last one to write has seen every result
        summary = summarise(folder)
        compared = compare(folder, summary) if summary.table.compared else []
        write_text_atomic(folder.workdir / "table.md", markdown(summary, compared))
        write_atomic(folder.workdir / "table.csv", comma_separated(summary))


def markdown(summary: Summary, compared: Sequence[Comparison] = ()) -> str:
    """The whole of table.md."""
    parts = [_head(summary), _rows(summary), _notes(summary), _comparison(compared, summary.table.sweep)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _head(summary: Summary) -> str:
    about = summary.description
    data, scale = about["data"], about["scale"]
    selection = summary.fact("selection")
    sweep = summary.table.sweep
    steps = "as many steps as the rows say" if sweep and sweep.key == STEPS else f"{summary.fact('steps')} steps"
    versions = [f"{name} {summary.fact(name)}" for name in summary.facts if name not in SETTINGS]
    lines = [
        f"# Table {about['table']}: {summary.table.title}; {data}",
        "",
        f"- Data: {data}, fingerprint {summary.fact('data fingerprint')}; split by {summary.fact('split unit')}",
        f"- Scale: {scale} (`configs/{DATA[data].variants[scale]}`), {steps}",
        f"- Activations: {summary.fact('dtype of activations')}",
        f"- Evaluated on the test images: {SELECTIONS.get(selection, selection)}",
        f"- Versions: {', '.join(versions) or 'not known yet'}",
        *(f"- Command: `{command}`" for command in about.get("commands", ())),
    ]
    return "\n".join(lines)


def _rows(summary: Summary) -> str:
    sweep = summary.table.sweep
    heads = ["labels", "system", *([sweep.label] if sweep else []), "runs"]
    known = {metric for metric in METRICS if any(cell.published(metric) for cell in summary.cells)}
    heads += [head for metric, name in METRICS.items() for head in (name, *(["paper"] if metric in known else []))]
    left = 2
    lines = [_line(heads), _line(["---"] * left + ["---:"] * (len(heads) - left))]
    best = _best(summary.cells)
    for cell in summary.cells:
        words = [cell.fraction, SYSTEMS[cell.system].title, *([str(cell.value)] if sweep else []), _runs(cell)]
        for metric in METRICS:
            text = _mean(cell, metric)
            bold = best.get((cell.fraction, metric)) == text.partition(" ")[0] and cell in _complete(summary.cells)
            words.append(f"**{text}**" if bold else text)
            if metric in known:
                words.append(_published(cell.published(metric)))
        lines.append(_line(words))
    return "\n".join(lines)


def _comparison(compared: Sequence[Comparison], sweep: Sweep | None) -> str:
    if not compared:
        return ""
    heads = ["labels", "system", "than", "runs", "Dice", "95 %", "p", "mIoU", "95 %", "p"]
    lines = [
        "## Against the best supervised system",
        "",
        "The best supervised system is that with the greatest Dice on these test images, over the seeds that all "
        "supervised ones have finished. Differences in points, mean (sample standard deviation) over the seeds that "
        "both have, which label the same images; 95 %: interval of the difference of the pooled figures, all seeds "
        "together, with test patients, or images where patients are unknown, drawn anew: it says nothing of what seeds "
        "do; p: of a paired t-test over seeds, two-sided, not corrected for the number of systems.",
        "",
        _line(heads),
        _line(["---"] * 3 + ["---:"] * (len(heads) - 3)),
    ]
    for row in compared:
        words = [row.fraction, _named(row.system, row.value, sweep), _named(row.than, row.than_value, sweep)]
        words.append(str(len(row.seeds)))
        for metric in ("mean_dice", "mean_iou"):
            own = row.differences[metric]
            ends = UNKNOWN if own.interval is None else f"{own.interval[0]:+.1f} to {own.interval[1]:+.1f}"
            p = UNKNOWN if own.p is None else f"{own.p:.3f}"
            spread = "" if own.deviation is None else f" ({own.deviation:.1f})"
            words += [f"{own.mean:+.1f}{spread}", ends, p]
        lines.append(_line(words))
    return "\n".join(lines)


def _named(system: str, value: int | None, sweep: Sweep | None) -> str:
    return SYSTEMS[system].title + (f", {value} {sweep.label}" if sweep else "")


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"


def _figure(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f}"


def _published(figure: PaperFigure | None) -> str:
    return UNKNOWN if figure is None else figure.printed + (SLIP if figure.slip else "")


def _mean(cell: Cell, metric: str) -> str:
    deviation = cell.deviation(metric)
    return _figure(cell.mean(metric)) + ("" if deviation is None else f" ({deviation:.1f})")


def _runs(cell: Cell) -> str:
    marks = [
        f"{word}: {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
        for word, seeds in (("missing", cell.missing), ("failed", cell.failed))
        if seeds
    ]
    return "; ".join([str(len(cell.figures["mean_iou"])), *marks])


def _complete(cells: Sequence[Cell]) -> list[Cell]:
    """Cells that have all seeds of their fraction: means over other seeds are means over other labelled images."""
    seeds: dict[str, set[int]] = {}
    for cell in cells:
        seeds.setdefault(cell.fraction, set()).update(cell.seeds)
    return [cell for cell in cells if set(cell.figures["mean_iou"]) == seeds[cell.fraction]]


def _best(cells: Sequence[Cell]) -> dict[tuple[str, str], str]:
    """(fraction, metric) -> the greatest mean, as written, where at least two complete cells can be compared."""
    means: dict[tuple[str, str], list[float]] = {}
    for cell in _complete(cells):
        for metric in METRICS:
            if (mean := cell.mean(metric)) is not None:
                means.setdefault((cell.fraction, metric), []).append(mean)
    return {key: _figure(max(values)) for key, values in means.items() if len(values) > 1}


def _notes(summary: Summary) -> str:
    lines = [
        "Percent; mean (sample standard deviation) over seeds. Dice is 2 IoU / (1 + IoU) per class, averaged. Bold: "
        "the best mean of its share of labels, among the rows that have finished with every seed."
    ]
    lines += _paper_notes(summary)
    for fact, values in summary.differing.items():
        groups = "; ".join(f"{value} in {_names(names)}" for value, names in values.items())
        lines.append(f"**The runs differ in {fact}**: {groups}.")
    return "\n\n".join(lines)


def _paper_notes(summary: Summary) -> list[str]:
    """Where the paper's figures come from, and how to read them."""
    beside = [cell for cell in summary.cells if cell.paper]
    if not beside:
        return ["The paper has no figures of these systems on this data, split like this."]
    scale = summary.description["scale"]
    reservation = "" if scale == "full" else f"; its runs are full size, these are of the scale {scale}"
    lines = [
        f"paper: [{source()}](https://arxiv.org/abs/2301.13141), mean (standard deviation) as it prints them"
        f"{reservation}. `{UNKNOWN}`: it has no such figure."
    ]
    if any(figure.slip for cell in beside for figure in cell.paper.figures.values()):
        lines.append(f"{SLIP}: a slip of the paper, which prints the mean as the standard deviation too.")
    moved = {cell.value: cell.paper.value for cell in beside if cell.value != cell.paper.value}
    if moved:
        pairs = ", ".join(f"{value} beside its {printed}" for value, printed in moved.items())
        lines.append(f"Not all of the paper's numbers can be drawn evenly: {pairs}.")
    return lines


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def comma_separated(summary: Summary) -> bytes:
    """The whole of table.csv: one line per cell; numbers in percent, empty where there are none."""
    about = summary.description
    heads = ["table", "data", "scale", "fraction", "system", "value", "n", "seeds", "missing_seeds", "failed_seeds"]
    heads += [f"{start}{metric}{end}" for start in ("", "paper_") for metric in METRICS for end in ("", "_sd")]
    heads += ["paper_value", "paper_slips"]
    rows = [heads]
    for cell in summary.cells:
        finished = sorted(cell.figures["mean_iou"])
        row = [about["table"], about["data"], about["scale"], cell.fraction, cell.system, cell.value, len(finished)]
        row += [" ".join(map(str, seeds)) for seeds in (finished, cell.missing, cell.failed)]
        row += [_number(figure(metric)) for metric in METRICS for figure in (cell.mean, cell.deviation)]
        published = {metric: cell.published(metric) for metric in METRICS}
        for figure in published.values():
            row += [_number(figure.mean), _number(figure.deviation)] if figure else ["", ""]
        slips = " ".join(metric for metric, figure in published.items() if figure and figure.slip)
        rows.append([*row, cell.paper.value if cell.paper else None, slips])
    return csv_text(rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
