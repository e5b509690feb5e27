"""table.md and table.csv from run folders made by hand, and the time left."""

import csv
import json

import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.queue.estimate import expected_seconds, known_durations, seconds_left
from crcfp_jax.tables.folder import GridFolder
from crcfp_jax.tables.grid import make_runs
from crcfp_jax.tables.render import write_tables
from crcfp_jax.tables.summary import summarise


@pytest.fixture
def grid(tmp_path):
    """Makes the folder of a grid: {run name: (mIoU, Dice, accuracy)}, None for one that isn't finished."""

    def make(
        figures, *, table=1, data="bcss", unit="default", versions=None, fingerprints=None, rows=None, dtypes=None
    ):
        folder = GridFolder(tmp_path)
        for name, numbers in figures.items():
            run = folder.run(name)
            run.mkdir(parents=True)
            config = {
                "data_fingerprint": (fingerprints or {}).get(name, "feedc0de"),
                "train": {"steps": 300},
                "model": {"dtype": (dtypes or {}).get(name, "bfloat16")},
                "evaluation": {"selection": "last"},
                "data": {"name": data, "split_unit": unit},
            }
            (run / "config.json").write_text(json.dumps(config))
            if numbers is not None:
                result = dict(zip(("mean_iou", "mean_dice", "accuracy"), numbers, strict=True))
                result |= {"versions": (versions or {}).get(name, {"jax": "0.10.2"}), "seconds": 60.0}
                (run / "result.json").write_text(json.dumps(result))
        rows = rows or [row(name) for name in figures]
        about = {
            "table": table,
            "data": data,
            "scale": "tiny",
            "settings": [],
            "runs": rows,
            "commands": ["python -m x"],
        }
        folder.description.write_text(json.dumps(about))
        return folder

    return make


def row(name):
    """The row of grid.json for `<system>[-negatives<value>]-<fraction>-seed<seed>`."""
    system, *middle, fraction, seed = name.split("-")
    value = int(middle[0].removeprefix("negatives").removeprefix("k")) if middle else None
    return {
        "name": name, "system": system, "fraction": fraction.replace("_", "/"),
        "seed": int(seed.removeprefix("seed")), "value": value,
    }  # fmt: skip


