"""What each rule lets pass, and what it says of the rest."""

import math

import pytest

from crcfp_jax.common import rules

NOT_FINITE = (math.nan, math.inf, -math.inf)


@pytest.mark.parametrize(
    ("rule", "fitting", "refused"),
    [
        (rules.name, ("a", "resnet18"), ("", " ", 1)),
        (rules.positive, (1e-9, 3), (0, -1.0, *NOT_FINITE, True, "1")),
        (rules.not_negative, (0, 0.0, 7), (-1e-9, *NOT_FINITE)),
        (rules.share, (0, 0.5, 1.0), (-0.1, 1.1, *NOT_FINITE)),
        (rules.number(above=0.5, most=1), (0.6, 1), (0.5, 1.01)),
        (rules.number(least=0, below=1), (0, 0.99), (1.0, -0.1)),
        (rules.number(least=0, most=10**9), (0, 10**9), (10**9 + 1, 10**400)),
        (rules.count, (1, 8), (0, -1, 1.5, True, *NOT_FINITE)),
        (rules.multiple_of(4), (4, 64), (0, 6, -4)),
        (rules.zero_or(rules.number(least=0.05)), (0, 0.0, 0.05), (0.01, -1.0, *NOT_FINITE)),
        (rules.one_of("sgd", "adamw"), ("sgd",), ("adam", "")),
        (rules.one_of(8, 16), (8, 16), (32,)),
        (
            rules.interval(rules.share),
            ((0, 1), (0.5, 0.5), [0.1, 0.2]),
            ((), (0.5,), (0.1, 0.2, 0.3), (0.5, 0.1), (0.5, 1.5), (0.1, math.nan), ("a", "b")),
        ),
        (rules.channels(rules.share), ((), (0, 0.5, 1)), ((0.5,), (0.5, 0.5), (0.5, 0.5, 1.5), (0.5, 0.5, math.nan))),
        (rules.several(rules.count), ((1,), (2, 3)), ((), (0,), (1, 2.5))),
        (rules.fraction, ("1/8", "1/1"), ("0.125", "1/0", "1/8 ", "")),
        (
            rules.parameter_groups,
            (((".*", 1),), (("backbone/.*", 0, 1e-4), (".*", 1.0)), [["a", 1.0]]),
            (
                (), ((".*", 0.0),), (".*", 1.0), ((".*",),), ((".*", 1, 1, 1),), ((1, ".*"),), (("(", 1.0),),
                ((".*", -1.0),), ((".*", 1.0, math.nan),), ((".*", "1"),), ((".*", math.inf),),
            ),
        ),
    ],
)  # fmt: skip
def test_what_fits_and_what_is_refused(rule, fitting, refused):
    assert [value for value in fitting if rule(value)] == []
    assert [value for value in refused if not rule(value)] == []
    assert all("\n" not in rule(value) for value in refused)


@pytest.mark.parametrize(
    ("rule", "value", "told"),
    [
        (rules.positive, 0, "must be greater than 0"),
        (rules.share, 1.5, "must be at least 0 and at most 1"),
        (rules.share, math.nan, "is not a finite number: give one that is at least 0 and at most 1"),
        (rules.zero_or(rules.number(least=0.05, most=20)), 250.0, "must be at least 0.05 and at most 20, or 0"),
        (rules.one_of(8, 16), 32, "is unknown; known: 8, 16"),
        (rules.interval(rules.share), (0.5, 1.5), "has 1.5, which must be at least 0 and at most 1"),
        (rules.interval(rules.share), (0.5,), "is not a range: give two numbers, e.g. '(0.5, 1.0)'"),
        (rules.several(rules.name), (), "is empty: give at least one"),
        (
            rules.parameter_groups,
            ((".*", 1.0), 0.5),
            "holds 0.5: give rows (pattern, multiple) or (pattern, multiple, decay), e.g. "
            "\"(('backbone/.*', 0.1), ('.*', 1.0))\"",
        ),
        (
            rules.parameter_groups,
            (("[a", 1.0),),
            "holds the pattern '[a', which is no regular expression: unterminated character set at position 0",
        ),
        (
            rules.parameter_groups,
            ((".*", -1.0),),
            "holds a row ('.*', -1.0) that has -1.0, which must be at least 0",
        ),
    ],
)
def test_a_refusal_says_what_to_give(rule, value, told):
    assert rule(value) == told
