"""Commands killed at random moments and started again: what is there at the end is what an undisturbed one makes.

Each command's own tests kill it once, at a chosen moment.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from processes import ROOT, TINY_RUN, command, environment

from crcfp_jax.common.files import read_metrics
from crcfp_jax.portable_model.card import check_files, read_card

LIMIT = 600  # seconds of a command


@dataclass(frozen=True)
class Command:
    """A command that writes a folder.

    Attributes:
        words: the command, given the folder.
        result: all that a user takes from the folder, without times.
    """

    words: Callable[[Path], list[str]]
    result: Callable[[Path], Any]


@dataclass
class Inputs:
    """What the commands start from, made once."""

    root: Path
    data: Path

    @property
    def run(self) -> Path:
        """A finished training."""
        return self.root / "run"

    @property
    def model(self) -> Path:
        """Its export."""
        return self.root / "model"


def stored(folder: Path) -> dict[str, bytes]:
    """Every visible file, by its name."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def training(folder: Path) -> Any:
    result = json.loads((folder / "result.json").read_text())
    curve = [
        {name: line[name] for name in line if name.startswith("loss/")}
        for line in read_metrics(folder / "metrics.jsonl")
    ]
    saved = [path for path in (folder / "checkpoints").iterdir() if path.name.isdigit()]
    last = max(saved, key=lambda path: int(path.name))
    sums = json.loads((last / "config" / "metadata").read_text())["digest"]
    return result["confusion_matrix"], curve, last.name, sums["model"], sums["train"]


def exported(folder: Path) -> Any:
    card = read_card(folder)
    check_files(folder, card)
    return (folder / "model.jaxexport").read_bytes(), card.classes, card.window, card.microns_per_pixel


def predicted(folder: Path) -> dict[str, Any]:
    found = {name: content for name, content in stored(folder).items() if not name.endswith((".json", "summary.csv"))}
    for path in folder.rglob("result.json"):
        result = json.loads(path.read_text())
        found[str(path.relative_to(folder))] = {name: result[name] for name in ("input", "areas", "network")}
    return found


def commands(inputs: Inputs) -> dict[str, Command]:
    data_flag = [f"--config.data.dir={inputs.data}"]
    grid = ["--data", "synthetic", "--scale", "tiny", "--methods", "supervised", "--fractions", "1/4", "--seeds", "1"]
    grid += ["--config.train.steps=6", "--config.checkpoint.every=2"]
    pictures = sorted(map(str, (inputs.root / "pictures").glob("*.png")))
    return {
        "build": Command(
            lambda out: [sys.executable, "-m", "data_pipelines.build", "synthetic", "--data_dir", str(out)], stored
        ),
        "train": Command(lambda out: command("main", "--config", TINY_RUN, "--workdir", out, *data_flag), training),
        # A finished export is not made again without being asked, also where the kill came while its process ended.
        "export": Command(
            lambda out: command("export", "--workdir", inputs.run, "--output", out, "--overwrite"), exported
        ),
        "predict": Command(
            lambda out: command("predict", "--model", inputs.model, "--output", out, "--mpp", "0.5", *pictures),
            predicted,
        ),
        "tables": Command(
            lambda out: command("tables", "4", "--workdir", out, *grid, *data_flag),
            lambda out: (out / "table.csv").read_bytes(),
        ),
    }


def finish(words: list[str]) -> float:
    """Runs a command to its end; returns its seconds."""
    started = time.monotonic()
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - started


def kill_after(words: list[str], seconds: float) -> bool:
    """Kills a command -9 at that moment; returns whether it was still there."""
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=nowhere, stderr=nowhere)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
    return False


@pytest.fixture(scope="module")
def inputs(data_dir, tmp_path_factory):
    inputs = Inputs(tmp_path_factory.mktemp("inputs"), data_dir)
    (inputs.root / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for number in range(4):
        noise = generator.integers(0, 2, (300, 200, 3), np.uint8) * 90 + np.array([140, 60, 120], np.uint8)
        Image.fromarray(noise.astype(np.uint8)).save(inputs.root / "pictures" / f"{number}.png")
    return inputs


def check(name: str, inputs: Inputs, folder: Path, kills: int, rng: random.Random) -> int:
    """Kills a command again and again, in folders anew and half of the time in the same; returns how often it died."""
    made = commands(inputs)[name]
    finish(made.words(folder / "whole"))  # compiles
    seconds = finish(made.words(folder / "timed"))
    expected, died = made.result(folder / "whole"), 0
    assert made.result(folder / "timed") == expected
    for number in range(kills):
        output = folder / str(number)
        for _ in range(rng.randint(1, 2)):
            died += kill_after(made.words(output), rng.uniform(0, seconds))
        finish(made.words(output))
        assert made.result(output) == expected, f"after the killing of folder {number}"
    return died


@pytest.mark.slow
def test_fifty_kills(inputs, tmp_path, record_property):
    rng = random.Random(2)
    prepare = commands(inputs)
    finish(prepare["train"].words(inputs.run))
    finish(prepare["export"].words(inputs.model))
    died = {name: check(name, inputs, tmp_path / name, 10, rng) for name in prepare}
    record_property("killed", died)
    print(died)
    assert sum(died.values()) >= 50
