"""Every method's losses, gradients and state against those that the code of commit 35c405b gave."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from method_losses import METHODS, PATH

ROOT = Path(__file__).parents[3]
QUICK = ("cct", "cdcl", "crcfp")  # between them they have every term


@pytest.mark.parametrize(
    "method", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_a_method_learns_what_it_always_has(method):
    folders = (ROOT, ROOT / "tests", ROOT / "tests" / "helpers")
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, folders)))  # a process: all of it is float64
    ran = subprocess.run(
        [sys.executable, PATH.with_suffix(".py"), method], capture_output=True, text=True, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    jax.tree.map_with_path(
        lambda path, value, golden: np.testing.assert_allclose(
            value, golden, rtol=1e-8, atol=1e-12, err_msg=jax.tree_util.keystr(path)
        ),
        json.loads(ran.stdout)[method],
        json.loads(PATH.read_text())[method],
    )
