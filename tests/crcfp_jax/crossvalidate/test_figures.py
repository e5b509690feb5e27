"""Figures of a cross-validation by hand, from run folders made by hand, and what is told of them."""

import json

import numpy as np
import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.crossvalidate.figures import compare, pool
from crcfp_jax.crossvalidate.folder import CrossValidationFolder
from crcfp_jax.crossvalidate.output import write_tables
from crcfp_jax.crossvalidate.render import lines
from crcfp_jax.evaluation.metrics import summary

CLASSES = ["gland", "rest"]
PATIENTS = [["a", "c"], ["b"]]


def image(name, patient, matrix):
    return {"image": name, "patient": patient, "confusion_matrix": matrix}


# a has two images, tested together with c by fold 0.
FIRST = {
    0: [image("a1", "a", [[6, 2], [1, 11]]), image("c", "c", [[5, 5], [0, 10]]), image("a2", "a", [[2, 0], [1, 7]])],
    1: [image("b", "b", [[9, 1], [3, 7]])],
}
SECOND = {
    0: [image("a1", "a", [[8, 0], [1, 11]]), image("c", "c", [[6, 4], [0, 10]]), image("a2", "a", [[2, 0], [1, 7]])],
    1: [image("b", "b", [[9, 1], [2, 8]])],
}


@pytest.fixture
def made(tmp_path):
    """Makes the folder of a cross-validation: method -> fold -> images."""

    def make(methods, *, patients=PATIENTS):
        folder = CrossValidationFolder(tmp_path)
        settings = {
            "data_fingerprint": "feedc0de", "fraction": "1/1", "train": {"steps": 9},
            "evaluation": {"selection": "last"},
        }  # fmt: skip
        about = {
            "config": "own.py", "data": "own", "folds": len(patients), "seed": 1, "patients": patients,
            "classes": CLASSES, "settings": settings, "methods": list(methods), "commands": ["python -m x"],
        }  # fmt: skip
        folder.plan.write_text(json.dumps(about))
        for method, folds in methods.items():
            for fold, images in folds.items():
                total = np.sum([row["confusion_matrix"] for row in images], axis=0)
                run = folder.run(f"{method}/fold{fold}")
                run.mkdir(parents=True)
                (run / "result.json").write_text(json.dumps(summary(total, CLASSES) | {"per_image": images}))
        return folder

    return make


def test_pooled_and_over_folds_by_hand(made):
    figures = write_tables(made({"supervised": FIRST}))
    row = figures["methods"]["supervised"]
    # All pixels: [[22, 8], [5, 35]]; 22 / 35 and 35 / 48.
    assert row["pooled"]["confusion_matrix"] == [[22, 8], [5, 35]]
    assert row["pooled"]["mean_iou"] == pytest.approx(100 * (22 / 35 + 35 / 48) / 2)
    assert row["pooled"]["per_class"]["gland"]["patients"] == row["pooled"]["patients"] == 3
    # Fold 0: [[13, 7], [2, 28]]: 13 / 22, 28 / 37. Fold 1: [[9, 1], [3, 7]]: 9 / 13, 7 / 11.
    folds = [100 * (13 / 22 + 28 / 37) / 2, 100 * (9 / 13 + 7 / 11) / 2]
    assert [fold["mean_iou"] for fold in row["folds"]] == pytest.approx(folds)
    assert row["over_folds"]["mean_iou"] == {
        "mean": pytest.approx(sum(folds) / 2), "deviation": pytest.approx(abs(folds[0] - folds[1]) / 2**0.5)
    }  # fmt: skip
    assert [(found["patient"], found["confusion_matrix"]) for found in row["per_patient"]] == [
        ("a", [[8, 2], [2, 18]]), ("b", [[9, 1], [3, 7]]), ("c", [[5, 5], [0, 10]])
    ]  # fmt: skip
    low, high = row["pooled"]["intervals"]["mean_iou"]
    assert low < row["pooled"]["mean_iou"] < high
    assert json.loads((made({}).workdir / "crossvalidation.json").read_text()) == figures


