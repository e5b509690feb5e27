"""From settings to the parts of a run: data set, split, method, network, optimiser."""

import dataclasses
import functools

import jax
import numpy as np
import optax
from flax.typing import VariableDict
from ml_collections import ConfigDict

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import check_values
from crcfp_jax.evaluation.evaluator import make_evaluator
from crcfp_jax.evaluation.windows import Evaluator
from crcfp_jax.methods.perturbations import auxiliary_classifiers
from crcfp_jax.methods.systems.definition import Method
from crcfp_jax.methods.systems.registry import check_classes, find_method
from crcfp_jax.models.encoders.registry import check_side, find_preset
from crcfp_jax.models.network import Network, build_network
from crcfp_jax.training.optimizer import make_optimizer
from crcfp_jax.training.state import STUDENT, TEACHER
from data_pipelines.data_set import DataSet, open_data_set
from data_pipelines.examples import LoaderOptions
from data_pipelines.sampling import ClassSampling, count_pixels
from data_pipelines.scale import network_pixel_size
from data_pipelines.splits import Split, make_split


@dataclasses.dataclass(frozen=True)
class Learner:
    """What learns: method, network, optimiser. Nothing here has touched a device or a data set yet."""

    config: ConfigDict
    num_classes: int
    method: Method
    optimizer: optax.GradientTransformation

    @property
    def inference_model(self) -> str:
        """What is validated, evaluated and exported: 'student' or 'teacher'."""
        chosen = self.config.evaluation.model
        return self.method.inference if chosen == "method" else chosen

    def network(self, axis_name: str | None = None) -> Network:
        """The network of this method, with batch statistics shared over `axis_name`.

        Heads that no term of the method uses have no parameters.
        """
        network = build_network(self.config.model, self.num_classes, axis_name)
        return network.clone(
            perturbations=auxiliary_classifiers(self.method, self.config),
            projection_dim=network.projection_dim if self.method.needing("projector") else 0,
        )


@dataclasses.dataclass(frozen=True)
class Parts(Learner):
    """A learner and the data it learns from."""

    data_set: DataSet
    split: Split
    microns_per_pixel: float  # of a network pixel, at scale 1: in training, evaluation and inference

    @functools.cached_property
    def labelled_pixels(self) -> np.ndarray:
        """Stored pixels of each class in each labelled tile, int64 [tiles, classes]; decodes their labels, once."""
        return count_pixels(self.data_set, self.split.labelled, threads=self.config.data.threads)

    @functools.cached_property
    def labelled_mm2(self) -> np.ndarray:
        """Area of each class in each labelled tile, mm², float64 [tiles, classes]."""
        sides = np.array([record.microns_per_pixel for record in self.split.labelled]) / 1000
        return self.labelled_pixels * (sides**2)[:, None]

    def sampling(self) -> ClassSampling | None:
        """What labelled crops are drawn by, as `config.data.sampling` has it; None: tiles, in turn.

        Raises:
            UserError: nothing is annotated.
        """
        if self.config.data.sampling == "tiles":
            return None
        if not self.labelled_pixels.any():
            raise UserError(f"no labelled tile of data set {self.data_set.name} has an annotated pixel: build it again")
        return ClassSampling(self.labelled_mm2)

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


def build_learner(config: ConfigDict, num_classes: int) -> Learner:
    """Builds what the settings describe, for data of `num_classes` classes.

    Raises:
        UserError: a value that can't be used.
    """
    check_values(config)
    method = find_method(config.method)
    check_classes(method, num_classes)
    auxiliary_classifiers(method, config)
    check_side(config.model, config.data.side)
    if config.evaluation.model == TEACHER and not method.teacher_decay:
        raise UserError(
            f"config.evaluation.model={TEACHER!r}: config.method={method.name!r} has no teacher; use {STUDENT!r}"
        )
    return Learner(config, num_classes, method, make_optimizer(config))


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
        folds=config.data.folds,
        fold=config.data.fold,
    )
    pixel = network_pixel_size(
        data_set, microns_per_pixel=config.data.microns_per_pixel, base_size=config.data.base_size
    )
    if config.model.preset and not config.data.microns_per_pixel:
        pixel = find_preset(config.model.preset)[1].nearest_pixel_size(pixel)
    return Parts(**vars(learner), data_set=data_set, split=split, microns_per_pixel=pixel)
