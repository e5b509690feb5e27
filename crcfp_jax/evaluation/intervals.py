"""Confidence intervals of figures that are pooled over few patients.

Pixels of a patient resemble each other: what is drawn anew is the patient, or whatever is the independent unit. With
few of them the percentiles of the bootstrap are far too narrow, by the factor sqrt((n - 1) / n), and by the normal
distribution in the place of Student's t (Hesterberg 2015, "What teachers should know about the bootstrap", The American
Statistician 69(4)); nor can they leave the range of what was seen. Here the bootstrap gives the standard error alone,
corrected by that factor, and the interval is Student's with n - 1 degrees of freedom: of a share on the scale of its
logit, which keeps it within 0 and 1, of a difference on its own. How often it holds the truth:
docs/crossvalidation.md.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int64
from scipy.special import expit, logit, stdtrit

FEWEST = 3  # units that an interval can be had from
CLOSEST = 1e-3  # to 0 or 1 that a share of a resample counts as, since their logits are infinite

Metric = Callable[[Int64[np.ndarray, "c c"]], float]


def bootstrap_interval(
    confusions_by_unit: Int64[np.ndarray, "n c c"],
    metric: Metric,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a figure of the summed confusion matrix.

    Args:
        confusions_by_unit: of each independent unit, such as a patient.
        metric: a share from 0 to 1, NaN where it is not defined, such as `metrics.mean_iou`.
        draws: resamples.
        level: how often the interval should hold the truth.
        seed: of the resamples.

    Returns:
        Both ends, from 0 to 1; NaN below three units, and where the figure is 0, 1 or undefined.
    """
    value = metric(confusions_by_unit.sum(0))
    if len(confusions_by_unit) < FEWEST or not 0 < value < 1:
        return np.nan, np.nan
    shares = [metric(counts) for counts in _resamples(confusions_by_unit, draws, seed)]
    reach = _reach(logit(np.clip(shares, CLOSEST, 1 - CLOSEST)), len(confusions_by_unit), level)
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))


def bootstrap_difference(
    first: Int64[np.ndarray, "n c c"],
    second: Int64[np.ndarray, "n c c"],
    metric: Metric,
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the figure of `first` less that of `second`, which are of the same units in the same order.

    The other arguments are those of `bootstrap_interval`.

    Returns:
        Both ends, from -1 to 1; NaN below three units, and where a figure is undefined.
    """
    difference = metric(first.sum(0)) - metric(second.sum(0))
    if len(first) < FEWEST or np.isnan(difference):
        return np.nan, np.nan
    pairs = zip(_resamples(first, draws, seed), _resamples(second, draws, seed), strict=True)
    reach = _reach(np.array([metric(one) - metric(other) for one, other in pairs]), len(first), level)
    return max(-1.0, float(difference - reach)), min(1.0, float(difference + reach))


def _resamples(confusions: Int64[np.ndarray, "n c c"], draws: int, seed: int) -> Iterator[Int64[np.ndarray, "c c"]]:
    """Sums over as many units as there are, drawn with replacement."""
    count = len(confusions)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    for row in weights:
        yield np.tensordot(row, confusions, 1)


def _reach(values: np.ndarray, count: int, level: float) -> float:
    """Half the width of an interval whose figure takes these values in resamples of `count` units."""
    error = np.nanstd(values, ddof=1) * np.sqrt(count / (count - 1))
    return float(stdtrit(count - 1, (1 + level) / 2) * error)
