"""The command as a process: killed and resumed, refused, and once with real training; else runs stand in for that."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quick_compilation import FLAGS

from crcfp_jax.common.errors import UserError
from crcfp_jax.crossvalidate.__main__ import command_line, main, make_parser
from crcfp_jax.crossvalidate.plan import FoldRun, Plan, choose_methods, read_settings

ROOT = Path(__file__).parents[3]
CONFIG = str(ROOT / "tests" / "helpers" / "tiny_run.py")
# ml_collections imports config files so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

# A run of twelve steps that saves on SIGTERM; a file 'slow' in V makes it so. A final one leaves no result.
STAND_IN = """
import json, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
work = folder.parents[1]
plan = json.loads((work / "plan.json").read_text())
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
step = max((int(path.name) for path in (folder / "checkpoints").glob("*")), default=0)
print("begins at step", step, flush=True)
while step < 12:
    step += 1
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": step}) + "\\n")
    if (work / "slow").exists():
        time.sleep(0.3)
    if stop or step == 12:
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
    if stop:
        sys.exit(143)
(folder / "config.json").write_text(sys.argv[2])
(folder / "report.md").write_text("")
if folder.name != "final":
    matrix = [[9 if row == column else 1 for row in range(5)] for column in range(5)]
    images = [{"image": patient, "patient": patient, "confusion_matrix": matrix}
              for patient in plan["patients"][int(folder.name[4:])]]
    result = {"mean_iou": 60.0, "mean_dice": 70.0, "accuracy": 80.0, "seconds": 1.0, "per_image": images}
    (folder / "result.json").write_text(json.dumps(result))
"""
# The command itself, with that in the place of crcfp_jax.main.
DRIVER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test suite in the background of a script ignores it
import json, sys
from crcfp_jax.common.command import run_main
from crcfp_jax.crossvalidate import __main__
from crcfp_jax.crossvalidate.plan import Plan
def command(self, run, folder):
    from crcfp_jax.queue.check import load_config
    from crcfp_jax.runs.parts import assemble
    from crcfp_jax.runs.settings import settings
    values = settings(assemble(load_config(self.config_file, self.run_settings(run))))
    return [sys.executable, "-c", {stand_in!r}, str(folder), json.dumps(values)]
Plan.command = command
run_main(__main__.main)
"""


@pytest.fixture
def start(tmp_path, data_dir):
    """Starts the command in V, with stand-ins."""
    (tmp_path / "V").mkdir()
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", DRIVER.format(stand_in=STAND_IN), "--config", CONFIG, "--workdir", "V",
             f"--config.data.dir={data_dir}", *words],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{Path(CONFIG).parent}", "JAX_PLATFORMS": "none_such"},
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process):
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def wait_for_step(folder, step):
    path = folder / "metrics.jsonl"
    deadline = time.monotonic() + 100
    while not path.exists() or len(path.read_text().splitlines()) < step:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_stopped_it_goes_on_with_final_models_and_another_method(start, tmp_path, data_dir, monkeypatch):
    work = tmp_path / "V"
    (work / "slow").touch()
    process = start("--methods", "supervised", "--folds", "3", "--final")
    wait_for_step(work / "supervised" / "fold0", 2)
    process.send_signal(signal.SIGTERM)
    code, output, errors = end(process)
    assert code == 143, errors
    assert "stopped by SIGTERM: 0 of 4 runs finished; the same command goes on; V/crossvalidation.md" in errors
    (work / "slow").unlink()
    code, output, errors = end(start("--methods", "supervised,crcfp", "--folds", "3", "--final"))
    assert code == 0, errors
    assert "[1/8] supervised fold 0: goes on from step" in output and "[2/8] crcfp fold 0: started" in output
    assert "[7/8] supervised final: trained" in output and "8 of 8 runs finished" in output
    assert "crcfp - supervised: mIoU +0.0 (+0.0 to +0.0)" in output
    stored = json.loads((work / "crossvalidation.json").read_text())
    assert len(stored["methods"]["crcfp"]["per_patient"]) == 48 and len(stored["commands"]) == 2
    assert json.loads((work / "crcfp" / "final" / "crossvalidation.json").read_text())["patients"] == 48
    (work / "crcfp" / "fold1" / "result.json").unlink()  # and the checkpoint of its last step is there
    code, output, errors = end(start("--methods", "crcfp", "--folds", "3", "--final"))
    assert code == 0 and "3 of 4 runs were finished before" in output and "crcfp - supervised" in output

    monkeypatch.chdir(tmp_path)
    for words, named in (
        (("--folds", "4"), "config.data.folds was 3, now 4"),
        (("--folds", "3", "--seed", "2"), "config.seed was 1, now 2"),
        (("--folds", "3", "--config.train.steps=7"), "run with config.train.steps=12, not 7"),
        (("--folds", "3", "--config.model.width=16"), "config.model.width was 8, now 16"),
    ):
        with pytest.raises(UserError, match=f"^V holds .*{named}"):
            main(["--config", CONFIG, "--workdir", "V", f"--config.data.dir={data_dir}", *words])


