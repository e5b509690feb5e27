"""A run folder: its settings, what may change when it is resumed, and how a finished one is restored."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from flax.typing import VariableDict
from ml_collections import ConfigDict

from crcfp_jax.assemble import Parts, assemble
from crcfp_jax.checkpoint import Checkpoints
from crcfp_jax.config import default
from crcfp_jax.files import read_json
from crcfp_jax.parallel import local_copy
from crcfp_jax.predictor import make_evaluator
from crcfp_jax.state import initialise_variables
from crcfp_jax.windows import Evaluator
from data_pipelines.errors import UserError
from data_pipelines.records import DataSet, Record

# What changes neither the network, nor the examples, nor the order of the steps; but for `train.steps`, which is told.
CHANGEABLE = (
    "data.dir", "data.threads", "data.prefetch", "train.log_every", "train.picture_every", "train.parallel",
    "train.steps", "contrastive.chunk", "checkpoint.every", "checkpoint.keep", "evaluation.every",
    "evaluation.batch_size", "model.pretrained", "model.rematerialise",
)  # fmt: skip


def settings(parts: Parts) -> dict:
    """The settings as JSON, with the data set's fingerprint: what a checkpoint remembers of its run."""
    return json.loads(parts.config.to_json()) | {"data_fingerprint": parts.data_set.fingerprint}


def load_config(values: dict, source: Path) -> ConfigDict:
    """The locked settings from their JSON, read from `source`; keys that it lacks have their default.

    Raises:
        UserError: a key that this version doesn't know.
    """
    config = default()
    stored = {key: value for key, value in _in_present_terms(values).items() if key != "data_fingerprint"}
    unknown = sorted(_flat(stored).keys() - _flat(config.to_dict()).keys())
    if unknown:
        raise UserError(f"{source}: config.{unknown[0]} is unknown to this version: it was written by another one")
    config.update(stored)
    return config


def _in_present_terms(values: dict) -> dict:
    """Stored settings in the words of this version: the whole view was a share of a tile's sides, not a scale.

    The oldest runs flipped left and right only, when there was no choice.
    """
    data, defaults = {"flips": "horizontal"} | dict(values.get("data", {})), default().data
    values = values | {"data": data}
    if "whole_view_scale" in data:
        return values
    share = data.pop("whole_view_share", 1.0)  # the oldest runs have none, and saw the whole tile
    scale = data.get("side", defaults.side) / (share * data.get("base_size", defaults.base_size))
    # The shares of shipped configs were the scale 0.8, rounded to two or three digits.
    return values | {"data": data | {"whole_view_scale": 0.8 if abs(scale - 0.8) < 0.005 else scale}}


def _flat(values: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_resumable(stored: dict, current: dict, folder: Path) -> list[str]:
    """Compares the settings of a stored run with the current ones.

    Returns:
        One line for each harmless difference that the user may want to know of.

    Raises:
        UserError: a difference that makes it another run, naming every key.
    """
    old, new = _flat(_in_present_terms(stored)), _flat(current)
    # A setting newer than the run had its default's effect then: defaults of new settings are chosen so.
    defaults = _flat(json.loads(default().to_json()))
    old = {key: defaults[key] for key in new.keys() & defaults.keys()} | old
    differing = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    forbidden = [key for key in differing if key not in CHANGEABLE]
    if "data_fingerprint" in forbidden and "data.name" not in forbidden:
        raise UserError(
            f"{folder} was trained on another build of data set {current['data']['name']!r} "
            f"(data_fingerprint {old['data_fingerprint']}, now {new['data_fingerprint']}): give another --workdir"
        )
    if forbidden:
        changes = ", ".join(f"config.{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in forbidden)
        raise UserError(f"{folder} holds a run with other settings: {changes}; undo that or give another --workdir")
    if "train.steps" in differing:
        return [
            f"config.train.steps was {old['train.steps']}, now {new['train.steps']}: the learning rate's decay and the "
            "supervised beginning, which are shares of it, are stretched"
        ]
    return []


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
    checkpoints = Checkpoints(workdir, read_only=True)
    step = selected_step(checkpoints, parts.config.evaluation.selection)
    network, side = parts.network(), parts.config.data.side
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    template = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(lambda key: initialise_variables(network, key, side), jax.random.key(0)),
    )
    return parts, local_copy(checkpoints.restore_model(step, template)), step


def restore_for_evaluation(workdir: Path) -> Restored:
    """Opens a run folder, ready to evaluate its selected checkpoint; errors are those of `restore_variables`."""
    parts, variables, step = restore_variables(workdir)
    return Restored(
        evaluator=make_evaluator(parts, variables),
        data_set=parts.data_set,
        records={"test": parts.split.test, "validation": parts.split.validation},
        step=step,
        threads=parts.config.data.threads,
    )
