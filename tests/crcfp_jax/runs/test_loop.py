"""Whole runs as a user starts them: processes, signals, resume, evaluation, damaged and foreign run folders."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from processes import ROOT, TINY_RUN, command, environment

from crcfp_jax.common.files import read_metrics


def train(workdir, data_dir, *arguments, devices=1, check=True):
    done = subprocess.run(
        command("main", "--config", TINY_RUN, "--workdir", workdir, f"--config.data.dir={data_dir}", *arguments),
        cwd=ROOT, env=environment(devices), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def evaluate(workdir, *arguments):
    """Evaluates a run in a process of its own."""
    words = command("evaluate", "--workdir", workdir, *arguments)
    return subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)


def digests(workdir, step):
    """Check sums of every array of a checkpoint, and the loader's state."""
    folder = workdir / "checkpoints" / str(step)
    sums = json.loads((folder / "config" / "metadata").read_text())["digest"]
    loader = json.loads((folder / "data" / "metadata").read_text())["loader"]  # beside it stand the seconds trained
    return sums["model"], sums["train"], loader


def curve(workdir):
    return [
        {key: value for key, value in line.items() if key.startswith(("loss/", "step", "share/"))}
        for line in read_metrics(workdir / "metrics.jsonl")
    ]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, data_dir):
    """A run from beginning to end, without a break."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    train(workdir, data_dir)
    return workdir


def test_a_run_leaves_its_figures_pictures_and_checkpoints(whole_run):
    result = json.loads((whole_run / "result.json").read_text())
    keys = {"mean_iou", "mean_dice", "accuracy", "per_class", "confusion_matrix", "selection", "step", "seconds",
            "method", "fraction", "seed", "versions"}  # fmt: skip
    assert keys <= set(result)
    assert (result["step"], result["selection"], result["images"]) == (12, "last", 48)
    assert {path.name for path in whole_run.iterdir()} >= {"config.json", "metrics.jsonl", "checkpoints", "pictures"}
    assert (whole_run / "pictures" / "test.png").stat().st_size > 10_000
    assert list(whole_run.glob("events*"))
    assert [line["step"] for line in curve(whole_run)] == [*range(1, 9), 8, *range(9, 13), 12]  # evaluated at 8 and 12
    assert sorted(int(path.name) for path in (whole_run / "checkpoints").iterdir() if path.name.isdigit()) == [8, 12]


def test_evaluate_repeats_the_figures_to_the_pixel(whole_run):
    done = evaluate(whole_run)
    assert done.returncode == 0, done.stderr
    assert "the same figures as result.json" in done.stdout
    done = evaluate(whole_run, "--split", "validation")
    assert "validation, step 12, 16 images" in done.stdout, done.stderr


def start(workdir, data_dir, *arguments):
    """A run in the background, stopped from outside."""
    return subprocess.Popen(
        command("main", "--config", TINY_RUN, "--workdir", workdir, f"--config.data.dir={data_dir}", *arguments),
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_line(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("kill", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_bit(whole_run, data_dir, tmp_path, kill):
    process = start(tmp_path / "run", data_dir)
    wait_for_line(process, "step 6/12")
    process.send_signal(kill)
    process.communicate(timeout=120)
    saved = sorted(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit())
    if kill == signal.SIGTERM:  # saved off schedule, unless the run was at its end already
        assert process.returncode == 143 and saved[-1] >= 6
    else:
        assert process.returncode == -9
    resumed = train(tmp_path / "run", data_dir)
    assert f"resumed from step {saved[-1]}" in resumed.stdout
    assert digests(tmp_path / "run", 12) == digests(whole_run, 12)
    assert curve(tmp_path / "run") == curve(whole_run)


def test_a_run_killed_while_it_saves_goes_on_to_the_bit(whole_run, data_dir, tmp_path):
    # Dies inside the save of step 8, with its arrays written and the checkpoint not yet complete.
    script = f"""
import os, signal, sys
def dying(rename):
    def call(source, target, **options):
        if str(target).endswith("checkpoints/8"):
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(source, target, **options)
    return call
os.rename, os.replace = dying(os.rename), dying(os.replace)
from crcfp_jax import main
sys.argv = ["main", "--config", "{TINY_RUN}", "--workdir", "{tmp_path / "run"}", "--config.data.dir={data_dir}"]
main.run_main(main.main)
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True)
    assert killed.returncode == -9, killed.stderr
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert "4" in names and "8" not in names and any(name.startswith("8.") for name in names), names
    resumed = train(tmp_path / "run", data_dir)
    assert "resumed from step 4" in resumed.stdout
    assert digests(tmp_path / "run", 12) == digests(whole_run, 12)
    assert curve(tmp_path / "run") == curve(whole_run)


