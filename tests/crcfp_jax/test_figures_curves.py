"""Numbers behind the curves and behind supervised against semi-supervised."""

import pytest
from figure_runs import write_run

pytest.importorskip("matplotlib")

from crcfp_jax.figures.curves import sweeps
from crcfp_jax.figures.gains import draw_gains, pair, scores
from crcfp_jax.figures.runs import MissingRuns, find_runs


def found(folder):
    return find_runs(sorted(folder.iterdir()))[0]


def test_a_curve_has_the_mean_and_the_deviation_of_its_seeds(tmp_path):
    for number, seed, score in ((4, 1, 50), (4, 2, 54), (1, 1, 40)):
        run = tmp_path / f"{number}-{seed}"
        write_run(run, seed=seed, score=float(score), **{"cross_consistency.classifiers": number})
    write_run(tmp_path / "other", fraction="1/4", score=90.0)  # one value: no curve
    (curve,) = sweeps(found(tmp_path), "classifiers")
    values, means, deviations = curve.means()
    assert (curve.system, curve.fraction, values) == ("crcfp", "1/8", [1, 4])
    assert means.tolist() == [40.0, 52.0]
    assert deviations.tolist() == pytest.approx([float("nan"), 8**0.5], nan_ok=True)
    assert sweeps(found(tmp_path), "negatives") == []


def test_scores_are_of_every_class_and_the_mean_last(tmp_path):
    write_run(tmp_path / "a", "supervised", score=50.0)
    rows = scores(found(tmp_path))
    assert [(row["class"], row["iou"]) for row in rows] == [("background", 60.0), ("nuclei", 40.0), ("mean", 50.0)]


def test_the_pair_that_is_set_against_each_other(tmp_path):
    write_run(tmp_path / "a", "supervised", "1/8")
    write_run(tmp_path / "b", "crcfp", "1/4")
    with pytest.raises(MissingRuns):
        pair(found(tmp_path))
    write_run(tmp_path / "c", "crcfp_s2", "1/8")
    assert pair(found(tmp_path)) == ("supervised", "crcfp_s2")
    write_run(tmp_path / "d", "supervised", "1/4")
    assert pair(found(tmp_path)) == ("supervised", "crcfp")


def test_a_panel_a_fraction_and_lines_where_there_is_more_to_say(tmp_path):
    for fraction in ("1/8", "1/4"):
        for seed in (1, 2):
            for method in ("supervised", "crcfp"):
                write_run(tmp_path / f"{method}{fraction[2]}{seed}", method, fraction, seed, 40.0 + seed)
    rows = scores(found(tmp_path))
    titles = [axes.get_title() for axes in draw_gains(rows, "supervised", "crcfp").axes]
    assert titles == ["1/8 of the labels", "1/4 of the labels", ""]
    one = draw_gains([row for row in rows if row["fraction"] == "1/8"], "supervised", "crcfp")
    assert len(one.axes) == 1
    assert [label.get_text() for label in one.axes[0].get_yticklabels()] == ["background", "nuclei", "mean (mIoU)"]
