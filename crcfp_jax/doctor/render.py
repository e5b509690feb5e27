"""A diagnosis as Markdown, and on the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crcfp_jax.common.words import METRICS
from crcfp_jax.doctor.diagnosis import Diagnosis
from crcfp_jax.doctor.sections import Row, Section

BEGINNING = "†"
ANNOTATED = ("class", "mm²", "tiles", "patients")
RESULT = {"iou": "IoU", "dice": "Dice", "precision": "precision", "recall": "recall"}
ANNOTATED_CAPTION = "Of each class, in the labelled tiles that the run learns from."
NO_WARNINGS = "No warnings."


def to_markdown(diagnosis: Diagnosis, title: str, result: Mapping[str, Any] | None = None) -> str:
    """The whole report.

    Args:
        result: what result.json holds, or None where there is none.
    """
    lines = [f"# {title}", ""]
    if result is not None:
        lines += [f"**{_summary(result)}**", ""]
    lines += [f"- **Warning:** {_escaped(warning)}" for warning in diagnosis.warnings]
    lines += [f"- {_escaped(note)}" for note in diagnosis.notes]
    lines += [] if diagnosis.warnings or diagnosis.notes else [NO_WARNINGS]
    if result is not None:
        lines += ["", "## Result by class", "", "In percent, on the test images.", ""]
        lines += _markdown_table(("class", *RESULT.values()), _result_rows(result))
    if diagnosis.annotated:
        lines += ["", "## Annotated", "", ANNOTATED_CAPTION, ""]
        lines += _markdown_table(ANNOTATED, _annotated_rows(diagnosis))
    for heading, sections in (("Over time", diagnosis.over_time), ("By class, over time", diagnosis.per_class)):
        if sections:
            lines += ["", f"## {heading}", "", _columns(diagnosis)]
        for section in sections:
            lines += ["", f"### {section.title}", ""]
            lines += _markdown_table(_header(diagnosis), [(row.label, *_figures(row)) for row in section.rows])
            legend = _legend(section)
            lines += ["", *legend] if legend else []
    return "\n".join(lines) + "\n"


def show(
    diagnosis: Diagnosis, title: str, result: Mapping[str, Any] | None = None, console: Console | None = None
) -> None:
    """Prints the report, to stdout by default."""
    console = console or Console()
    console.rule(Text(title, style="bold"), align="left")
    if result is not None:
        console.print(Text(_summary(result), style="bold"))
    for warning in diagnosis.warnings:
        console.print(_item(Text("warning  ", style="bold yellow"), warning))
    for note in diagnosis.notes:
        console.print(_item(Text("note     ", style="cyan"), note))
    if not (diagnosis.warnings or diagnosis.notes):
        console.print(Text(NO_WARNINGS, style="green"))
    if result is not None:
        table = _rich_table("\nResult by class", ("class", *RESULT.values()), _result_rows(result))
        console.print(table, Text("In percent, on the test images.", style="dim"), sep="\n")
    if diagnosis.annotated:
        table = _rich_table("\nAnnotated", ANNOTATED, _annotated_rows(diagnosis))
        console.print(table, Text(ANNOTATED_CAPTION, style="dim"), sep="\n")
    for section in (*diagnosis.over_time, *diagnosis.per_class):
        rows = [(row.label, *_figures(row)) for row in section.rows]
        legend = Text("\n".join(_legend(section)), style="dim")
        console.print("", _rich_table(section.title, _header(diagnosis), rows), legend, sep="\n")
    if diagnosis.over_time:
        console.print(Text(f"\n{_columns(diagnosis)}\n", style="dim"))


def _item(head: Text, text: str) -> Table:
    """Text that hangs beside its head, however narrow the terminal is."""
    grid = Table.grid()
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(head, Text(text))
    return grid


def _rich_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(
        title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=0
    )
    table.add_column(header[0], overflow="fold")
    for name in header[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for label, *figures in rows:
        table.add_row(Text(label), *figures)
    return table


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|---|" + "---:|" * (len(header) - 1)
    for label, *figures in rows:
        yield f"| {' | '.join([_escaped(label), *figures])} |"


def _header(diagnosis: Diagnosis) -> list[str]:
    return ["up to step", *(f"{span.last}{BEGINNING * span.supervised_only}" for span in diagnosis.spans)]


def _columns(diagnosis: Diagnosis) -> str:
    """What the columns are."""
    text = "Each column is the mean of what was logged since the column before it."
    if any(span.supervised_only for span in diagnosis.spans):
        text += f" {BEGINNING}: supervised beginning, in which only the supervised loss counts."
    return text


def _legend(section: Section) -> list[str]:
    meanings = [f"- {row.label.split(',')[0]}: {row.meaning}" for row in section.rows if row.meaning]
    return [*meanings, *([section.caption] if section.caption else [])]


def _figures(row: Row) -> list[str]:
    return [_percent(value) if row.share else _figure(value) for value in row.values]


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    return "<0.1" if 0 < share < 0.001 else f"{100 * share:.1f}"


def _figure(value: float | None) -> str:
    """Three figures at most, as columns are narrow."""
    if value is None:
        return "-"
    if abs(value) < 0.01:
        return f"{value:.2g}"
    decimals = 3 - sum(abs(value) >= bound for bound in (1, 10, 100))
    return f"{value:.{decimals}f}"


def _summary(result: Mapping[str, Any]) -> str:
    figures = [f"{name} {result[key]:.1f}" for key, name in METRICS.items() if result.get(key) is not None]
    return f"Test, {result['selection'].replace('_', ' ')} checkpoint (step {result['step']}): {', '.join(figures)}"


def _result_rows(result: Mapping[str, Any]) -> list[list[str]]:
    rows = result["per_class"].items()
    return [[name, *("-" if row[key] is None else f"{row[key]:.1f}" for key in RESULT)] for name, row in rows]


def _annotated_rows(diagnosis: Diagnosis) -> list[list[str]]:
    return [[row.name, f"{row.mm2:.3g}", str(row.tiles), str(row.patients)] for row in diagnosis.annotated]


def _escaped(text: str) -> str:
    """Without what Markdown would read as an end of a cell or as emphasis."""
    return "".join(f"\\{letter}" if letter in "|*_`<" else letter for letter in text)
