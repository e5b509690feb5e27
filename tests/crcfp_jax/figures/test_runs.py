"""Which runs are found, and which are put side by side."""

import json

import pytest
from figure_runs import write_run
from written_json import GRID

from crcfp_jax.common.errors import UserError
from crcfp_jax.figures.runs import MissingRuns, compare, find_runs, nearest_to_paper


def names(runs):
    return [run.folder.name for run in runs]


def test_systems_are_told_apart_by_their_settings(tmp_path):
    write_run(tmp_path / "plain", "supervised", **{"augment.labelled": False})
    write_run(tmp_path / "strong", "supervised")
    write_run(tmp_path / "recalibrated", "supervised", **{"model.inference_statistics": "recalibrated"})
    write_run(tmp_path / "crcfp")
    runs, unfinished = find_runs(sorted(tmp_path.iterdir()))
    assert [run.system for run in runs] == ["supervised_plain", "supervised", "supervised_recalibrated", "crcfp"]
    assert unfinished == []


def test_a_grid_tells_its_unfinished_and_missing_runs(tmp_path):
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "b", seed=2, finished=False)
    write_run(tmp_path / "runs" / "stray", seed=3)
    runs = [GRID["runs"][0] | {"name": name} for name in "abc"]
    (tmp_path / "grid.json").write_text(json.dumps(GRID | {"runs": runs}))
    runs, unfinished = find_runs([tmp_path])
    assert names(runs) == ["a"] and unfinished == ["b", "c"]


def test_a_folder_of_runs_needs_no_plan(tmp_path):
    write_run(tmp_path / "runs" / "a")
    assert names(find_runs([tmp_path, tmp_path / "runs" / "a"])[0]) == ["a"]  # given twice, read once


def test_the_smallest_fraction_and_seed_that_all_systems_have(tmp_path):
    write_run(tmp_path / "1", "supervised", "1/8", 1)
    write_run(tmp_path / "2", "supervised", "1/4", 1)
    write_run(tmp_path / "3", "supervised", "1/4", 2)
    write_run(tmp_path / "4", "crcfp", "1/4", 2)
    write_run(tmp_path / "5", "crcfp", "1/4", 3)
    runs, _ = find_runs(sorted(tmp_path.iterdir()))
    chosen = compare(runs)
    assert (chosen.fraction, chosen.seed, list(chosen.runs)) == ("1/4", 2, ["supervised", "crcfp"])
    assert compare(runs, fraction="1/8").seed == 1
    assert list(compare(runs, seed=3).runs) == ["crcfp"]
    with pytest.raises(UserError, match="no finished run has fraction 1/8 and seed 7; finished are 1/8 seed 1, 1/4"):
        compare(runs, "1/8", 7)
    with pytest.raises(MissingRuns, match="needs a finished supervised run with fraction 1/4 and seed 3"):
        compare(runs, seed=3).first(("supervised",), "supervised")


def test_of_a_sweep_the_run_nearest_to_the_paper_is_compared(tmp_path):
    for number in (100, 800, 3200):
        write_run(tmp_path / str(number), **{"contrastive.negatives": number})
    assert names(compare(find_runs(sorted(tmp_path.iterdir()))[0]).runs.values()) == ["800"]


def test_runs_of_one_length_are_compared_where_there_are_some(tmp_path):
    def write(name, system, steps, **settings):
        write_run(tmp_path / name, system, **settings, **{"train.steps": steps})

    write("a", "supervised", 900)
    write("b", "supervised", 2700)
    write("c", "crcfp", 900)
    write("d", "supervised", 900, seed=2)
    write("e", "crcfp", 900, seed=2)
    runs = find_runs(sorted(tmp_path.iterdir()))[0]
    assert names(compare(runs).runs.values()) == ["a", "c"]
    assert sorted(names(nearest_to_paper(runs))) == ["a", "c", "d", "e"]
    few = [run for run in runs if run.folder.name in "bc"]
    assert names(compare(few).runs.values()) == ["b", "c"] and len(nearest_to_paper(few)) == 2  # no common one
    assert names(compare(runs, seed=2).runs.values()) == ["d", "e"]


def test_what_was_called_scheme_2_is_not_drawn_as_scheme_2(tmp_path):
    run = write_run(tmp_path / "old", method="crcfp_s2")
    assert [found.system for found in find_runs([run])[0]] == ["crcfp_s2"]
    settings = json.loads((run / "config.json").read_text())
    del settings["data"]["whole_view_scale"]  # of the time before
    (run / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="was context and cross-consistency"):
        find_runs([run])


def test_bad_folders_are_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="nowhere holds no run"):
        find_runs([tmp_path / "nowhere"])
    alone = write_run(tmp_path / "alone", finished=False)
    with pytest.raises(UserError, match=r"no run is finished \(none has a result.json\)"):
        find_runs([alone])
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    with pytest.raises(UserError, match="both crcfp, 1/8, seed 1: leave one out"):
        find_runs([one, two])
    other = write_run(tmp_path / "other", seed=2, **{"data.name": "monuseg"})
    with pytest.raises(UserError, match=r"config\.data\.name is 'bcss' in .*one and 'monuseg' in .*other"):
        find_runs([one, other])
    (two / "result.json").write_text('{"mean_iou": 3}')
    with pytest.raises(UserError, match=r"two: config\.json or result\.json is not of a run of this project"):
        find_runs([two])
    (tmp_path / "grid.json").write_text("[]")
    with pytest.raises(UserError, match=r"grid\.json is damaged"):
        find_runs([tmp_path])
