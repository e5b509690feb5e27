"""What a run has logged, in order, and its means over spans of steps."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crcfp_jax.methods.systems.definition import SUPERVISED, Method, Term
from crcfp_jax.methods.systems.registry import find_method

SPANS = 8  # columns of a table: as many as an 80-column terminal takes, enough to see a trend


@dataclass(frozen=True)
class Span:
    """Steps `first` to `last`, both included. `supervised_only`: the unlabelled terms do not count yet."""

    first: int
    last: int
    supervised_only: bool


@dataclass(frozen=True)
class History:
    """The figures of one run.

    Attributes:
        rows: one dict a logged step, in order; a figure that is missing or null was not logged.
        class_names: in the order of their labels.
        settings: the run's config.json.
    """

    rows: Sequence[Mapping[str, Any]]
    class_names: Sequence[str]
    settings: Mapping[str, Any]

    @cached_property
    def last(self) -> int:
        """The last logged step; 0 before the first."""
        return self.rows[-1]["step"] if self.rows else 0

    @cached_property
    def total(self) -> int:
        """Steps that the run is to have."""
        return self.setting("train.steps")

    @cached_property
    def method(self) -> Method:
        """The method that the run trains."""
        return find_method(self.setting("method"))

    @cached_property
    def warmup(self) -> int:
        """Steps at the start in which only the supervised term counts; 0 for a method that has no other."""
        if not self.method.terms:
            return 0
        return round(self.setting("weights.warmup") * self.total)

    @cached_property
    def late(self) -> int:
        """First step of the last quarter of what has been logged, the supervised beginning left out."""
        return max(self.last - self.last // 4, self.warmup) + 1

    @cached_property
    def spans(self) -> list[Span]:
        """About `SPANS` spans of about equal length, cut at the end of the supervised beginning."""
        count = min(SPANS, len(self.rows))
        if not count:
            return []
        beginning = min(self.warmup, self.last)
        parts = round(count * beginning / self.last)
        if 0 < beginning < self.last:
            parts = min(max(parts, 1), count - 1)
        spans = [Span(a, b, True) for a, b in _divide(0, beginning, parts)]
        return spans + [Span(a, b, False) for a, b in _divide(beginning, self.last, count - parts)]

    def setting(self, key: str) -> Any:
        """The value of a key such as 'train.steps'; None where the run, made by another version, lacks it."""
        value: Any = self.settings
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def named(self, key: str) -> str:
        """A setting as an advice names it, with its value."""
        value = self.setting(key)
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        return f"config.{key}" if value is None else f"config.{key} (now {value})"

    def trains(self, term: Term) -> bool:
        """Whether the loss term exists and counts."""
        return self.has(f"loss/{term.name}") and self.setting(term.weight) != 0

    @cached_property
    def unlabelled_terms(self) -> list[Term]:
        """The loss terms on unlabelled images that count, in the order in which they are logged."""
        terms = [self.method.term(key.removeprefix("loss/")) for key in self.keys("loss/")]
        return [term for term in terms if term not in (None, SUPERVISED) and self.trains(term)]

    def trained(self, need: str) -> Term | None:
        """The term that needs something (one of `definition.NEEDS`) and counts, or None."""
        return next((term for term in self.unlabelled_terms if need in term.needs), None)

    @cached_property
    def ramped(self) -> int:
        """Last step at which the weights of the unlabelled terms still grow."""
        ramps = [self.setting(term.ramp) or 0 for term in self.method.terms if term.ramp]
        return self.warmup + round(max(ramps, default=0) * self.total)

    def has(self, key: str) -> bool:
        """Whether the figure has been logged."""
        return any(row.get(key) is not None for row in self.rows)

    def keys(self, prefix: str) -> list[str]:
        """The logged keys that begin so, in the order of their first line."""
        return list(dict.fromkeys(key for row in self.rows for key in row if key.startswith(prefix)))

    def points(self, key: str, first: int = 0, last: int | None = None) -> list[tuple[int, float]]:
        """(step, value) wherever the figure was logged from step `first` to `last`, both included."""
        last = self.last if last is None else last
        return [(r["step"], float(r[key])) for r in self.rows if first <= r["step"] <= last and r.get(key) is not None]

    def values(self, key: str, first: int = 0, last: int | None = None) -> list[float]:
        """The values of `points`."""
        return [value for _, value in self.points(key, first, last)]

    def mean(self, key: str, first: int = 0, last: int | None = None) -> float | None:
        """Mean of `values`; None without any."""
        values = self.values(key, first, last)
        return statistics.fmean(values) if values else None

    def over_time(self, key: str) -> list[float | None]:
        """Mean over each of `spans`."""
        return [self.mean(key, span.first, span.last) for span in self.spans]

    def since(self, key: str, holds: Callable[[float], bool]) -> int:
        """First step from which every logged value `holds`; at the latest the first step of the last quarter."""
        start = self.late
        for step, value in reversed(self.points(key, self.warmup + 1)):
            if not holds(value):
                break
            start = min(start, step)
        return start


def in_order(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One dict a step, in order.

    Lines of one step (training, validation) are joined. A line whose step lies before that of the line above it was
    written by a resumed run: what had been written from that step on counts no more.
    """
    steps: dict[int, dict[str, Any]] = {}
    newest = 0
    for row in rows:
        if row["step"] < newest:
            steps = {step: kept for step, kept in steps.items() if step < row["step"]}
        newest = row["step"]
        steps.setdefault(newest, {}).update(row)
    return list(steps.values())


def _divide(start: int, end: int, count: int) -> list[tuple[int, int]]:
    edges = [start + round(part * (end - start) / count) for part in range(count + 1)] if count else []
    return [(a + 1, b) for a, b in itertools.pairwise(edges)]