def test_runs_fold_by_fold_and_their_commands():
    methods = choose_methods(["supervised_plain", "crcfp"], {})
    plan = Plan("c.py:small", {"train.steps": "9"}, methods, 2, 7, final=True)
    assert [run.name for run in plan.runs] == [
        "supervised_plain/fold0", "crcfp/fold0", "supervised_plain/fold1", "crcfp/fold1", "supervised_plain/final",
        "crcfp/final",
    ]  # fmt: skip
    assert plan.command(plan.runs[2], Path("V/x")) == [
        sys.executable, "-m", "crcfp_jax.main", "--config", "c.py:small", "--workdir", "V/x", "--config.train.steps=9",
        "--config.seed=7", "--config.data.folds=2", "--config.data.fold=1", "--config.method=supervised",
        "--config.augment.labelled=False",
    ]  # fmt: skip
    assert plan.run_settings(FoldRun("crcfp", None)) == {
        "train.steps": "9", "seed": "7", "evaluation.selection": "last", "method": "crcfp"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--workdir", "V"], "the following arguments are required: --config"),
        (["--folds", "1"], "'1' is not a number of folds: give a whole number from 2"),
        (["--seed", "-1"], "expected one argument|is not a seed"),
        (["--methods", ","], "is empty"),
        (["--methods", "unet"], "--methods unet is unknown; known: supervised_plain, supervised"),
        (["--config.seed=3"], "config.seed is set by the cross-validation: use --seed"),
        (["--config.data.fold=3"], "config.data.fold is set by the cross-validation, which does all folds"),
        (["--config.method=cac"], "use --methods"),
        (["--methods", "supervised_plain", "--config.augment.labelled=True"], "config.augment.labelled is what makes"),
        (["--config.modle.width=3"], "unknown key of config|modle"),
        (["fold"], "'fold' is unknown; settings of all runs are written --config.key=value"),
        (["--folds", "49"], r"has 48 annotated patients \(.*: give --folds 48"),
        (["--methods", "cdcl"], "config.method='cdcl' tells foreground from background"),
        (["--config.fraction=1/3"], "unknown fraction '1/3'"),
    ],
)
def test_what_is_refused_before_anything_is_made(words, named, data_dir, tmp_path):
    if "--config" not in words and words != ["--workdir", "V"]:
        words = [*words, "--config", CONFIG, "--workdir", str(tmp_path / "V"), f"--config.data.dir={data_dir}"]
    with pytest.raises(UserError, match=named):
        main(words)
    assert not (tmp_path / "V").exists()


def test_the_command_that_is_told_names_no_folder_of_this_machine():
    words = ["--config", "/home/me/configs/glas.py:small", "--workdir", "/home/me/V", "--methods", "cac,crcfp"]
    options = make_parser().parse_args([*words, "--folds", "4", "--final"])
    user = read_settings(["--config.data.dir=/home/me/data", "--config.model.pretrained=/home/me/r.safetensors"])
    assert command_line(options, user) == (
        "python -m crcfp_jax.crossvalidate --config configs/glas.py:small --workdir V --methods cac,crcfp --folds 4 "
        "--final --config.model.pretrained=r.safetensors"
    )


@pytest.mark.slow
def test_real_runs_killed_in_the_middle_go_on_and_are_exported(data_dir, tmp_path):
    work = tmp_path / "V"
    words = [
        sys.executable, "-m", "crcfp_jax.crossvalidate", "--config", CONFIG, "--workdir", str(work), "--folds", "2",
        "--methods", "supervised", "--final", f"--config.data.dir={data_dir}", "--config.fraction=1/1",
        "--config.train.steps=30",
    ]  # fmt: skip
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=1 {FLAGS}",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    }
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    wait_for_step(work / "supervised" / "fold0", 3)
    process.kill()
    process.wait()
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resumed from step" in (work / "logs" / "supervised" / "fold0.log").read_text()
    figures = json.loads((work / "crossvalidation.json").read_text())
    row = figures["methods"]["supervised"]
    tested = [json.loads((work / f"supervised/fold{fold}/result.json").read_text())["per_image"] for fold in range(2)]
    patients = [{image["patient"] for image in images} for images in tested]
    assert not patients[0] & patients[1] and len(patients[0] | patients[1]) == 48
    pixels = sum(sum(map(sum, image["confusion_matrix"])) for images in tested for image in images)
    assert sum(map(sum, row["pooled"]["confusion_matrix"])) == pixels
    export = [sys.executable, "-m", "crcfp_jax.export", "--workdir", str(work / "supervised" / "final")]
    done = subprocess.run(
        [*export, "--output", str(tmp_path / "M")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    readme = (tmp_path / "M" / "README.md").read_text()
    assert f"Cross-validated: mIoU {row['pooled']['mean_iou']:.1f} (95% interval" in readme
    assert "48 annotated patients was tested by one that had not seen it" in readme and "H01-P1" not in readme
