"""docs/own_slides.md as someone follows it: every command of the page, in its order, in processes of their own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from quick_compilation import FLAGS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "own_slides.md").read_text()
COMMANDS = re.findall(r"^(?:python|\./launch\.sh) .*$", PAGE, re.MULTILINE)
# What shrinks a command to seconds; everything else is the page's.
SHORTER = {
    "crcfp_jax.main": ["--config.train.steps=2"],
    "crcfp_jax.crossvalidate": ["--folds", "2", "--config.train.steps=2"],
    "crcfp_jax.suggest": ["--regions", "3"],
}


def test_the_page_has_the_commands_of_the_way_there_and_back():
    words = " ".join(COMMANDS)
    for step in (
        "build folder",
        "crcfp_jax.main",
        "crossvalidate",
        "export",
        "predict",
        "suggest",
        "model.initial=runs/first",
    ):
        assert step in words


def as_process(command):
    """The command's words with this interpreter, without the making of an environment."""
    words = shlex.split(command.replace("configs/own.py", f"{ROOT}/configs/own.py:tiny"))
    if words[:2] == ["./launch.sh", "python"]:
        words = words[1:]
    elif words[0] == "./launch.sh":
        package = "data_pipelines" if words[1] == "build" else "crcfp_jax"
        words = ["python", "-m", f"{package}.{words[1]}", *words[2:]]
    shorter = SHORTER.get(words[2], []) if words[1] == "-m" else []
    return [sys.executable, *words[1:], *shorter]


@pytest.mark.slow
def test_every_command(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".jax_cache")

    def run(words):
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    (example,) = re.findall(r"`\./launch\.sh python (docs/examples/study\.py study)`", PAGE)
    run([sys.executable, *str(ROOT / example).split(" ")])
    for command in COMMANDS:
        run(as_process(command))
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    for file in re.findall(r"`((?:data|runs|folds|results|suggestions)/[\w./-]+\.\w+)`", PAGE):
        assert file in made, file
    assert {
        "runs/first/report.md",
        "folds/crossvalidation.md",
        "model/card.json",
        "results/H11.tif/overlay.png",
    } <= made
    assert any(name.startswith("suggestions/") and name.endswith(".geojson") for name in made)