def table_rows(folder):
    write_tables(folder)
    lines = (folder.workdir / "table.md").read_text().splitlines()
    return [[word.strip() for word in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def csv_rows(folder):
    with open(folder.workdir / "table.csv") as file:
        return list(csv.DictReader(file))


def test_mean_and_sample_deviation_by_hand(grid):
    # 60, 62, 67: mean 63, deviations -3, -1, 4, sum of squares 26, over 2: 13, root 3.6056
    folder = grid(
        {
            "crcfp-1_8-seed1": (60.0, 70.0, 80.0),
            "crcfp-1_8-seed2": (62.0, 70.0, 81.0),
            "crcfp-1_8-seed3": (67.0, 70.0, 82.0),
        }
    )
    assert table_rows(folder) == [
        ["1/8", "CRCFP", "3", "63.0 (3.6)", "47.09 (6.18)", "70.0 (0.0)", "61.84 (6.59)", "81.0 (1.0)", "73.20 (3.31)"]
    ]
    (cell,) = csv_rows(folder)
    assert (cell["n"], cell["seeds"], cell["missing_seeds"], cell["failed_seeds"]) == ("3", "1 2 3", "", "")
    assert (cell["mean_iou"], cell["mean_iou_sd"]) == ("63.0000", "3.6056")
    assert (cell["accuracy"], cell["accuracy_sd"], cell["value"]) == ("81.0000", "1.0000", "")
    assert (cell["table"], cell["data"], cell["scale"], cell["fraction"]) == ("1", "bcss", "tiny", "1/8")


def test_one_run_has_no_deviation(grid):
    folder = grid({"crcfp-1_8-seed1": (60.0, None, 80.0)}, data="synthetic")  # no class in the truth: no mean Dice
    assert table_rows(folder) == [["1/8", "CRCFP", "1", "60.0", "-", "80.0"]]
    assert (csv_rows(folder)[0]["mean_iou_sd"], csv_rows(folder)[0]["mean_dice"]) == ("", "")


def test_rows_stand_by_fraction_and_system_and_the_best_complete_one_is_bold(grid):
    folder = grid(
        {
            "crcfp-1_8-seed1": (70.0, 80.0, 90.0),
            "crcfp-1_8-seed2": (72.0, 80.0, 90.0),
            "supervised-1_8-seed1": (60.0, 81.0, 90.0),
            "supervised-1_8-seed2": (62.0, 81.0, 90.0),
            "cac-1_8-seed1": (99.0, 99.0, 99.0),  # seed 2 was never asked for: not comparable
            "crcfp-1_32-seed1": (50.0, 50.0, 50.0),  # nothing to compare it with
        },
        data="synthetic",
    )
    rows = table_rows(folder)
    assert [cells[:3] for cells in rows] == [
        ["1/32", "CRCFP", "1"],
        ["1/8", "Supervised, strong augmentation (paper: DeepLab-v3)", "2"],
        ["1/8", "CAC (= CRCFP scheme 1)", "1"],
        ["1/8", "CRCFP", "2"],
    ]
    assert rows[0][3] == "50.0" and rows[2][3] == "99.0"
    assert (rows[1][3], rows[3][3]) == ("61.0 (1.4)", "**71.0 (1.4)**")
    assert (rows[1][4], rows[3][4]) == ("**81.0 (0.0)**", "80.0 (0.0)")
    assert rows[1][5] == rows[3][5] == "**90.0 (0.0)**"  # equal


def test_missing_and_failed_seeds_are_marked(grid):
    folder = grid({f"crcfp-1_8-seed{seed}": (60.0, 70.0, 80.0) if seed == 1 else None for seed in (1, 2, 3, 4)})
    folder.failure("crcfp-1_8-seed2").parent.mkdir()
    folder.failure("crcfp-1_8-seed2").write_text("{}")
    folder.failure("crcfp-1_8-seed1").write_text("{}")  # finished since
    assert table_rows(folder)[0][2] == "1; missing: seeds 3, 4; failed: seed 2"
    (cell,) = csv_rows(folder)
    assert (cell["seeds"], cell["missing_seeds"], cell["failed_seeds"]) == ("1", "3 4", "2")


def test_sweeps_have_a_row_for_each_value(grid):
    folder = grid({f"crcfp-negatives{n}-1_8-seed1": (n / 100, 1.0, 1.0) for n in (1600, 96)}, table=5)
    assert [cells[:5] for cells in table_rows(folder)] == [
        ["1/8", "CRCFP", "96", "1", "1.0"],
        ["1/8", "CRCFP", "1600", "1", "**16.0**"],
    ]
    assert [cell["value"] for cell in csv_rows(folder)] == ["96", "1600"]


PAPER_RUNS = {
    f"{system}-1_{whole}-seed1": (1.0, 1.0, 1.0)
    for system in ("supervised_plain", "supervised", "crcfp")
    for whole in (16, 32)
}


def test_the_papers_figures_stand_beside_what_they_belong_to(grid):
    folder = grid(PAPER_RUNS, table=2, data="monuseg")
    papers = {(cells[0], cells[1]): [cells[4], cells[6], cells[8]] for cells in table_rows(folder)}
    assert papers == {
        ("1/32", "Supervised, weak augmentation (release)"): ["-", "-", "-"],
        ("1/32", "Supervised, strong augmentation (paper: DeepLab-v3)"): [
            "60.09 (2.07)", "73.89 (1.77)", "79.45 (1.40)",
        ],
        ("1/32", "CRCFP"): ["71.72 (0.22)", "82.60 (0.24)", "88.86 (0.23)"],
        ("1/16", "Supervised, weak augmentation (release)"): ["-", "-", "-"],
        ("1/16", "Supervised, strong augmentation (paper: DeepLab-v3)"): [
            "56.20 (5.76)", "70.80 (4.58)", "75.27 (75.27)†",
        ],
        ("1/16", "CRCFP"): ["72.08 (2.07)", "82.91 (1.52)", "88.58 (1.16)"],
    }  # fmt: skip
    text = (folder.workdir / "table.md").read_text()
    assert "arXiv 2301.13141" in text and "`-`: it has no such figure" in text
    assert "†: a slip of the paper, which prints the mean as the standard deviation too." in text
    assert "full size, these are of the scale tiny" in text
    rows = {(cell["fraction"], cell["system"]): cell for cell in csv_rows(folder)}
    columns = ("mean_iou", "mean_iou_sd", "mean_dice", "mean_dice_sd", "accuracy", "accuracy_sd")
    assert [rows["1/16", "supervised"][f"paper_{name}"] for name in columns] == [
        "56.2000", "5.7600", "70.8000", "4.5800", "75.2700", "75.2700",
    ]  # fmt: skip
    slips = {place: cell["paper_slips"] for place, cell in rows.items() if cell["paper_slips"]}
    assert slips == {("1/16", "supervised"): "accuracy"}
    assert {rows[place]["paper_mean_iou"] for place in rows if place[1] == "supervised_plain"} == {""}


def test_no_slip_is_told_where_none_is_shown(grid):
    folder = grid({"crcfp-1_8-seed1": (1.0, 1.0, 1.0)})
    assert table_rows(folder) == [
        ["1/8", "CRCFP", "1", "1.0", "47.09 (6.18)", "1.0", "61.84 (6.59)", "1.0", "73.20 (3.31)"]
    ]
    assert "†" not in (folder.workdir / "table.md").read_text()


def test_the_schemes_have_the_papers_miou_only(grid):
    folder = grid(
        {f"{name}-1_4-seed1": (1.0, 1.0, 1.0) for name in ("supervised", "cac", "crcfp_s2", "crcfp")}, table=4
    )
    rows = {cells[1]: cells[4:] for cells in table_rows(folder)}
    assert {name: cells[0] for name, cells in rows.items()} == {
        "Supervised, strong augmentation (paper: DeepLab-v3)": "53.03 (0.88)",
        "CAC (= CRCFP scheme 1)": "58.65 (0.65)",
        "CRCFP scheme 2": "59.97 (1.47)",
        "CRCFP": "61.06 (0.98)",
    }
    assert {len(cells) for cells in rows.values()} == {3}  # paper, Dice, accuracy
    assert [cell["paper_mean_dice"] for cell in csv_rows(folder)] == [""] * 4


def test_a_number_of_negatives_that_was_moved_stands_beside_the_papers(grid):
    folder = grid({f"crcfp-negatives{n}-1_8-seed1": (1.0, 1.0, 1.0) for n in (96, 400, 496, 1200)}, table=5)
    assert [(cells[2], cells[5]) for cells in table_rows(folder)] == [
        ("96", "45.62 (8.10)"), ("400", "-"), ("496", "45.81 (7.78)"), ("1200", "47.09 (6.18)"),
    ]  # fmt: skip
    assert "evenly: 96 beside its 100, 496 beside its 500." in (folder.workdir / "table.md").read_text()
    assert [cell["paper_value"] for cell in csv_rows(folder)] == ["100", "", "500", "1200"]


@pytest.mark.parametrize("change", [{"data": "synthetic"}, {"data": "bcss"}, {"unit": "image", "data": "monuseg"}])
def test_the_papers_figures_stand_nowhere_else(grid, change):
    folder = grid(PAPER_RUNS, table=2, **change)
    write_tables(folder)
    text = (folder.workdir / "table.md").read_text()
    assert "| paper |" not in text
    assert "The paper has no figures of these systems on this data, split like this." in text
    assert {cell["paper_mean_iou"] for cell in csv_rows(folder)} == {""}


def test_the_head_says_what_the_runs_have_in_common(grid):
    folder = grid({"crcfp-1_8-seed1": (1.0, 1.0, 1.0), "crcfp-1_8-seed2": None})
    write_tables(folder)
    text = (folder.workdir / "table.md").read_text()
    assert text.startswith("# Table 1: all systems by share of labels, tissue; bcss\n")
    assert "- Data: bcss, fingerprint feedc0de; split by hospital\n" in text
    assert "- Scale: tiny (`configs/bcss.py:tiny`), 300 steps\n" in text
    assert "- Activations: bfloat16\n" in text
    assert "- Evaluated on the test images: the model of the last step\n" in text
    assert "- Versions: jax 0.10.2\n- Command: `python -m x`\n" in text
    assert "differ" not in text


def test_runs_that_differ_are_pointed_out(grid):
    names = [f"crcfp-1_8-seed{seed}" for seed in range(1, 6)]
    folder = grid(
        dict.fromkeys(names, (1.0, 1.0, 1.0)),
        versions={names[0]: {"jax": "0.11.0"}},
        fingerprints={names[1]: "0ther"},
        dtypes={names[4]: "float32"},
    )
    write_tables(folder)
    text = (folder.workdir / "table.md").read_text()
    assert f"**The runs differ in jax**: 0.11.0 in {names[0]}; 0.10.2 in {', '.join(names[1:4])} and 1 more." in text
    assert f"float32 in {names[4]}" in text
    assert f"0ther in {names[1]}" in text and "fingerprint differs between the runs, see below" in text


def test_later_runs_compute_as_the_first_that_has_begun(grid):
    names = [f"crcfp-1_8-seed{seed}" for seed in (1, 2, 3)]
    folder = grid({names[1]: None}, dtypes={names[1]: "float32"})
    runs = make_runs(None, {"1/8": ["crcfp"]}, [1, 2, 3])
    assert [run.name for run in runs] == names
    assert folder.settled(runs) == ["--config.model.dtype=float32"]
    assert folder.settled(runs[2:]) == []  # not begun
    (folder.run(names[1]) / "config.json").write_text("{")
    assert folder.settled(runs) == []


def test_nothing_finished_yet(grid):
    folder = grid({}, rows=[row("crcfp-1_8-seed1")], data="synthetic")
    assert table_rows(folder) == [["1/8", "CRCFP", "0; missing: seed 1", *["-"] * 3]]
    assert "- Versions: not known yet" in (folder.workdir / "table.md").read_text()


def test_a_damaged_result_is_named(grid):
    folder = grid({"crcfp-1_8-seed1": None})
    (folder.run("crcfp-1_8-seed1") / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"crcfp-1_8-seed1/result.json is not a JSON file"):
        summarise(folder)


def test_time_left_comes_from_the_same_system_first(grid):
    runs = make_runs(None, {"1/8": ["supervised", "crcfp", "cac"]}, [1, 2])
    supervised, crcfp, cac, supervised2, crcfp2, _ = runs
    durations = {supervised: 10.0, crcfp: 40.0, crcfp2: 60.0}
    assert expected_seconds(supervised2, durations) == 10.0
    assert expected_seconds(crcfp, durations) == 50.0
    assert expected_seconds(cac, durations) == pytest.approx(110 / 3)  # none of its own: the mean of all
    assert expected_seconds(cac, {}) is None and seconds_left({cac: 0.0}, {}) is None
    assert seconds_left({supervised2: 0.25, crcfp2: 0.0}, durations) == pytest.approx(7.5 + 50.0)

    folder = grid({supervised.name: (1.0, 1.0, 1.0), crcfp.name: (1.0, 1.0, 1.0), cac.name: None})
    folder.durations.write_text(  # 60 s trained: one sitting of supervised is lost, crcfp sat twice
        f'{{"name": "{supervised.name}", "seconds": 30.0}}\n{{"name": "{crcfp.name}", "seconds": 50.0}}\n'
        f'{{"name": "{crcfp.name}", "seconds": 25.0}}\n{{"name": "{cac.name}", "sec'
    )
    assert known_durations(folder, runs) == {supervised: 60.0, crcfp: 75.0}
    folder.add_duration(cac, 12.34)
    assert folder.sittings()[crcfp.name] == 75.0


def test_the_step_is_the_last_whole_lines(grid):
    folder = grid({"crcfp-1_8-seed1": None})
    assert folder.step("crcfp-1_8-seed1") == 0
    (folder.run("crcfp-1_8-seed1") / "metrics.jsonl").write_text('{"step": 3}\n{"step": 4, "loss": 1}\n{"step": 5')
    assert folder.step("crcfp-1_8-seed1") == 4