def test_the_best_checkpoint_is_known_after_the_process_has_ended(data_dir, tmp_path):
    run = tmp_path / "run"
    arguments = (
        "--config.evaluation.selection=best_validation",
        "--config.checkpoint.keep=1",
        "--config.train.steps=24",
    )
    process = start(run, data_dir, *arguments)
    wait_for_line(process, "step 9/24")  # evaluated at 8, next at 16
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    scores = run / "checkpoints" / "8" / "metrics" / "metrics"
    assert json.loads(scores.read_text())["mean_iou"] > 0
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    scores.write_text(json.dumps({"mean_iou": 100.0}))  # step 8 is the best, whatever comes
    train(run, data_dir, *arguments)
    result = json.loads((run / "result.json").read_text())
    assert (result["step"], result["selection"]) == (8, "best_validation")
    done = evaluate(run)
    assert "test, step 8" in done.stdout and "the same figures as result.json" in done.stdout, done.stderr

    (damaged / "checkpoints" / "8" / "metrics" / "metrics").write_text("{")
    done = train(damaged, data_dir, *arguments, check=False)
    assert done.returncode == 1 and "STEP/metrics/metrics" in done.stderr and "Traceback" not in done.stderr


def test_more_steps_set_the_old_result_aside_and_fewer_are_refused(whole_run, data_dir, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    done = train(run, data_dir, "--config.train.steps=8", check=False)
    assert done.returncode == 1 and "is at step 12 already, past config.train.steps=8" in done.stderr
    done = train(run, data_dir, "--config.train.steps=13")
    assert "config.train.steps was 12, now 13" in done.stdout
    assert json.loads((run / "result.json").read_text())["step"] == 13
    assert (run / "result_000012.json").read_bytes() == (whole_run / "result.json").read_bytes()


def test_a_finished_run_is_evaluated_again_and_nothing_else(whole_run, data_dir):
    before, log = digests(whole_run, 12), (whole_run / "metrics.jsonl").read_bytes()
    train(whole_run, data_dir)
    assert digests(whole_run, 12) == before and (whole_run / "metrics.jsonl").read_bytes() == log


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("--config.model.width=16", "config.model.width was 8, now 16"),
        ("--config.seed=2", "config.seed was 1, now 2"),
        ("--config.method=supervised", "config.method was 'crcfp', now 'supervised'"),
    ],
)
def test_resuming_another_run_names_the_key(whole_run, data_dir, change, named):
    done = train(whole_run, data_dir, change, check=False)
    assert done.returncode == 1 and named in done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr


