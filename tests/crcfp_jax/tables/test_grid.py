"""Which runs a table asks for, their commands, and every mistake that is told before the first run starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.methods.systems.registry import METHODS
from crcfp_jax.queue.check import load_config
from crcfp_jax.tables.__main__ import command_line, main, make_parser
from crcfp_jax.tables.check import sweep_values
from crcfp_jax.tables.definitions import ALIASES, DATA, METHOD_OF, SYSTEMS, TABLES
from crcfp_jax.tables.grid import (
    Grid,
    allowed_negatives,
    choose_fractions,
    choose_systems,
    config_file,
    make_runs,
    read_settings,
)
from crcfp_jax.tables.runner import shard_of
from data_pipelines.recipes import find_recipe

ROOT = Path(__file__).parents[3]
# ml_collections imports config files so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def tables(data_dir, tmp_path, capsys):
    """Runs the command in W, with synthetic data unless told otherwise; returns the lines that it prints."""

    def call(*words, data="synthetic", scale="small"):
        words = [*words, f"--config.data.dir={data_dir}", "--workdir", str(tmp_path / "W")]
        assert main([*words, *(["--data", data] if data else []), "--scale", scale]) == 0
        return capsys.readouterr().out.splitlines()

    return call


def test_runs_come_seed_by_seed_then_fraction_then_system():
    runs = make_runs(None, dict.fromkeys(["1/8", "1/1"], ("supervised", "crcfp")), [1, 2])
    assert [run.name for run in runs] == [
        "supervised-1_8-seed1", "crcfp-1_8-seed1", "supervised-1_1-seed1", "crcfp-1_1-seed1",
        "supervised-1_8-seed2", "crcfp-1_8-seed2", "supervised-1_1-seed2", "crcfp-1_1-seed2",
    ]  # fmt: skip
    assert runs[2].row() == {
        "name": "supervised-1_1-seed1", "system": "supervised", "fraction": "1/1", "seed": 1, "value": None
    }  # fmt: skip
    assert runs[2].label == "supervised 1/1 seed 1"


@pytest.mark.parametrize(
    ("number", "name", "label"), [(5, "crcfp-negatives100", "negatives100"), (6, "crcfp-k1", "k1")]
)
def test_names_of_sweeps_hold_the_value(number, name, label):
    sweep = TABLES[number].sweep
    runs = make_runs(sweep, {"1/32": ["crcfp"]}, [3], sweep.values)
    assert runs[0].name == f"{name}-1_32-seed3" and runs[0].label == f"crcfp {label} 1/32 seed 3"
    assert [run.value for run in runs] == list(sweep.values)


# The paper's tables: the shares of the labels, and what a sweep varies. All labels are for supervised training alone.
GRIDS = {
    1: (["1/8", "1/4", "1/2", "1/1"], [None]),
    2: (["1/32", "1/16", "1/8", "1/1"], [None]),
    3: (["1/8", "1/4", "1/2", "1/1"], [None]),
    4: (["1/8", "1/4", "1/2"], [None]),
    5: (["1/8"], [100, 500, 1200, 1600, 2400, 3200]),
    6: (["1/8"], [1, 2, 4, 6, 8, 10]),
}
SUPERVISED = ["supervised_plain", "supervised", "supervised_recalibrated"]


def default_runs(number, data=None):
    table = TABLES[number]
    data = DATA[data or table.data]
    systems, notes = choose_systems(table, data, None)
    assert notes == []
    compared = choose_fractions(table, data, systems, None)
    return make_runs(table.sweep, compared, [1, 2, 3], table.sweep.values if table.sweep else (None,))


@pytest.mark.parametrize("number", GRIDS)
def test_every_grid_is_the_papers(number):
    runs, (fractions, values) = default_runs(number), GRIDS[number]
    assert TABLES[number].data == ("monuseg" if number == 2 else "bcss")
    assert list(dict.fromkeys(run.fraction for run in runs)) == fractions
    assert list(dict.fromkeys(run.value for run in runs)) == values
    systems = {fraction: {run.system for run in runs if run.fraction == fraction} for fraction in fractions}
    everything = {"cct", "cac", "crcfp_s2", "crcfp", *SUPERVISED} | ({"cdcl"} if number == 2 else set())
    compared = {4: {"supervised", "cac", "crcfp_s2", "crcfp"}, 5: {"crcfp"}, 6: {"crcfp"}}.get(number, everything)
    assert systems == {name: set(SUPERVISED) if name == "1/1" else compared for name in fractions}


def test_the_papers_schemes():
    # Section 5.2 and Table 4: the context, then the entropy, then cross-consistency.
    assert METHODS["cac"].terms == METHODS["crcfp_s1"].terms
    assert terms_of("cac") == {"contrastive"}
    assert terms_of("crcfp_s2") == {"contrastive", "entropy"}
    assert terms_of("crcfp") == {"contrastive", "entropy", "cross_consistency"}


def terms_of(system):
    return {term.name for term in METHOD_OF[system].terms}


def test_a_setting_that_no_term_names_is_of_every_system():
    assert TABLES[8].sweep.systems == tuple(SYSTEMS)


def test_lengths_are_multiples_of_the_config_files():
    values, notes = sweep_values(TABLES[8], DATA["glas"], "small_pretrained", {})
    assert values == [900, 1800, 2700] and notes == []
    runs = make_runs(TABLES[8].sweep, {"1/10": ["supervised"]}, [1], values)
    assert runs[1].name == "supervised-steps1800-1_10-seed1"
    settings = Grid(8, DATA["glas"], "small_pretrained", {}, runs).run_settings(runs[1])
    assert settings == {"train.steps": "1800", "method": "supervised", "fraction": "1/10", "seed": "1"}


def test_a_sweep_is_of_what_a_system_has():
    terms = {5: {"contrastive", "teacher_contrast"}, 6: {"cross_consistency"}}
    for number, names in terms.items():
        with_term = {name for name in SYSTEMS if names & set(terms_of(name))}
        assert set(TABLES[number].sweep.systems) == with_term - {"cct"}  # whose classifiers are config.cct's


@pytest.mark.parametrize(
    ("number", "data", "count"),
    # (systems x fractions, and three supervised ones at 1/1) x 3 seeds, x values of the sweep
    [(1, "bcss", (7 * 3 + 3) * 3), (1, "synthetic", (7 * 2 + 3) * 3), (2, "monuseg", (8 * 3 + 3) * 3),
     (3, "bcss", (7 * 3 + 3) * 3), (4, "bcss", 4 * 3 * 3), (5, "bcss", 6 * 3), (6, "monuseg", 6 * 3)],
)  # fmt: skip
def test_default_grids_by_count(number, data, count):
    runs = default_runs(number, data)
    assert len(runs) == len(set(runs)) == count
    assert ("cdcl" in {run.system for run in runs}) == (number == 2)


def test_fractions_that_are_named_are_for_all_systems():
    table, systems = TABLES[1], ["supervised", "crcfp"]
    assert choose_fractions(table, DATA["synthetic"], systems, ["1/1", "1/8"]) == {"1/1": systems, "1/8": systems}
    alone = {"1/8": ["crcfp"], "1/4": ["crcfp"]}
    assert choose_fractions(table, DATA["synthetic"], ["crcfp"], None) == alone
    assert choose_fractions(TABLES[5], DATA["monuseg"], ["crcfp"], None) == {"1/32": ["crcfp"]}


def test_settings_of_a_run_by_hand():
    runs = make_runs(None, {"1/8": ["supervised_plain"]}, [2])
    grid = Grid(3, DATA["bcss"], "full", {"train.steps": "9", "augment.labelled": "True"}, runs)
    assert grid.command(runs[0], Path("W/runs/x")) == [
        sys.executable, "-m", "crcfp_jax.main", "--config", f"{ROOT}/configs/bcss.py", "--workdir", "W/runs/x",
        "--config.model.backbone=resnet101", "--config.model.pretrained=timm/resnet101.tv_in1k",
        "--config.train.steps=9", "--config.augment.labelled=False", "--config.method=supervised",
        "--config.fraction=1/8", "--config.seed=2",
    ]  # fmt: skip
    small = Grid(3, DATA["bcss"], "small", {}, runs)
    assert "model.pretrained" not in small.run_settings(runs[0]) and small.config_file.endswith(
        "/configs/bcss.py:small"
    )
    sweep = make_runs(TABLES[6].sweep, {"1/8": ["crcfp"]}, [1], [7])
    assert Grid(6, DATA["bcss"], "full", {}, sweep).run_settings(sweep[0]) == {
        "method": "crcfp", "cross_consistency.classifiers": "7", "fraction": "1/8", "seed": "1"
    }  # fmt: skip


def test_negatives_are_rounded_to_what_can_be_drawn():
    # 100 = 6.25 x 16 and 200 = 12.5 x 16: of 192 and 208, which are equally near, the smaller; 144 cells hold 2304.
    values, notes = allowed_negatives([100, 200, 400, 2400], 16, 144)
    assert values == [96, 192, 400]
    assert "100 becomes 96, 200 becomes 192" in notes[0] and "2400 left out" in notes[1] and "2304" in notes[1]
    assert allowed_negatives([800, 3200], 16, 400) == ([800, 3200], [])
    assert allowed_negatives([100, 200], 200, 16)[0] == [200]  # each once
    # 100 = 6.25 x 16, 500 = 31.25 x 16: the paper's, from 8 + 8 maps
    assert allowed_negatives(TABLES[5].sweep.values, 16, 400)[0] == [96, 496, 1200, 1600, 2400, 3200]


def test_definitions_fit_the_methods_data_sets_and_configs():
    assert {METHOD_OF[name].name for name in SYSTEMS} == set(METHODS) - set(ALIASES)
    for name, data in DATA.items():
        recipe = find_recipe(name)
        assert len(recipe.classes) == data.classes
        assert set(data.fractions) <= set(recipe.splits.units[0].fractions)
        for scale in data.variants:
            assert load_config(config_file(data, scale), {}).data.name == name


def test_scheme_1_is_run_once_as_cac():
    systems, notes = choose_systems(TABLES[4], DATA["bcss"], ["crcfp", "crcfp_s1", "cac"])
    assert systems == ["cac", "crcfp"] and len(notes) == 1 and "crcfp_s1 is cac" in notes[0]


def test_a_dry_run_prints_every_command_and_makes_nothing(data_dir, tmp_path):
    words = ["1", "--workdir", "W", "--data", "synthetic", "--scale", "small", "--seeds", "1", "--dry_run"]
    done = subprocess.run(
        [sys.executable, "-m", "crcfp_jax.tables", *words, f"--config.data.dir={data_dir}", "--shard", "2/3"],
        cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "none_such"},  # touching a device would fail
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "5 runs: 5 to do" and len(lines) == 6  # of 7 systems x 2 fractions and 3 at 1/1
    assert lines[0].startswith(
        f"to do         {sys.executable} -m crcfp_jax.main --config {ROOT}/configs/quickstart.py"
    )
    assert f"--workdir W/runs/supervised-1_8-seed1 --config.data.dir={data_dir} --config.method=supervised" in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_tables_command_names_no_folder_of_this_machine():
    words = ["2", "--workdir", "/home/me/W", "--seeds", "1,2", "--shard", "1/4", "--methods", "cac,crcfp"]
    user = {"data.dir": "/home/me/data", "model.pretrained": "/home/me/r50.safetensors", "data.split_unit": "image"}
    assert command_line(make_parser().parse_args(words), user) == (
        "python -m crcfp_jax.tables 2 --workdir W --scale full --methods cac,crcfp --seeds 1,2 "
        "--config.model.pretrained=r50.safetensors --config.data.split_unit=image"
    )


def test_shards_take_turns():
    runs = make_runs(None, {"1/8": ["supervised", "crcfp"]}, [1, 2, 3])
    grid = Grid(1, DATA["bcss"], "full", {}, runs)
    parts = [[run.system for run in shard_of(grid, (index, 2))] for index in (1, 2)]
    assert parts == [["supervised", "crcfp", "supervised"], ["crcfp", "supervised", "crcfp"]]


def test_a_dry_run_builds_no_data(tmp_path, capsys):
    words = ["1", "--data", "synthetic", "--scale", "small", "--dry_run", "--workdir", str(tmp_path / "W")]
    assert main([*words, "--methods", "crcfp", f"--config.data.dir={tmp_path / 'data'}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "6 runs: 6 to do"
    assert list(tmp_path.iterdir()) == []


def test_states_are_told(tables, tmp_path):
    runs = tmp_path / "W" / "runs"
    (runs / "crcfp-1_8-seed1").mkdir(parents=True)
    (runs / "crcfp-1_8-seed1" / "result.json").write_text("{}")
    (runs / "crcfp-1_8-seed2" / "checkpoints" / "40").mkdir(parents=True)
    (tmp_path / "W" / "failures").mkdir()
    (tmp_path / "W" / "failures" / "crcfp-1_8-seed3.json").write_text("{}")
    lines = tables("1", "--methods", "crcfp", "--fractions", "1/8", "--seeds", "1,2,3,4", "--dry_run")
    assert [line[:13].strip() for line in lines[:4]] == ["finished", "resumable", "failed before", "to do"]
    assert lines[4] == "4 runs: 1 finished, 1 resumable, 1 failed before, 1 to do"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["9"], "invalid choice: 9"),
        (["1", "--methods", "unet"], "--methods unet is unknown; known: supervised_plain, supervised"),
        (["1", "--methods", ","], "is empty"),
        (["1", "--config.augment.labelled=False"], "config.augment.labelled is what tells some systems apart"),
        (["1", "--methods", "cdcl"], "--methods cdcl: it takes two classes, synthetic has 5"),
        (["6", "--methods", "crcfp_s2"], "config.cross_consistency.classifiers, which this table varies, has no"),
        (["5", "--methods", "cct"], "config.contrastive.negatives, which this table varies, has no effect on it"),
        (["1", "--fractions", "0.5"], "'0.5' is not a fraction"),
        (["1", "--fractions", "1/3"], "--fractions 1/3 is not in"),
        (["1", "--seeds", "one"], "'one' is not a seed"),
        (["1", "--shard", "3/2"], "'3/2' is not a shard"),
        (["1", "--steps=3"], "'--steps=3' is unknown"),
        (["1", "--config.train.steps", "3"], "'--config.train.steps' is unknown; settings of all runs are written"),
        (["1", "--config.seed=3"], "config.seed is set by the grid: use --seeds"),
        (["1", "--config.data.name=bcss"], "config.data.name is set by the grid: use --data"),
        (["3", "--config.model.backbone=resnet18"], "config.model.backbone is what this table sets itself"),
        (["6", "--config.cross_consistency.classifiers=3"], "config.cross_consistency.classifiers is what this table"),
        (["1", "--config.trian.steps=3"], "trian"),
        (["1", "--config.train.steps=0"], "config.train.steps=0 must be a whole number, at least 1"),
        (["1", "--config.contrastive.negatives=7"], "config.contrastive.negatives=7 can't be drawn evenly"),
        (["5", "--config.train.unlabelled_batch_size=0"], "config.train.unlabelled_batch_size=0"),
        (["1", "--config.data.split_unit=slide"], "unknown split unit 'slide' for synthetic; known: default"),
    ],
)
def test_a_wrong_command_line_is_told_before_anything_is_made(tables, tmp_path, words, named):
    with pytest.raises(UserError) as told:
        tables(*words)
    assert named in str(told.value) and "\n" not in str(told.value)
    assert not (tmp_path / "W").exists()


def test_a_data_set_that_is_not_built_is_told_with_its_command(tables, tmp_path):
    with pytest.raises(
        UserError, match=r"'bcss' is not built .* python -m data_pipelines.build bcss --raw_dir RAW_DIR"
    ):
        tables("1", data=None)
    assert not (tmp_path / "W").exists()


def test_a_seed_without_released_lists_is_told(tables):
    with pytest.raises(UserError, match=r"--seeds 4: the recipe monuseg lists labelled crops for the seeds 1, 2, 3"):
        tables("2", "--seeds", "3,4", data="monuseg")
    with pytest.raises(UserError, match="is not built"):  # 1/1 labels all, and by image the units are drawn
        tables("2", "--seeds", "4", "--fractions", "1/1", data="monuseg")
    with pytest.raises(UserError, match="is not built"):
        tables("2", "--seeds", "4", "--config.data.split_unit=image", data="monuseg")


def test_the_folder_of_another_grid_is_refused(tables, tmp_path):
    (tmp_path / "W").mkdir()
    stored = {"table": 1, "data": "synthetic", "scale": "small", "settings": ["--config.train.steps=5"], "runs": []}
    path = tmp_path / "W" / "grid.json"
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="holds table 1 on synthetic at scale small, not table 4 on synthetic"):
        tables("4")
    with pytest.raises(UserError, match=r"config.train.steps was 5, now 6"):
        tables("1", "--config.train.steps=6")
    with pytest.raises(UserError, match=r"config.model.pretrained was as in the config file, now x"):
        tables("1", "--config.train.steps=5", "--config.model.pretrained=x")
    tables("1", "--config.train.steps=5", "--config.train.log_every=3", "--dry_run")  # no other figures
    path.write_text("[]")
    with pytest.raises(UserError, match=r"grid\.json is damaged"):
        tables("1")


def test_a_run_folder_with_other_settings_is_refused(tables, data_dir, tmp_path):
    from crcfp_jax.runs.parts import assemble
    from crcfp_jax.runs.settings import settings

    words = ["1", "--methods", "crcfp", "--fractions", "1/8", "--seeds", "1"]
    config = load_config(config_file(DATA["synthetic"], "small"), {"data.dir": str(data_dir), "seed": "1"})
    stored = settings(assemble(config))
    path = tmp_path / "W" / "runs" / "crcfp-1_8-seed1" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(stored))
    tables(*words, "--dry_run")
    for change, named in (
        ("--config.model.width=16", "config.model.width was 32, now 16"),
        ("--config.train.steps=7", "holds a run with config.train.steps=500, not 7"),
    ):
        with pytest.raises(UserError, match=named):
            tables(*words, change)
    path.write_text(json.dumps(stored | {"data_fingerprint": "another"}))
    with pytest.raises(UserError, match="was trained on another build of data set 'synthetic'"):
        tables(*words)


def test_weights_that_are_not_there_are_told_before_the_first_run(tables, tmp_path):
    with pytest.raises(UserError, match=r"config.model.pretrained: there is no file .*/none.safetensors"):
        tables("1", f"--config.model.pretrained={tmp_path}/none.safetensors")


def test_settings_are_read_as_they_stand():
    assert read_settings(["--config.model.pretrained=a=b", "--config.data.dir="], TABLES[1]) == {
        "model.pretrained": "a=b",
        "data.dir": "",
    }
