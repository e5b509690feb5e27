"""Prints what four steps of the named methods give, in double precision, as JSON.

    PYTHONPATH=.:tests:tests/helpers python tests/golden/method_losses.py supervised cct > found.json

method_losses.json holds what the code of commit 35c405b printed for all of METHODS. The file is the measure of every
later version and is not to be written again by one. Single precision is no measure: after four steps the rounding of
another processor moves a gradient's norm by 1e-5 and a statistic by 1e-4. Double precision moves by 2e-11.
"""

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    import conftest  # noqa: F401  # the tests' compiler flags, before JAX starts

import jax
import jax.numpy as jnp
import numpy as np

if __name__ == "__main__":  # before the package reads the name
    jax.config.update("jax_enable_x64", True)
    jnp.float32 = jnp.float64

from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.training.step import make_train_step

PATH = Path(__file__).with_name("method_losses.json")
METHODS = ("supervised", "cct", "cac", "cdcl", "crcfp_s1", "crcfp_s2", "crcfp")
STEPS = 4  # one of the supervised beginning, three of the ramp or in full
SEED = 11


def settings(method):
    """Every term counts after the first step, some pixels are confident and some are not."""
    return tiny_config(
        method=method, weights__warmup=0.1, cct__ramp_up=0.4, cdcl__ramp_up=0.4, cdcl__teacher_decay=0.6,
        contrastive__threshold=0.4, cross_consistency__threshold=0.36, train__steps=10,
    )  # fmt: skip


def norms(tree):
    """The norm of every top-level group."""
    leaves = {name: [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree[name])] for name in tree}
    return {name: float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in own))) for name, own in leaves.items()}


def record(method):
    """The metrics of each step, and what the state holds after the last one, as JSON."""
    config = settings(method)
    network, definition, optimizer = tiny_parts(config)
    step = jax.jit(make_train_step(network, definition, config, optimizer))
    state, batch, metrics = tiny_state(config), tiny_batch(config, SEED), []
    for _ in range(STEPS):
        state, values = step(state, batch, jax.random.key(SEED))
        metrics.append({name: np.asarray(value).tolist() for name, value in values.items()})
    found = {"metrics": metrics, "params": norms(state.params), "batch_stats": norms(state.batch_stats)}
    if state.teacher is not None:
        found["teacher"] = norms(state.teacher.get("params", state.teacher))  # 35c405b: the parameters alone
    if state.bank is not None:
        found["bank"] = {
            "features": np.asarray(state.bank.features, np.float64).sum(axis=0).tolist(),
            "labels": np.asarray(state.bank.labels).tolist(),
            "cursor": int(state.bank.cursor),
        }
    return found


if __name__ == "__main__":
    print(json.dumps({name: record(name) for name in sys.argv[1:]}, indent=1))
