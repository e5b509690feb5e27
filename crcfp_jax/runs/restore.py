"""A run folder, opened again: the model that counts, and what it is evaluated on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from flax.typing import VariableDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_json
from crcfp_jax.evaluation.windows import Evaluator
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.runs.parts import Learner, Parts, assemble
from crcfp_jax.runs.settings import check_resumable, load_config, settings
from crcfp_jax.training.parallel import local_copy
from crcfp_jax.training.state import initialise_variables
from data_pipelines.data_set import DataSet, Record


def selected_step(checkpoints: Checkpoints, selection: str) -> int:
    """The step whose model counts: the last one, or the best on validation.

    Raises:
        UserError: there is no checkpoint.
    """
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{checkpoints.folder} holds no checkpoint: train first")
    return checkpoints.best_step() if selection == "best_validation" else steps[-1]


@dataclass(frozen=True)
class Restored:
    """A run, ready to evaluate."""

    evaluator: Evaluator
    data_set: DataSet
    records: Mapping[str, Sequence[Record]]  # by name of the split: 'test', 'validation'
    step: int
    threads: int  # that decode


def restore_variables(workdir: Path) -> tuple[Parts, VariableDict, int]:
    """Opens a run folder and loads the selected checkpoint's model.

    Returns:
        The run's parts, the variables for inference on the host, and their step.

    Raises:
        UserError: no run there, its data set is missing or changed, or its checkpoint is damaged.
    """
    stored = read_json(workdir / "config.json")
    parts = assemble(load_config(stored, workdir / "config.json"))
    check_resumable(stored, settings(parts), workdir)
    return parts, *selected_variables(workdir, parts)


def selected_variables(workdir: Path, learner: Learner) -> tuple[VariableDict, int]:
    """The variables for inference, on the host, of the selected checkpoint of the run of a learner, and their step.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    checkpoints = Checkpoints(workdir, read_only=True)
    step = selected_step(checkpoints, learner.config.evaluation.selection)
    network, side = learner.network(), learner.config.data.side
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    template = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(lambda key: initialise_variables(network, key, side), jax.random.key(0)),
    )
    return local_copy(checkpoints.restore_model(step, template)), step


def restore_for_evaluation(workdir: Path) -> Restored:
    """Opens a run folder, ready to evaluate its selected checkpoint; errors are those of `restore_variables`."""
    parts, variables, step = restore_variables(workdir)
    return Restored(
        evaluator=parts.evaluator(variables),
        data_set=parts.data_set,
        records={"test": parts.split.test, "validation": parts.split.validation},
        step=step,
        threads=parts.config.data.threads,
    )
