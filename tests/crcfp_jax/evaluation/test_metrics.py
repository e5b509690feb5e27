"""Figures of merit against hand-computed values."""

import json

import numpy as np
import pytest

from crcfp_jax.evaluation import metrics

# truth (rows) by prediction: 3 of 4 pixels of a right, 1 of 2 of b, c neither there nor predicted
CONFUSION = np.array([[3, 1, 0], [1, 1, 0], [0, 0, 0]], np.int64)


def test_confusion_matrix_counts_rows_as_truth_and_leaves_ignored_pixels_out():
    labels = np.array([[0, 0, 1], [1, 255, 2]], np.uint8)
    predictions = np.array([[0, 1, 1], [0, 2, 2]], np.int32)
    counted = metrics.confusion_matrix(labels, predictions, 3)
    np.testing.assert_array_equal(counted, [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert counted.dtype == np.int64


def test_confusion_matrix_of_nothing_is_zero():
    labels = np.full((2, 2), 255, np.uint8)
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, np.zeros((2, 2), np.uint8), 2), np.zeros((2, 2)))


@pytest.mark.parametrize(("label", "prediction", "message"), [(3, 0, "label 3"), (0, 7, "prediction 7")])
def test_confusion_matrix_names_an_unknown_class(label, prediction, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(np.array([label], np.uint8), np.array([prediction], np.int64), 3)


def test_values_by_hand():
    np.testing.assert_allclose(metrics.class_iou(CONFUSION), [3 / 5, 1 / 3, np.nan])
    np.testing.assert_allclose(metrics.class_dice(CONFUSION), [6 / 8, 2 / 4, np.nan])  # 2 hits / (truth + predicted)
    np.testing.assert_allclose(metrics.class_precision(CONFUSION), [3 / 4, 1 / 2, np.nan])
    np.testing.assert_allclose(metrics.class_recall(CONFUSION), [3 / 4, 1 / 2, np.nan])
    assert metrics.mean_iou(CONFUSION) == pytest.approx((3 / 5 + 1 / 3) / 2)
    assert metrics.mean_dice(CONFUSION) == pytest.approx((6 / 8 + 2 / 4) / 2)
    assert metrics.accuracy(CONFUSION) == pytest.approx(4 / 6)


def test_a_class_that_is_only_predicted_counts_as_zero():
    confusion = np.array([[3, 1], [0, 0]], np.int64)
    np.testing.assert_allclose(metrics.class_iou(confusion), [3 / 4, 0])
    np.testing.assert_allclose(metrics.class_recall(confusion), [3 / 4, np.nan])
    assert metrics.mean_iou(confusion) == pytest.approx(3 / 8)


@pytest.mark.parametrize(("confusion", "value"), [(np.diag([5, 7]), 1.0), (np.array([[0, 5], [7, 0]]), 0.0)])
def test_limits(confusion, value):
    confusion = confusion.astype(np.int64)
    for figure in (metrics.mean_iou, metrics.mean_dice, metrics.accuracy):
        assert figure(confusion) == value


def test_nothing_counted_is_undefined():
    empty = np.zeros((2, 2), np.int64)
    for figure in (metrics.mean_iou, metrics.mean_dice, metrics.accuracy):
        assert np.isnan(figure(empty))


def test_counts_beyond_32_bits_are_exact():
    confusion = np.array([[2**40, 0], [1, 2**40 - 1]], np.int64)
    assert metrics.summary(confusion, ["a", "b"])["confusion_matrix"] == [[2**40, 0], [1, 2**40 - 1]]
    assert metrics.accuracy(confusion) == (2**41 - 1) / 2**41


def test_summary_is_in_percent_and_survives_json():
    found = metrics.summary(CONFUSION, ["a", "b", "c"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["mean_iou"] == pytest.approx(100 * (3 / 5 + 1 / 3) / 2)
    assert found["mean_dice"] == pytest.approx(62.5)
    assert found["accuracy"] == pytest.approx(400 / 6)
    assert list(found["per_class"]) == ["a", "b", "c"]
    assert found["per_class"]["a"] == {
        "iou": pytest.approx(60),
        "dice": pytest.approx(75),
        "precision": pytest.approx(75),
        "recall": pytest.approx(75),
        "support": 4,
    }
    assert found["per_class"]["c"] == {"iou": None, "dice": None, "precision": None, "recall": None, "support": 0}
    assert found["confusion_matrix"] == CONFUSION.tolist()


def test_summary_wants_a_name_per_class():
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        metrics.summary(CONFUSION, ["a", "b"])
