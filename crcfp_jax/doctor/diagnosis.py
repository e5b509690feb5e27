"""A run examined: its figures over time, by class, and what looks wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from crcfp_jax.doctor import checks, training
from crcfp_jax.doctor.history import History, Span, in_order
from crcfp_jax.doctor.sections import Section, by_class, losses, pseudo_labels, time
from data_pipelines.scarcity import Annotated, scarce_classes

MIN_LINES = 20  # after the supervised beginning: the last quarter then has five, and one odd batch is outvoted

CHECKS = (
    checks.predictions_collapse,
    checks.classes_vanish,
    checks.no_positives,
    checks.bank_lacks_negatives,
    checks.confidence_useless,
    checks.auxiliary_classifiers,
    training.loss_rose,
    training.gradients_exploded,
    training.waits_for_input,
)


@dataclass(frozen=True)
class Diagnosis:
    """What `examine` finds.

    Attributes:
        step: the last logged step; `total`: the steps that the run is to have.
        spans: the columns of every section.
        over_time, per_class: the sections; one without a logged figure is left out.
        annotated: how much of each class the run learns from; empty where its folder doesn't tell.
        warnings: plain sentences: what, since which step, the figure, and the setting to try.
        notes: why nothing is judged yet, or that the run is not finished.
    """

    step: int
    total: int
    spans: Sequence[Span]
    over_time: Sequence[Section]
    per_class: Sequence[Section]
    annotated: Sequence[Annotated]
    warnings: Sequence[str]
    notes: Sequence[str]


def examine(
    rows: Iterable[Mapping[str, Any]],
    class_names: Sequence[str],
    settings: Mapping[str, Any],
    data: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Looks at a run, finished or not.

    Args:
        rows: the parsed lines of metrics.jsonl, in the order of the file.
        class_names: in the order of their labels.
        settings: the run's config.json.
        data: its data.json; None for a run of a version that wrote none.
    """
    run = History(in_order(rows), list(class_names), settings)
    notes, judged = _notes(run)
    annotated, scarce = _annotation(data) if data else ([], [])
    return Diagnosis(
        step=run.last,
        total=run.total,
        spans=run.spans,
        over_time=[section for section in (losses(run), pseudo_labels(run), time(run)) if section.rows],
        per_class=[section for section in by_class(run) if section.rows],
        annotated=annotated,
        # What is annotated is known from the start.
        warnings=[*scarce, *(warning for check in CHECKS if judged for warning in check(run))],
        notes=notes,
    )


def _annotation(data: Mapping[str, Any]) -> tuple[list[Annotated], list[str]]:
    """How much of each class is annotated, and a warning of each that has too little."""
    known = [field.name for field in fields(Annotated)]
    amounts = [Annotated(**{name: entry[name] for name in known}) for entry in data["classes"]]
    size, patients = data["microns_per_pixel"], data["labelled_patients"]
    return amounts, list(scarce_classes(amounts, microns_per_pixel=size, patients=patients).values())


def _notes(run: History) -> tuple[list[str], bool]:
    """What to know before reading the warnings, and whether there is enough to warn of."""
    unfinished, notes = run.last < run.total, []
    if unfinished:
        notes.append(f"The run is not finished: step {run.last} of {run.total}.")
    lines = sum(row["step"] > run.warmup for row in run.rows)
    if lines >= MIN_LINES:
        return notes, True
    if run.rows and run.last <= run.warmup:
        notes.append(f"Nothing is judged yet: up to step {run.warmup} only the supervised loss counts.")
    else:
        after = " after the supervised beginning" if run.warmup else ""
        advice = "" if unfinished else f" Try a lower {run.named('train.log_every')}."
        notes.append(
            f"Nothing is judged{' yet' * unfinished}: {lines} steps{after} have been logged, {MIN_LINES} are needed."
            + advice
        )
    return notes, False
