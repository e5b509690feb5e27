"""Rules for the values of settings.

A rule takes a value and returns None where it fits, else what is wrong with it and what to give: words that go on from
'config.data.side=0'. That the value is of its default's type has been seen to; what a tuple holds has not.
"""

import math
import re
from collections.abc import Callable
from typing import Any

Rule = Callable[[Any], str | None]
Bound = float | int | None


def anything(value: Any) -> str | None:
    """Whatever is of the default's type: a switch, a path, a text."""
    del value


def name(value: Any) -> str | None:
    """A text that is not empty; whether something has that name, who keeps the names knows."""
    return None if isinstance(value, str) and value.strip() else "must be a name"


def number(*, above: Bound = None, least: Bound = None, below: Bound = None, most: Bound = None) -> Rule:
    """A finite number within bounds: `above` and `below` are none themselves, `least` and `most` are."""
    bounds = {"greater than": above, "at least": least, "less than": below, "at most": most}
    wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    def rule(value: Any) -> str | None:
        known = (isinstance(value, float) and math.isfinite(value)) or isinstance(value, int)
        if isinstance(value, bool) or not known:
            return f"is not a finite number: give one that is {wanted}"
        fits = (
            (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
            and (most is None or value <= most)
        )
        return None if fits else f"must be {wanted}"

    return rule


positive = number(above=0)
not_negative = number(least=0)
share = number(least=0, most=1)


def count(value: Any) -> str | None:
    """A whole number, 1 or more."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole and value >= 1 else "must be a whole number, at least 1"


def multiple_of(step: int) -> Rule:
    """A whole multiple of `step`, at least once it."""

    def rule(value: Any) -> str | None:
        return None if count(value) is None and value % step == 0 else f"must be a multiple of {step}, at least {step}"

    return rule


def zero_or(rest: Rule) -> Rule:
    """0, or what `rest` lets pass."""

    def rule(value: Any) -> str | None:
        wrong = rest(value)
        return f"{wrong}, or 0" if wrong and value != 0 else None

    return rule


def one_of(*choices: Any) -> Rule:
    """One of these values."""

    def rule(value: Any) -> str | None:
        return None if value in choices else f"is unknown; known: {', '.join(map(str, choices))}"

    return rule


def interval(each: Rule) -> Rule:
    """Two numbers, the lower first, that `each` lets pass."""

    def rule(value: Any) -> str | None:
        if len(value) != 2:
            return "is not a range: give two numbers, e.g. '(0.5, 1.0)'"
        wrong = _first_wrong(value, each)
        return wrong or (None if value[0] <= value[1] else "is upside down: give the lower number first")

    return rule


def channels(each: Rule) -> Rule:
    """Three numbers that `each` lets pass, or none."""

    def rule(value: Any) -> str | None:
        if len(value) not in (0, 3):
            return "is not a number for each channel: give three, of red, green and blue, or ()"
        return _first_wrong(value, each)

    return rule


def several(each: Rule) -> Rule:
    """One or more values that `each` lets pass."""

    def rule(value: Any) -> str | None:
        return _first_wrong(value, each) if value else "is empty: give at least one"

    return rule


def _first_wrong(values: Any, each: Rule) -> str | None:
    return next((f"has {value!r}, which {wrong}" for value in values if (wrong := each(value))), None)


def fraction(value: Any) -> str | None:
    """A text such as '1/8'."""
    return None if re.fullmatch(r"[1-9]\d*/[1-9]\d*", value) else "is not a fraction: write it as 1/8"


def tuning(value: Any) -> str | None:
    """How an encoder learns: 'groups', 'frozen', 'lora', 'last:2' (groups of layers), 'layerwise:0.75' (decay)."""
    kind, _, amount = value.partition(":")
    match kind:
        case "groups" | "frozen" | "lora" if not amount:
            return None
        case "last" if re.fullmatch(r"[1-9]\d*", amount):
            return None
        case "layerwise" if re.fullmatch(r"0?\.\d+", amount) and float(amount) > 0:
            return None
    return "is unknown; give groups, frozen, lora, last:N (N groups of layers) or layerwise:D (D below 1)"


def parameter_groups(value: Any) -> str | None:
    """Rows (pattern, multiple of the learning rate[, weight decay]), with a pattern that compiles."""
    for row in value:
        if not isinstance(row, tuple | list) or not 2 <= len(row) <= 3 or not isinstance(row[0], str):
            rows = "(('backbone/.*', 0.1), ('.*', 1.0))"
            return f'holds {row!r}: give rows (pattern, multiple) or (pattern, multiple, decay), e.g. "{rows}"'
        try:
            re.compile(row[0])
        except re.error as error:
            return f"holds the pattern {row[0]!r}, which is no regular expression: {error}"
        if wrong := _first_wrong(row[1:], not_negative):
            return f"holds a row {row!r} that {wrong}"
    return None if any(row[1] for row in value) else "lets no parameter learn: give a row with a multiple above 0"
