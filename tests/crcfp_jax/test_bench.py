"""The benchmark command, as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

from quick_compilation import FLAGS

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).parents[1] / "helpers" / "tiny_run.py"


def bench(*arguments):
    environment = os.environ | {"XLA_FLAGS": FLAGS, "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache")}
    return subprocess.run(
        [sys.executable, "-m", "crcfp_jax.bench", "--config", CONFIG, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_random_input_needs_no_data_set():
    done = bench("--random_input", "--steps=2")
    assert done.returncode == 0, done.stderr
    assert "step alone" in done.stdout and "compile" in done.stdout and "memory, GiB" in done.stdout
    assert "input alone" not in done.stdout


def test_a_data_set_that_is_not_built_is_told(tmp_path):
    done = bench(f"--config.data.dir={tmp_path}")
    assert done.returncode == 1
    assert "python -m data_pipelines.build synthetic" in done.stderr and "Traceback" not in done.stderr
