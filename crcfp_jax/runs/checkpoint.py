"""Checkpoints of a run, one numbered folder a step; the only part of training that touches Orbax.

A checkpoint holds four items: `model` (parameters and statistics of the model that inference uses), `train` (everything
else a step changes), `data` (the loader's state) and `config` (settings, and check sums of the other items). Inference
reads `model` alone.
"""

import json
import logging
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from crcfp_jax.common.command import silent_threads
from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import check_space, told_by_a_library, user_error_on_write
from crcfp_jax.common.words import one_line
from crcfp_jax.training.parallel import local_copy
from crcfp_jax.training.state import STUDENT, TEACHER, TrainState

# Orbax logs every save and restore in several lines and every fault with a traceback of its own; what a user has to
# know of them is told here and by the training loop.
logging.getLogger("absl").setLevel(logging.CRITICAL)

ITEMS = ("model", "train", "data", "config")


def digest(tree: Any) -> int:
    """CRC-32 over the bytes of every array of a replicated tree, in the tree's order.

    The store below Orbax checks its index but not the arrays themselves: without this, a flipped bit would train on.
    """
    code = 0
    for leaf in jax.tree.leaves(tree):
        array = leaf if isinstance(leaf, np.ndarray) else np.asarray(leaf.addressable_data(0))
        code = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), code)
    return code


def digest_json(values: dict) -> int:
    """CRC-32 of JSON values."""
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


def _split(state: TrainState, inference_stats: Any, model: str) -> dict[str, Any]:
    """A state as the two items that hold its arrays; the parameters of `model` are in the first alone."""
    rest = {name: getattr(state, name) for name in ("step", "batch_stats", "opt_state", "bank", "teacher")}
    if model == TEACHER:
        rest |= {"params": state.params, "teacher": {"batch_stats": state.teacher["batch_stats"]}}
    return {"model": {"params": state.inference(model)["params"], "batch_stats": inference_stats}, "train": rest}


def _join(items: Any, model: str) -> TrainState:
    """The state of the two items that `_split` made."""
    params, train = items["model"]["params"], dict(items["train"])
    if model == TEACHER:
        train["teacher"] = {"params": params, **train["teacher"]}
        params = train.pop("params")
    return TrainState(params=params, **train)


def _score(metrics: Any) -> float:
    """The validation mIoU, in percent, of stored metrics; ValueError where there is none."""
    score = metrics.get("mean_iou") if isinstance(metrics, dict) else None
    if not isinstance(score, int | float) or not 0 <= score <= 100:
        raise ValueError("no mean_iou from 0 to 100")
    return score


