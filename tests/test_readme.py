"""The README names commands, configs and files that exist."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_two_commands_and_the_one_that_ci_runs():
    assert "./launch.sh --config configs/quickstart.py" in README
    assert "./launch.sh test" in README
    assert "./launch.sh test" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", README))))
def test_modules_exist(module):
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(configs/\w+\.py)", README))))
def test_configs_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_linked_files_exist(path):
    assert (ROOT / path).exists()


def test_settings_named_exist():
    from crcfp_jax.config import default

    config = default()
    for key in re.findall(r"--config\.([\w.]+)=", README):
        if key != "KEY":
            value = config
            for name in key.split("."):
                value = value[name]
