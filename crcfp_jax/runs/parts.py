"""From settings to the parts of a run: data set, split, method, network, optimiser."""

import dataclasses
import re
from typing import Any

import jax
import optax
from flax.typing import VariableDict
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.pixel_size import PLAUSIBLE
from crcfp_jax.evaluation.evaluator import make_evaluator
from crcfp_jax.evaluation.windows import Evaluator
from crcfp_jax.methods.definition import Method, build_method, check_classes
from crcfp_jax.models.network import Network, build_network
from crcfp_jax.training.optimizer import make_optimizer
from data_pipelines.data_set import DataSet, open_data_set
from data_pipelines.loaders import LoaderOptions
from data_pipelines.scale import network_pixel_size
from data_pipelines.splits import Split, make_split

POSITIVE = (
    "data.side", "data.base_size", "data.threads", "data.prefetch", "model.projection_dim",
    "model.recalibration_images", "contrastive.negatives", "contrastive.temperature", "contrastive.bank_steps",
    "contrastive.chunk", "cross_consistency.classifiers",
    "cdcl.patch", "cdcl.negatives", "optimizer.learning_rate", "train.steps", "train.log_every", "train.picture_every",
    "checkpoint.every", "checkpoint.keep", "evaluation.every", "evaluation.batch_size",
)  # fmt: skip
SHARES = (
    "weights.warmup", "contrastive.threshold", "cross_consistency.threshold", "model.momentum", "cct.ramp_up",
    "cdcl.ramp_up", "cdcl.teacher_decay",
    "augment.jitter_probability", "augment.grey_probability", "augment.blur_probability",
)  # fmt: skip
NOT_NEGATIVE = (
    "model.projection_hidden",
    "seed", "weights.supervised", "weights.contrastive", "weights.cross_consistency", "weights.entropy",
    "augment.brightness", "augment.contrast", "augment.saturation", "augment.hue", "optimizer.head_multiplier",
    "optimizer.momentum", "optimizer.weight_decay", "optimizer.poly_power", "cct.weight", "cdcl.cross_patch",
    "cdcl.teacher_consistency", "cdcl.entropy",
)  # fmt: skip
RANGES = ("data.labelled_scale", "data.unlabelled_scale", "data.overlap")
SELECTIONS = ("last", "best_validation")


@dataclasses.dataclass(frozen=True)
class Learner:
    """What learns: method, network, optimiser. Nothing here has touched a device or a data set yet."""

    config: ConfigDict
    num_classes: int
    method: Method
    optimizer: optax.GradientTransformation

    def network(self, axis_name: str | None = None) -> Network:
        """The network of this method, with batch statistics shared over `axis_name`.

        Heads that no term of the method uses have no parameters.
        """
        network = build_network(self.config.model, self.num_classes, axis_name)
        return network.clone(
            perturbations=self.method.perturbations,
            projection_dim=network.projection_dim if self.method.negatives else 0,
        )


@dataclasses.dataclass(frozen=True)
class Parts(Learner):
    """A learner and the data it learns from."""

    data_set: DataSet
    split: Split
    microns_per_pixel: float  # of a network pixel, at scale 1: in training, evaluation and inference

    def evaluator(self, variables: VariableDict) -> Evaluator:
        """An evaluator of `variables` (host arrays) on this process's devices, as the settings want it."""
        return make_evaluator(
            self.network(),
            variables,
            side=self.config.data.side,
            microns_per_pixel=self.microns_per_pixel,
            batch_size=self.config.evaluation.batch_size,
            num_classes=self.num_classes,
        )

    def loader_options(self) -> LoaderOptions:
        """How this process's training batches are made."""
        data, train = self.config.data, self.config.train
        return LoaderOptions(
            side=data.side,
            microns_per_pixel=self.microns_per_pixel,
            labelled_scale=tuple(data.labelled_scale),
            unlabelled_scale=tuple(data.unlabelled_scale),
            overlap=tuple(data.overlap),
            whole_view_scale=data.whole_view_scale,
            flips=data.flips,
            stride=self.network().context_stride,
            batch_size=train.batch_size,
            unlabelled_batch_size=train.unlabelled_batch_size,
            seed=self.config.seed,
            threads=data.threads,
            prefetch=data.prefetch,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )


def check_values(config: ConfigDict) -> None:
    """Raises UserError for the first value that no run can use, naming its key."""
    for key in POSITIVE:
        if not _get(config, key) > 0:
            raise UserError(f"config.{key}={_get(config, key)} must be greater than 0")
    for key in SHARES:
        if not 0 <= _get(config, key) <= 1:
            raise UserError(f"config.{key}={_get(config, key)} must lie between 0 and 1")
    for key in NOT_NEGATIVE:
        if _get(config, key) < 0:
            raise UserError(f"config.{key}={_get(config, key)} is negative: give 0 or more")
    for key in RANGES:
        values = tuple(_get(config, key))
        if len(values) != 2 or not all(isinstance(value, int | float) for value in values):
            raise UserError(f"config.{key}={values} is not a range: give two numbers, e.g. --config.{key}='(0.5, 1.0)'")
    pixel = config.data.microns_per_pixel
    if pixel and not PLAUSIBLE[0] <= pixel <= PLAUSIBLE[1]:
        raise UserError(
            f"config.data.microns_per_pixel={pixel}: give µm between {PLAUSIBLE[0]:g} and {PLAUSIBLE[1]:g}, or 0 to "
            "let config.data.base_size say it"
        )
    if not config.cross_consistency.perturbations:
        raise UserError("config.cross_consistency.perturbations is empty: name at least one, or set the weight to 0")
    if not config.cct.perturbations or any(count < 1 for count in config.cct.classifiers):
        raise UserError("config.cct.perturbations and config.cct.classifiers: name a kind, and 1 or more of each")
    if not 0.5 < config.cdcl.clear <= 1:
        raise UserError(f"config.cdcl.clear={config.cdcl.clear} must be a share above 0.5: a patch is of one class")
    if not re.fullmatch(r"[1-9]\d*/[1-9]\d*", config.fraction):
        raise UserError(f"config.fraction={config.fraction!r} is not a fraction: write it as 1/8")
    if config.evaluation.selection not in SELECTIONS:
        raise UserError(
            f"config.evaluation.selection={config.evaluation.selection!r} is unknown; known: {', '.join(SELECTIONS)}"
        )


def _get(config: ConfigDict, key: str) -> Any:
    value = config
    for name in key.split("."):
        value = value[name]
    return value


def build_learner(config: ConfigDict, num_classes: int) -> Learner:
    """Builds what the settings describe, for data of `num_classes` classes.

    Raises:
        UserError: a value that can't be used.
    """
    check_values(config)
    check_classes(config.method, num_classes)
    return Learner(config, num_classes, build_method(config), make_optimizer(config))


def assemble(config: ConfigDict) -> Parts:
    """Opens the data set, draws the split, and builds what the settings describe.

    Raises:
        UserError: a value that can't be used, a data set that isn't built, or tiles that need a pixel size.
    """
    check_values(config)
    data_set = open_data_set(config.data.dir, config.data.name)
    learner = build_learner(config, len(data_set.classes))
    split = make_split(
        data_set,
        config.fraction,
        config.seed,
        unit=config.data.split_unit,
        validation=config.evaluation.selection == "best_validation",
    )
    pixel = network_pixel_size(
        data_set, microns_per_pixel=config.data.microns_per_pixel, base_size=config.data.base_size
    )
    return Parts(**vars(learner), data_set=data_set, split=split, microns_per_pixel=pixel)
