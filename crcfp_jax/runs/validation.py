"""What a model in training would do at inference: its variables, its figures, pictures of its predictions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.typing import VariableDict

from crcfp_jax.common.drawing import save_picture
from crcfp_jax.common.spacing import evenly_spaced
from crcfp_jax.common.words import METRICS
from crcfp_jax.evaluation.pictures import Sample, prediction_grid
from crcfp_jax.evaluation.recalibration import Recalibration, recalibration_windows
from crcfp_jax.evaluation.scoring import evaluate
from crcfp_jax.runs.metric_writer import MetricWriter
from crcfp_jax.runs.parts import Parts
from crcfp_jax.runs.progress import TrainingProgress
from crcfp_jax.training import parallel
from crcfp_jax.training.state import TrainState
from data_pipelines.data_set import Record

PICTURES = 4  # samples in a picture of predictions


class Validator:
    """Evaluates the states of one run, over all its processes: each of them has to make every call."""

    def __init__(self, parts: Parts, workdir: Path):
        self._parts, self._workdir = parts, workdir
        self._recalibration: Recalibration | None = None
        if parts.config.model.inference_statistics == "recalibrated" and parts.config.model.normalisation == "batch":
            windows = recalibration_windows(
                parts.data_set,
                parts.split.unlabelled or parts.split.labelled,
                count=parts.config.model.recalibration_images,
                side=parts.config.data.side,
                microns_per_pixel=parts.microns_per_pixel,
            )
            self._recalibration = Recalibration(parts.network(), windows)

    def inference_variables(self, state: TrainState) -> VariableDict:
        """The variables that inference uses, the student's or the teacher's, placed as the state's own.

        Their batch statistics are the running ones, or recalibrated ones.
        """
        variables = state.inference(self._parts.inference_model)
        if self._recalibration is None:
            return variables
        stats = jax.tree.map(
            lambda own, new: jax.make_array_from_process_local_data(own.sharding, new),
            variables["batch_stats"],
            self._recalibration(parallel.local_copy(variables)),
        )
        return variables | {"batch_stats": stats}

    def evaluate(
        self, variables: Any, records: Sequence[Record], **options: Any
    ) -> tuple[dict[str, Any], list[Sample]]:
        """Figures and samples for pictures of replicated variables; `options` as of `scoring.evaluate`."""
        return evaluate(
            self._parts.evaluator(parallel.local_copy(variables)),
            self._parts.data_set,
            records,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=self._parts.config.data.threads,
            samples=PICTURES,
            **options,
        )

    def show(
        self,
        step: int,
        variables: Any,
        writer: MetricWriter,
        progress: TrainingProgress,
        *,
        evaluated: bool,
        pictured: bool,
    ) -> dict[str, float] | None:
        """Scores the validation split and draws predictions, where they are due; returns the scores.

        The pictures are of validation images, or of labelled training images where nothing is held out.
        """
        split, scores = self._parts.split, None
        if evaluated:
            result, samples = self.evaluate(variables, split.validation)
            scores = {"mean_iou": result["mean_iou"]}
            progress.score(result["mean_iou"])
            writer.write(step, {f"validation/{key}": result[key] for key in METRICS})
        elif pictured:
            records = [record for record in split.validation or split.labelled if record.annotated]
            count = PICTURES * jax.process_count()  # every process evaluates its share; the first draws its own
            _, samples = self.evaluate(variables, [records[place] for place in evenly_spaced(len(records), count)])
        if pictured and jax.process_index() == 0:
            name = "validation" if split.validation else "training"
            picture = self.save_picture(samples, f"{name}_{step:06d}")
            writer.write_image(step, name, picture)
        return scores

    def save_picture(self, samples: Sequence[Sample], name: str) -> np.ndarray:
        """Draws samples into pictures/<name>.png of the run folder; returns the picture, uint8 [h, w, 3]."""
        picture = prediction_grid(samples, self._parts.data_set.classes)
        save_picture(self._workdir / "pictures" / f"{name}.png", picture)
        return picture
