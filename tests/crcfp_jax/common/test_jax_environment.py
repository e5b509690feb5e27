"""What JAX is told before it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_model import SIDE, make_model

from crcfp_jax.common import jax_environment
from crcfp_jax.common.jax_environment import FUSION, cache_folder, prepare_jax

ROOT = Path(__file__).parents[3]


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """Sets variables; the cache of the user lies in a temporary folder."""

    def set_all(**values):
        for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "XLA_FLAGS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(jax_environment, "_imported_jax", lambda: None)

    return set_all


@pytest.mark.parametrize(
    ("version", "known"),
    [("0.10.2", True), ("0.11.0", True), ("0.12.0.1", True), ("0.9.2", False), ("0.13.0", False), ("1.10.0", False)],
)
def test_the_flag_only_for_versions_that_know_it(variables, monkeypatch, version, known):
    variables()
    monkeypatch.setattr(jax_environment.importlib.metadata, "version", lambda name: version)
    prepare_jax()
    assert (os.environ.get("XLA_FLAGS") == f"--{FUSION}=-individual_convolution") == known


def test_users_settings_stay(variables):
    variables(XLA_FLAGS="--xla_a=1", JAX_COMPILATION_CACHE_DIR="", JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="2")
    prepare_jax()
    assert os.environ["XLA_FLAGS"] == f"--xla_a=1 --{FUSION}=-individual_convolution"
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == ""
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "2"
    variables(XLA_FLAGS=f"--{FUSION}=dot")
    prepare_jax()
    assert os.environ["XLA_FLAGS"] == f"--{FUSION}=dot"


def test_the_folder_is_of_the_user_and_the_kind_of_processor(variables, tmp_path, monkeypatch):
    variables()
    first = cache_folder()
    assert first.parent == tmp_path / "cache" / "crcfp-jax" and first.is_dir()
    prepare_jax()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(first)
    monkeypatch.setattr(jax_environment.Path, "read_text", lambda self: "flags\t\t: other\n")
    assert cache_folder() != first


def test_no_cache_where_it_can_not_be_written(variables, tmp_path):
    variables()
    (tmp_path / "cache").write_text("a file")
    assert cache_folder() is None
    prepare_jax()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_the_same_command_again_compiles_nothing(tmp_path):
    model = make_model(tmp_path / "model")
    Image.new("RGB", (2 * SIDE, SIDE), (150, 60, 120)).save(tmp_path / "a.png")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    compiled = []
    for output in "ab":
        words = ["--model", model, "--output", tmp_path / output, "--mpp", "1", tmp_path / "a.png"]
        command = [sys.executable, "-m", "crcfp_jax.predict", *map(str, words)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
        compiled.append({path.name for path in (tmp_path / "cache").rglob("*-cache")})
    assert compiled[0] == compiled[1] != set()