def _alone() -> ocp.options.MultiprocessingOptions:
    """What Orbax needs to know so as to wait for no other process."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"reader{index}"
    )


class Checkpoints:
    """The checkpoints under `<workdir>/checkpoints`."""

    def __init__(self, workdir: Path, *, keep: int = 2, model: str = STUDENT, read_only: bool = False):
        """Opens the folder; leftovers of a save that was killed are removed.

        Args:
            workdir: run folder.
            keep: newest checkpoints kept, beside the one with the best validation mIoU.
            model: that inference uses, as `TrainState.inference` names it; to save and restore whole states.
            read_only: for evaluation: the folder is left as it is. A process of several opens and reads it by itself;
                otherwise all of them have to make every call.

        Raises:
            UserError: the folder can't be made, or a stored score can't be read.
        """
        self.folder = workdir.resolve() / "checkpoints"
        self._model = model

        policies = [
            preservation_policy.LatestN(keep),
            preservation_policy.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            best_fn=_score,  # without it Orbax keeps the scores in memory only
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=False,
            create=not read_only,
            read_only=read_only,
            **({"multiprocessing_options": _alone()} if read_only else {}),
        )
        try:
            with user_error_on_write(self.folder):
                self._manager = ocp.CheckpointManager(self.folder, options=options, item_names=ITEMS)
            self._scores()  # now, not when the next checkpoint is saved
        except (ValueError, TypeError, AttributeError) as error:  # Orbax reads every checkpoint's scores
            raise UserError(
                f"{self.folder}: the scores of a checkpoint can't be read ({one_line(error)}): delete the damaged file "
                "STEP/metrics/metrics, the checkpoint then counts as not evaluated"
            ) from error

    def steps(self) -> list[int]:
        """Steps that have a complete checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int:
        """The step with the highest validation mIoU.

        Raises:
            UserError: no checkpoint has been evaluated.
        """
        scores = self._scores()
        if not scores:
            raise UserError(f"{self.folder}: no checkpoint has a validation score to select the best by")
        return max(scores, key=lambda step: (scores[step], step))

    def _scores(self) -> dict[int, float]:
        """Validation mIoU of the steps that were evaluated; ValueError where one can't be read."""
        metrics = {step: self._manager.metrics(step) for step in self.steps()}
        return {step: _score(values) for step, values in metrics.items() if values}

    def save(
        self, state: TrainState, inference_stats: Any, data: dict, config: dict, metrics: dict[str, float] | None = None
    ) -> None:
        """Writes a checkpoint of `state.step`: whole or not at all.

        Args:
            inference_stats: batch statistics for inference (the model's own, or recalibrated ones).
            data: state of the loader, JSON.
            config: settings of the run, JSON.
            metrics: {'mean_iou': ...} on the validation split, where it was just evaluated.

        Raises:
            UserError: the disk is full or the folder can't be written.
        """
        arrays = _split(state, inference_stats, self._model)
        sums = {name: digest(tree) for name, tree in arrays.items()} | {"data": digest_json(data)}
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))
        check_space(self.folder, size, what="a checkpoint", option="--workdir")
        items = ocp.args.Composite(
            model=ocp.args.StandardSave(arrays["model"]),
            train=ocp.args.StandardSave(arrays["train"]),
            data=ocp.args.JsonSave(data),
            config=ocp.args.JsonSave({"config": config, "digest": sums}),
        )
        try:
            with user_error_on_write(self.folder), silent_threads():
                self._manager.save(int(local_copy(state.step)), args=items, metrics=metrics, force=True)
                self._manager.wait_until_finished()
        except (ValueError, RuntimeError) as error:  # TensorStore's
            if (advice := told_by_a_library(str(error))) is None:
                raise
            raise UserError(f"{self.folder}: {advice}; the same command goes on from the last checkpoint") from error

    def restore(self, step: int, template: TrainState) -> tuple[TrainState, dict]:
        """Reads a whole checkpoint onto the devices of `template`, a state of the same shapes.

        Returns:
            The state and the loader's state.

        Raises:
            UserError: the checkpoint is damaged.
        """
        whole = _split(template, template.inference(self._model)["batch_stats"], self._model)
        abstract = jax.tree.map(ocp.tree.to_shape_dtype_struct, whole)
        items = self._read(
            step,
            model=ocp.args.StandardRestore(abstract["model"]),
            train=ocp.args.StandardRestore(abstract["train"]),
            data=ocp.args.JsonRestore(),
            config=ocp.args.JsonRestore(),
        )
        self._check(step, items, ("model", "train", "data"))
        return _join(items, self._model), items["data"]

    def restore_model(self, step: int, template: Any) -> Any:
        """Reads the variables for inference, {'params', 'batch_stats'}, as `template` (shapes and shardings) says.

        Raises:
            UserError: the checkpoint is damaged.
        """
        items = self._read(step, model=ocp.args.StandardRestore(template), config=ocp.args.JsonRestore())
        self._check(step, items, ("model",))
        return items["model"]

    def config(self, step: int) -> dict:
        """Reads the settings that a checkpoint was written with."""
        found = self._read(step, config=ocp.args.JsonRestore())["config"]
        if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
            raise self._damaged(step, "its item 'config' holds no settings")
        return found["config"]

    def _read(self, step: int, **arguments: Any) -> Any:
        try:
            with silent_threads():
                return self._manager.restore(step, args=ocp.args.Composite(**arguments))
        except Exception as error:  # Orbax and TensorStore raise whatever the damaged file led them to
            raise self._damaged(step, str(error)) from error

    def _check(self, step: int, items: Any, names: tuple[str, ...]) -> None:
        stored = items["config"].get("digest") if isinstance(items["config"], dict) else None
        if not isinstance(stored, dict):
            raise self._damaged(step, "its item 'config' holds no check sums")
        for name in names:
            found = digest_json(items[name]) if name == "data" else digest(items[name])
            if found != stored.get(name):
                raise self._damaged(step, f"the check sum of its item {name!r} differs")

    def _damaged(self, step: int, reason: str) -> UserError:
        earlier = [s for s in self.steps() if s < step]
        advice = (
            f"resume from step {earlier[-1]} with --previous_checkpoint, or give another --workdir"
            if earlier
            else "there is no earlier one; give another --workdir"
        )
        return UserError(f"checkpoint {self.folder / str(step)} is damaged ({one_line(reason)}): {advice}")

    def discard_from(self, step: int) -> None:
        """Deletes the checkpoints of `step` and later, so that a run that went back can write them again."""
        for later in [s for s in self.steps() if s >= step]:
            self._manager.delete(later)

    def close(self) -> None:
        """Waits for writes under way and releases the folder."""
        self._manager.close()
