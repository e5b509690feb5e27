"""Grids as processes: failures, signals, `kill -9`, locks and shards; runs stand in for training but for one test."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quick_compilation import FLAGS

ROOT = Path(__file__).parents[3]

# A run of 20 steps that saves on SIGTERM, as crcfp_jax.main does. Files beside runs/ say what shall happen: 'slow',
# 'break-<name>'. Two of them in one folder leave a file 'clash'.
STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
grid = folder.parents[1]
folder.mkdir(parents=True, exist_ok=True)
try:
    os.close(os.open(folder / "alive", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    (grid / "clash").touch()
if (grid / f"break-{folder.name}").exists():
    print("step 1")
    print("error: the run broke", file=sys.stderr)
    (folder / "alive").unlink()
    sys.exit(3)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
step = max((int(path.name) for path in (folder / "checkpoints").glob("*")), default=0)
print("begins at step", step, flush=True)
while step < 20:
    step += 1
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": step}) + "\\n")
    if (grid / "slow").exists():
        time.sleep(0.3)
    while step == 10 and (grid / "slow").exists() and not stop:  # never done before the test has seen it at work
        time.sleep(0.05)
    if stop:
        time.sleep(1.5)
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        (folder / "alive").unlink()
        sys.exit(143)
result = {"mean_iou": 50.0 + len(folder.name), "mean_dice": 60.0, "accuracy": 70.0, "seconds": 1.0, "versions": {}}
(folder / "result.json").write_text(json.dumps(result))
(folder / "alive").unlink()
"""
# The command itself, with that in the place of crcfp_jax.main.
DRIVER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test suite in the background of a script ignores it
import sys
from crcfp_jax.common.command import run_main
from crcfp_jax.tables import __main__
from crcfp_jax.tables.grid import Grid
Grid.command = lambda self, run, folder: [sys.executable, "-c", {stand_in!r}, str(folder)]
run_main(__main__.main)
"""
NAMES = ("supervised-1_8-seed1", "cac-1_8-seed1", "crcfp-1_8-seed1")


@pytest.fixture
def grid(tmp_path, data_dir):
    """Starts the grid of three runs in W."""
    (tmp_path / "W").mkdir()
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", DRIVER.format(stand_in=STAND_IN), "1", "--workdir", "W", "--data", "synthetic",
             "--scale", "small", "--seeds", "1", "--fractions", "1/8", "--methods", "supervised,cac,crcfp",
             f"--config.data.dir={data_dir}", *words],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # Touching a device would fail. As on most machines, output that goes to a file is kept back.
            env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "none_such", "PYTHONUNBUFFERED": ""},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process):
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def wait_for_step(folder, name, step):
    path = folder / "runs" / name / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not path.exists() or len(path.read_text().splitlines()) < step:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def table(folder):
    with open(folder / "table.csv") as file:
        return {row["system"]: row for row in csv.DictReader(file)}


def test_a_failed_run_is_noted_the_others_go_on_and_it_is_tried_again(grid, tmp_path):
    work = tmp_path / "W"
    (work / f"break-{NAMES[1]}").touch()
    code, output, errors = end(grid())
    assert code == 1
    assert errors == "error: 1 of 3 runs failed (cac-1_8-seed1): see W/logs; the same command tries them again\n"
    assert f"[2/3] cac 1/8 seed 1: failed with exit code 3 (error: the run broke), log W/logs/{NAMES[1]}.log" in output
    assert "[3/3] crcfp 1/8 seed 1: mIoU 65.0" in output  # 50 + the 15 letters of its name
    noted = json.loads((work / "failures" / f"{NAMES[1]}.json").read_text())
    assert (noted["exit_code"], noted["message"]) == (3, "error: the run broke")
    rows = table(work)
    assert (rows["cac"]["failed_seeds"], rows["crcfp"]["mean_iou"]) == ("1", "65.0000")
    assert "| 0; failed: seed 1 |" in (work / "table.md").read_text()

    (work / f"break-{NAMES[1]}").unlink()
    code, output, errors = end(grid())
    assert code == 0 and errors == ""
    assert "2 of 3 runs were finished before" in output and "[2/3] cac 1/8 seed 1: mIoU 63.0" in output
    assert "supervised" not in output.replace("supervised,cac", "") and "3 of 3 runs finished" in output
    assert list((work / "failures").iterdir()) == [] and table(work)["cac"]["failed_seeds"] == ""
    lines = (work / "logs" / f"{NAMES[1]}.log").read_text().splitlines()
    assert lines == ["step 1", "error: the run broke", "begins at step 0"]  # appended
    assert len((work / "durations.jsonl").read_text().splitlines()) == 4


def test_runs_of_several_commands_stand_in_one_table(grid, tmp_path):
    work = tmp_path / "W"
    assert end(grid("--methods", "supervised"))[0] == 0
    code, output, _ = end(grid("--methods", "crcfp", "--seeds", "1,2"))
    assert code == 0 and "[2/2] crcfp 1/8 seed 2" in output
    assert [(name, row["n"]) for name, row in table(work).items()] == [("supervised", "1"), ("crcfp", "2")]
    stored = json.loads((work / "grid.json").read_text())
    assert [row["name"] for row in stored["runs"]] == [NAMES[0], NAMES[2], "crcfp-1_8-seed2"]
    assert (stored["table"], stored["data"], stored["scale"]) == (1, "synthetic", "small")
    assert len(stored["commands"]) == 2 and stored["commands"][0].startswith("python -m crcfp_jax.tables 1 --workdir W")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_the_run_in_order(grid, tmp_path, number, code):
    work = tmp_path / "W"
    (work / "slow").touch()
    process = grid()
    wait_for_step(work, NAMES[0], 3)
    process.send_signal(number)
    ended, output, errors = end(process)
    assert ended == code and f"stopped by {number.name}: 0 of 3 runs finished; the same command goes on" in errors
    saved = [int(path.name) for path in (work / "runs" / NAMES[0] / "checkpoints").iterdir()]
    assert len(saved) == 1 and f"stopped, saved at step {saved[0]}" in output
    assert table(work)["supervised"]["missing_seeds"] == "1" and not (work / "failures").exists()
    assert not (work / "runs" / NAMES[1]).exists()

    (work / "slow").unlink()
    code, output, _ = end(grid())
    assert code == 0 and f"[1/3] supervised 1/8 seed 1: goes on from step {saved[0]}" in output
    assert f"begins at step {saved[0]}" in (work / "logs" / f"{NAMES[0]}.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells a process of its parent's death on Linux only")
def test_a_run_does_not_outlive_a_killed_grid_and_the_next_goes_on(grid, tmp_path):
    work = tmp_path / "W"
    (work / "slow").touch()
    process = grid()
    wait_for_step(work, NAMES[0], 2)
    second = grid()
    assert "another process is at work on shard 1/1 there" in end(second)[2]
    process.kill()
    process.wait()  # from here on the run has its signal: without this it may get to its end first
    (work / "slow").unlink()
    wait_for_step(work, NAMES[0], 3)
    code, output, errors = end(grid())
    assert code == 0, errors
    saved = [int(path.name) for path in (work / "runs" / NAMES[0] / "checkpoints").iterdir()]
    assert f"[1/3] supervised 1/8 seed 1: goes on from step {saved[0]}" in output
    assert not (work / "clash").exists() and "3 of 3 runs finished" in output


def test_a_grid_waits_for_whoever_trains_in_a_folder(grid, tmp_path):
    work = tmp_path / "W"
    (work / "slow").touch()
    first = grid("--shard", "1/2")
    wait_for_step(work, NAMES[0], 2)
    whole = grid()  # another division of the same grid: no lock of its own keeps it out
    for line in whole.stdout:
        if "waiting for another process to end" in line:
            break
    assert f"supervised 1/8 seed 1: waiting for another process to end in W/runs/{NAMES[0]}" in line
    (work / "slow").unlink()
    assert end(first)[0] == 0 and end(whole)[0] == 0
    assert not (work / "clash").exists() and {row["n"] for row in table(work).values()} == {"1"}


def test_shards_divide_the_grid_and_share_the_table(grid, tmp_path):
    work = tmp_path / "W"
    first, second = grid("--shard", "1/2"), grid("--shard", "2/2")
    (code, output, _), (other_code, other_output, _) = end(first), end(second)
    assert code == other_code == 0
    assert "[1/1] supervised" in output and "[1/2] cac" in other_output and "[2/2] crcfp" in other_output
    assert {row["n"] for row in table(work).values()} == {"1"} and not (work / "clash").exists()


TINY = (
    "data.side=32", "data.base_size=64", "data.threads=2", "data.prefetch=8", "model.width=8",
    "model.decoder_width=32", "model.projection_dim=8",
    "contrastive.negatives=32", "contrastive.threshold=0.3", "cross_consistency.classifiers=2", "weights.warmup=0.0",
    "train.steps=40", "train.batch_size=2", "train.unlabelled_batch_size=2", "train.log_every=1",
    "evaluation.batch_size=64",
)  # fmt: skip


@pytest.mark.slow
def test_real_runs_killed_in_the_middle_go_on_and_make_a_table(data_dir, tmp_path):
    words = [
        sys.executable, "-m", "crcfp_jax.tables", "1", "--workdir", str(tmp_path), "--data", "synthetic", "--scale",
        "small", "--seeds", "1", "--fractions", "1/8", "--methods", "supervised,crcfp", f"--config.data.dir={data_dir}",
        *(f"--config.{word}" for word in TINY),
    ]  # fmt: skip
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=1 {FLAGS}",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    }
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    wait_for_step(tmp_path, "supervised-1_8-seed1", 3)
    process.kill()
    process.wait()
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (tmp_path / "logs" / "supervised-1_8-seed1.log").read_text()
    assert "stopped by SIGTERM after step" in log and "resumed from step" in log
    assert {row["n"] for row in table(tmp_path).values()} == {"1"}
    results = [json.loads(path.read_text()) for path in sorted((tmp_path / "runs").glob("*/result.json"))]
    assert [(result["method"], result["step"], result["fraction"]) for result in results] == [
        ("crcfp", 40, "1/8"), ("supervised", 40, "1/8")
    ]  # fmt: skip
    assert f"| {results[0]['mean_iou']:.1f} |" in (tmp_path / "table.md").read_text().replace("**", "")