def test_methods_are_compared_on_the_same_patients(made):
    folder = made({"supervised": FIRST, "crcfp": SECOND})
    figures = write_tables(folder)
    (row,) = figures["differences"]
    # SECOND: [[25, 5], [4, 36]]: 25 / 34, 36 / 45
    difference = 100 * ((25 / 34 + 36 / 45) - (22 / 35 + 35 / 48)) / 2
    assert (row["method"], row["than"]) == ("crcfp", "supervised")
    assert row["mean_iou"]["difference"] == pytest.approx(difference)
    low, high = row["mean_iou"]["interval"]
    assert low < difference < high and high - low < 100
    text = folder.table.read_text()
    assert f"| crcfp - supervised | {difference:+.1f} ({low:+.1f} to {high:+.1f}) |" in text
    assert "| gland | 3 | 62.9 (" in text and "| 0 | a, c | 67.4 |" in text
    assert lines(figures)[0].startswith("supervised: mIoU 67.9 (") and lines(figures)[2].startswith("crcfp - superv")


def test_a_common_shift_has_a_narrow_difference_and_wide_figures():
    generator = np.random.default_rng(0)
    right = generator.integers(300, 900, 8)
    first = np.array([[[n, 1000 - n], [1000 - n, n]] for n in right], np.int64)
    second = np.array([[[n + 50, 950 - n], [950 - n, n + 50]] for n in right], np.int64)
    low, high = compare(second, first)["accuracy"]["interval"]
    assert (low, high) == pytest.approx((5, 5))
    ends = pool(first, CLASSES)["intervals"]["accuracy"]
    assert ends[1] - ends[0] > 20


def test_before_all_folds_have_finished(made):
    folder = made({"supervised": FIRST, "crcfp": {1: SECOND[1]}})
    figures = write_tables(folder)
    assert figures["methods"]["crcfp"]["pooled"] is None and figures["differences"] == []
    assert "| crcfp | 1 of 2 | - | 73.9 | - | 85.0 |" in folder.table.read_text()  # 9 / 12, 8 / 11 and 18 / 21, 16 / 19
    assert len(lines(figures)) == 1


def test_two_patients_have_no_interval(made):
    folder = made({"supervised": {0: FIRST[0][1:2], 1: FIRST[1]}}, patients=[["c"], ["b"]])
    row = write_tables(folder)["methods"]["supervised"]["pooled"]
    assert row["intervals"] == {"mean_iou": None, "mean_dice": None, "accuracy": None}
    assert row["per_class"]["gland"]["iou_interval"] is None
    assert "No interval: 2 patients are too few" in folder.table.read_text()


def test_a_class_of_two_patients_has_no_interval():
    counts = np.zeros((4, 3, 3), np.int64)
    counts[:, :2, :2] = [[8, 2], [3, 7]], [[7, 3], [1, 9]], [[9, 1], [2, 8]], [[6, 4], [0, 10]]
    counts[:2, 2] = [1, 0, 5], [0, 2, 4]
    per_class = pool(counts, ["a", "b", "rare"])["per_class"]
    assert per_class["rare"]["patients"] == 2 and per_class["rare"]["iou_interval"] is None
    assert per_class["a"]["iou"] == pytest.approx(100 * 30 / 47)  # of 8 + 7 + 9 + 6 right, 10 missed and 7 wrong
    assert per_class["a"]["iou_interval"] == pytest.approx([50.132, 75.596], abs=1e-2)


def test_a_final_model_tells_figures_and_no_names(made):
    folder = made({"supervised": FIRST, "crcfp": {1: SECOND[1]}})
    for method in ("supervised", "crcfp"):
        folder.run(f"{method}/final").mkdir(parents=True)
    figures = write_tables(folder)
    path = folder.run("supervised/final") / "crossvalidation.json"
    told = json.loads(path.read_text())
    assert told["mean_iou"] == figures["methods"]["supervised"]["pooled"]["mean_iou"]
    assert (told["patients"], told["folds"], told["method"]) == (3, 2, "supervised")
    assert "per_patient" not in told and "a1" not in path.read_text()
    assert not (folder.run("crcfp/final") / "crossvalidation.json").exists()  # not all of its folds have finished


def test_other_patients_than_planned(made):
    folder = made({"supervised": FIRST}, patients=[["a", "c"], ["d"]])
    with pytest.raises(UserError, match="supervised/fold1 was tested on other patients"):
        write_tables(folder)