def test_nothing_is_left_out_of_a_run_with_other_settings(whole_run, data_dir, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    done = train(run, data_dir, "--previous_checkpoint", "--config.seed=2", check=False)
    assert done.returncode == 1 and "config.seed was 1, now 2" in done.stderr
    assert digests(run, 12) == digests(whole_run, 12)


def test_settings_of_a_finished_run_hold_without_its_checkpoints(whole_run, data_dir, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    before = (run / "config.json").read_bytes()
    done = train(run, data_dir, "--config.seed=2", check=False)
    assert done.returncode == 1 and "config.seed was 1, now 2" in done.stderr
    assert (run / "config.json").read_bytes() == before and (run / "result.json").exists()


def test_a_damaged_newest_checkpoint_is_told_and_left_out_only_when_asked(whole_run, data_dir, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    parts = [path for path in (run / "checkpoints" / "12" / "train").rglob("*") if path.is_file()]
    largest = max(parts, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)

    done = train(run, data_dir, check=False)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert "checkpoints/12 is damaged" in line and "from step 8 with --previous_checkpoint" in line
    assert "Traceback" not in done.stderr

    done = train(run, data_dir, "--previous_checkpoint")
    assert "resumed from step 8" in done.stdout
    assert digests(run, 12) == digests(whole_run, 12)


def test_a_loss_that_is_no_number_stops_the_run(data_dir, tmp_path):
    done = train(tmp_path / "run", data_dir, "--config.optimizer.learning_rate=1e30", check=False)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert "loss or gradient is not finite" in line and "supervised" in line and "checkpoint" in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--config.trian.steps=3",), "trian"),
        (("--config.train.steps=many",), "many"),
        (("--config.data.overlap=0.3",), "config.data.overlap=(0.3,) is not a range"),
        (("--config.data.labelled_scale=('a', 'b')",), "config.data.labelled_scale"),
        (("--config.cross_consistency.perturbations=()",), "config.cross_consistency.perturbations=() is empty"),
        (("--config.weights.entropy=-1.0",), "config.weights.entropy=-1.0 must be at least 0"),
        (("--config.method=cdlc",), "config.method='cdlc' is unknown; known methods: supervised"),
        (("--config.fraction=1/3",), "1/3"),
        (("--config.fraction=none",), "config.fraction='none'"),
        (("--config.optimizer.name=adam",), "config.optimizer.name='adam'"),
        (("--config.data.name=bsc",), "bsc"),
        (("--steps=3",), "steps"),
        (("--config.train.batch_size=3", "--config.train.unlabelled_batch_size=3"), "config.contrastive.negatives"),
    ],
)
def test_a_wrong_command_line_ends_with_one_plain_line(data_dir, tmp_path, arguments, named):
    done = train(tmp_path / "run", data_dir, *arguments, check=False)
    assert done.returncode == 1 and named in done.stderr, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.strip().count("\n") == 0, done.stderr
    assert not (tmp_path / "run" / "checkpoints" / "1").exists()


@pytest.mark.parametrize("module", ["main", "bench"])
def test_help_is_given(module):
    done = subprocess.run(command(module, "--help"), cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "--config" in done.stdout and f"python -m crcfp_jax.{module}" in done.stdout


def test_devices_that_do_not_divide_the_batch(data_dir, tmp_path):
    done = train(tmp_path / "run", data_dir, devices=4, check=False)
    assert (
        done.returncode == 1 and "config.train.batch_size=2 is not a positive multiple of the 4 devices" in done.stderr
    )


def test_an_unwritable_run_folder_is_told(data_dir, tmp_path):
    (tmp_path / "file").write_text("")
    done = train(tmp_path / "file", data_dir, check=False)
    assert done.returncode == 1 and str(tmp_path / "file") in done.stderr and "Traceback" not in done.stderr


def test_a_full_disk_is_told_before_a_checkpoint_is_begun(data_dir, tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        done = train(tmp_path / "run", data_dir, check=False)
        assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert done.returncode == 1
    assert "a checkpoint takes" in done.stderr and done.stderr.strip().count("\n") == 0, done.stderr


def test_a_checkpoint_that_is_refused_midway_is_told_in_one_line_and_the_run_goes_on(whole_run, data_dir, tmp_path):
    """By a limit on the size of files here; a quota is told by the same library in the same way."""
    stored = [path.stat().st_size for path in (whole_run / "checkpoints").rglob("*") if path.is_file()]
    words = command("main", "--config", TINY_RUN, "--workdir", tmp_path / "run", f"--config.data.dir={data_dir}")
    limited = ["bash", "-c", f'ulimit -f {max(stored) // 2 // 1024}; exec "$@"', "bash", *words]
    without_cache = environment(JAX_ENABLE_COMPILATION_CACHE="false")  # whose files are larger
    done = subprocess.run(limited, cwd=ROOT, env=without_cache, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    told = "checkpoints: a file would be larger than the limit (ulimit -f) or the file system allows: choose another"
    assert done.stderr.startswith("error: ") and told in done.stderr
    train(tmp_path / "run", data_dir)
    assert sorted(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()) == sorted(
        int(path.name) for path in (whole_run / "checkpoints").iterdir()
    )


@pytest.mark.multiprocess
def test_two_processes_agree_with_one(whole_run, data_dir, tmp_path):
    with_two = tmp_path / "two"
    port = 23000 + os.getpid() % 10000
    arguments = ["--config", TINY_RUN, "--workdir", with_two, f"--config.data.dir={data_dir}"]
    processes = [
        subprocess.Popen(
            command("main", *arguments),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(CRCFP_COORDINATOR=f"127.0.0.1:{port}", CRCFP_PROCESSES="2", CRCFP_PROCESS=str(index)),
        )
        for index in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert (with_two / "review.html").is_file(), "\n".join(outputs)  # by the first process, as the other ends
    # Two replicas either way: sums of two are the same in any order, so nothing may differ but rounding. Against one
    # replica that holds for the first step; later, a pair whose confidences nearly tie may count in one and not in
    # the other, and the runs part.
    in_one_process = tmp_path / "one"
    train(in_one_process, data_dir, devices=2)
    pairs = [*zip(curve(in_one_process), curve(with_two), strict=True), (curve(whole_run)[0], curve(with_two)[0])]
    for one, two in pairs:
        assert one == {key: pytest.approx(value, rel=1e-4, abs=1e-6) for key, value in two.items()}
    results = [json.loads((folder / "result.json").read_text()) for folder in (in_one_process, with_two)]
    assert results[0]["images"] == results[1]["images"] == 48
    assert results[0]["mean_iou"] == pytest.approx(results[1]["mean_iou"], abs=0.1)
