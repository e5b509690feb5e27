"""Numbers behind the curves and behind supervised against semi-supervised."""

import pytest
from figure_runs import write_run

pytest.importorskip("matplotlib")

from crcfp_jax.figures.curves import classifiers, lengths, negatives, sweeps
from crcfp_jax.figures.gains import draw_gains, pair, scores, supervised_vs_semi
from crcfp_jax.figures.runs import MissingRuns, compare, find_runs


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


def test_the_curve_of_the_length_of_training(tmp_path):
    for steps, score in ((900, 60.0), (2700, 63.0)):
        write_run(tmp_path / str(steps), score=score, **{"train.steps": steps})
    runs = found(tmp_path)
    drawing = lengths(runs, compare(runs))
    assert [(row["steps"], row["mean_iou"]) for row in drawing.rows] == [(900, 60.0), (2700, 63.0)]
    assert drawing.numbers == {}  # the paper has none
    assert compare(runs).runs["crcfp"].steps == 2700  # nearest to the paper's 8000


@pytest.mark.parametrize(
    ("figure", "key", "numbers", "values", "first"),
    [
        (negatives, "contrastive.negatives", (96, 1200), [100, 500, 1200, 1600, 2400, 3200], (45.62, 8.10)),
        (classifiers, "cross_consistency.classifiers", (1, 4), [1, 2, 4, 6, 8, 10], (43.94, 7.95)),
    ],
)
def test_the_papers_curve_stands_beside_ours_at_its_own_labels_only(tmp_path, figure, key, numbers, values, first):
    for fraction in ("1/8", "1/4"):
        for number in numbers:
            write_run(tmp_path / f"{number}-{fraction[2]}", fraction=fraction, **{key: number})
    runs = found(tmp_path)  # of bcss, as the default has it
    drawing = figure(runs, compare(runs))
    paper = drawing.numbers["paper"]
    assert list(paper) == values and tuple(paper[values[0]].values()) == first
    (axes,) = drawing.figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == ["CRCFP, 1/4", "CRCFP, 1/8", "CRCFP, 1/8, the paper's"]
    (line,) = [container[0] for container in axes.containers]
    assert line.get_xdata().tolist() == values and line.get_ydata()[0] == first[0]
    assert {row["mean_iou"] for row in drawing.rows} == {50.0}  # ours alone

    runs = [run for run in runs if run.fraction == "1/4"]
    other = figure(runs, compare(runs))
    assert other.numbers == {} and len(other.figure.axes[0].containers) == 0


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


def test_lengths_that_differ_stand_in_the_legend(tmp_path):
    for number, (method, steps) in enumerate((("supervised", 2700), ("crcfp", 900))):
        write_run(tmp_path / str(number), method, **{"train.steps": steps})
    runs = found(tmp_path)
    (legend,) = supervised_vs_semi(runs, compare(runs)).figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["Supervised, 2700 steps", "CRCFP, 900 steps"]
