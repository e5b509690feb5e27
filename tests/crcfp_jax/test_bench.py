"""The benchmark command, as a user starts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from quick_compilation import FLAGS

from crcfp_jax.bench import count_operations, rate_line

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
    median = float(re.search(r"step alone\D+([\d.]+)", done.stdout)[1])
    count, rate = re.search(r"operations of a step: (\S+) TFLOP, (\S+) TFLOP/s\n", done.stdout).groups()
    assert float(rate) == pytest.approx(float(count) / median, rel=0.01)
    memory = next(line for line in done.stdout.splitlines() if line.startswith("memory, GiB"))
    assert "process, greatest" in memory  # in one line, however narrow the terminal


def test_operations_are_those_of_the_whole_batch():
    def step(state, batch, key):
        return state, {"products": jax.lax.psum(batch["rows"] @ state, "data")}

    state, rows = np.zeros((8, 16), np.float32), np.zeros((4, 8), np.float32)
    assert count_operations(step, state, {"rows": rows}, jax.random.key(0)) == 2 * 4 * 8 * 16 + 4 * 16  # and the sum


def test_a_rate_is_of_the_median_step():
    assert rate_line(3e12, 0.25) == "operations of a step: 3 TFLOP, 12 TFLOP/s"
    assert "not known" in rate_line(None, 0.25)


def test_a_data_set_that_is_not_built_is_told(tmp_path):
    done = bench(f"--config.data.dir={tmp_path}")
    assert done.returncode == 1
    assert "python -m data_pipelines.build synthetic" in done.stderr and "Traceback" not in done.stderr
