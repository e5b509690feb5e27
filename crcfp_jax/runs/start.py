"""How a run begins: from random or pretrained weights, another run's model, or from a checkpoint of its own."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json, write_json_atomic
from crcfp_jax.models.encoders.pretrained import load_pretrained
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.runs.data_summary import DATA_FILE, check_annotated, describe, write_summary
from crcfp_jax.runs.initial import load_initial
from crcfp_jax.runs.parts import Learner, Parts
from crcfp_jax.runs.settings import check_resumable, check_rules, settings
from crcfp_jax.training import parallel
from crcfp_jax.training.parameter_groups import group_of, name_of, read_groups
from crcfp_jax.training.state import TrainState, create_state, initialise_variables


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a run goes on from."""

    state: TrainState
    loader_state: dict | None  # None: from the first example
    seconds: float  # trained before
    notes: list[str]  # for the user


def start_run(parts: Parts, workdir: Path, checkpoints: Checkpoints, mesh: Mesh, *, previous_checkpoint: bool) -> Start:
    """The state to go on from, on every device of `mesh`; writes config.json and data.json.

    Args:
        previous_checkpoint: leave out the newest checkpoint; it is deleted once the one before has been read.

    Raises:
        UserError: the folder belongs to another run, the checkpoint to go on from is damaged, or a new run has fewer
            than two annotated classes.
    """
    steps, total = checkpoints.steps(), parts.config.train.steps
    notes = _check_folder(parts, workdir, checkpoints, steps)
    dropped = None
    if previous_checkpoint:
        if len(steps) < 2:
            raise UserError(f"--previous_checkpoint: {checkpoints.folder} has no checkpoint before the newest")
        dropped = steps.pop()
    if steps and steps[-1] > total:
        raise UserError(
            f"{workdir} is at step {steps[-1]} already, past config.train.steps={total}: raise it or give another "
            "--workdir"
        )
    if not steps:
        check_annotated(parts)
    pretrained, told = (None, []) if steps else _pretrained(parts)
    notes += told
    sharding = parallel.replicated(mesh)
    state = create_state(
        parts.network(), parts.method, parts.config, parts.optimizer, sharding=sharding, pretrained=pretrained
    )
    loader_state, seconds = None, 0.0
    if steps:
        state, data = checkpoints.restore(steps[-1], state)
        if dropped is not None:
            checkpoints.discard_from(dropped)
        loader_state, seconds = data["loader"], data["seconds"]
        notes.append(f"resumed from step {steps[-1]}")
    if jax.process_index() == 0:
        if not steps or steps[-1] < total:
            _set_aside_result(workdir, steps[-1] if steps else 0)
        write_json_atomic(workdir / "config.json", settings(parts))
        if not steps or not (workdir / DATA_FILE).is_file():
            write_summary(parts, workdir)
    return Start(state, loader_state, seconds, describe(parts) + _of_frozen(parts, state) + notes)


def _of_frozen(parts: Learner, state: TrainState) -> list[str]:
    """A line where a method compares vectors of an encoder that doesn't learn."""
    groups = read_groups(parts.config)
    paths = [path for path, _ in jax.tree.leaves_with_path(state.params) if name_of(path).startswith("backbone/")]
    learns = any(group_of(groups, path).multiple for path in paths)
    if learns or not parts.method.needing("projector"):
        return []
    return [
        f"the encoder is frozen: the contrast of config.method={parts.config.method} shapes decoder and projector alone"
    ]


def _check_folder(parts: Parts, workdir: Path, checkpoints: Checkpoints, steps: list[int]) -> list[str]:
    """What the user may want to know of a stored run; raises UserError where the folder belongs to another one."""
    stored = workdir / "config.json"
    if steps:
        try:
            before = checkpoints.config(steps[-1])
        except UserError:  # damaged: restoring it will say so, unless it is left out
            before = read_json(stored) if stored.is_file() else settings(parts)
    elif stored.is_file() and (workdir / "result.json").is_file():  # finished, its checkpoints cleared away
        before = read_json(stored)
    else:
        return []
    check_rules(before, workdir)
    return check_resumable(before, settings(parts), workdir)


def _pretrained(parts: Parts) -> tuple[Any, list[str]]:
    """Variables to start from, or None for random ones, and what the user may want to know of where they are from."""
    config = parts.config
    if not (config.model.initial or config.model.pretrained):
        return None, []
    network, side = parts.network(), config.data.side
    random = jax.jit(lambda key: initialise_variables(network, key, side))(jax.random.key(config.seed))
    random = jax.tree.map(np.asarray, random)
    return load_initial(parts, random) if config.model.initial else load_pretrained(config.model, random)


def _set_aside_result(workdir: Path, step: int) -> None:
    """Renames the result of a run that now goes on from `step`: the run will be at another one."""
    result = workdir / "result.json"
    if result.is_file():
        result.replace(workdir / f"result_{step:06d}.json")
