"""Intervals over few patients: by hand where that is possible, and how often they hold the truth."""

import numpy as np
import pytest
from scipy.stats import t as student

from crcfp_jax.evaluation.intervals import bootstrap_difference, bootstrap_interval
from crcfp_jax.evaluation.metrics import accuracy, class_iou, mean_iou


def patients(shares, pixels=1000):
    """Confusion matrices of two classes, of which such shares of the pixels are right."""
    right = np.round(np.array(shares) * pixels).astype(np.int64)
    return np.stack([[[a, pixels - a], [pixels - a, a]] for a in right])


def test_by_hand_for_equal_patients():
    # The accuracy is the mean share, .8. Its bootstrap error is sqrt(sum (p - .8)^2) / 4 = .00707, times sqrt(4 / 3)
    # .00816, which is .00816 / (.8 x .2) = .051 on the logit's scale, as long as it is small.
    shares = (0.78, 0.8, 0.82, 0.8)
    low, high = bootstrap_interval(patients(shares), accuracy, draws=20000)
    reach = student.ppf(0.975, 3) * 0.051
    for end, sign in ((low, -1), (high, 1)):
        assert np.log(end / (1 - end)) == pytest.approx(np.log(4) + sign * reach, abs=0.004)
    first, second = patients((0.7, 0.8, 0.9, 0.8)), patients((0.6, 0.75, 0.85, 0.6))
    low, high = bootstrap_difference(first, second, accuracy, draws=20000)
    gaps = np.array([0.1, 0.05, 0.05, 0.2])
    reach = student.ppf(0.975, 3) * gaps.std(ddof=1) / 2  # as the t-test of the pairs has it
    assert (low, high) == pytest.approx((0.1 - reach, 0.1 + reach), abs=0.003)


def test_limits():
    alike = patients((0.8,) * 5)
    assert bootstrap_interval(alike, mean_iou) == pytest.approx((2 / 3, 2 / 3))
    assert bootstrap_difference(alike, alike, mean_iou) == (0, 0)
    two = patients((0.7, 0.9))
    assert (
        np.isnan(bootstrap_interval(two, mean_iou)).all() and np.isnan(bootstrap_difference(two, two, accuracy)).all()
    )
    for share in (0.0, 1.0):
        assert np.isnan(bootstrap_interval(patients((share,) * 4), accuracy)).all()
    low, high = bootstrap_interval(patients((0.0, 0.5, 1.0)), accuracy)  # as unlike as can be
    assert 0 < low < 0.05 and 0.95 < high < 1
    assert bootstrap_interval(patients((0.6, 0.7, 0.9)), accuracy, level=0.5)[0] > 0.6
    first = bootstrap_interval(patients((0.6, 0.7, 0.9)), accuracy)
    assert first == bootstrap_interval(patients((0.6, 0.7, 0.9)), accuracy) != (np.nan, np.nan)


def test_a_class_that_few_patients_hold():
    held = patients((0.7, 0.8, 0.9, 0.6))
    confusions = np.zeros((4, 3, 3), np.int64)
    confusions[:, :2, :2] = held
    confusions[:, 2, 2] = 0
    iou = lambda counts: float(class_iou(counts)[2])  # noqa: E731
    assert np.isnan(bootstrap_interval(confusions, iou)).all()
    confusions[:3, 2] = [[5, 0, 20], [0, 5, 40], [2, 2, 10]]
    low, high = bootstrap_interval(confusions, iou)  # resamples without the class are left out
    assert 0 < low < iou(confusions.sum(0)) < high < 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 4, 6, 10])
def test_coverage(count):
    """Shares of patients from a wide, skewed distribution: percentiles would hold the mean in 70 to 80 of 100."""
    generator = np.random.default_rng(count)
    shares = generator.beta(6, 1.5, (400, count))
    ends = [bootstrap_interval(patients(row, 10**6), accuracy, draws=300) for row in shares]
    held = np.mean([low <= 6 / 7.5 <= high for low, high in ends])
    assert 0.91 <= held <= 0.99
