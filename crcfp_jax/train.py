"""The training loop: feeds the step, watches the loss, and writes what a run leaves behind."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from crcfp_jax import parallel
from crcfp_jax.assemble import Parts, assemble
from crcfp_jax.checkpoint import Checkpoints
from crcfp_jax.evaluate import evaluate
from crcfp_jax.files import write_json_atomic
from crcfp_jax.interruption import Interrupted, stop_requests
from crcfp_jax.models.pretrained import load_pretrained
from crcfp_jax.monitor import Monitor
from crcfp_jax.pictures import Sample, prediction_grid, save_picture
from crcfp_jax.predictor import Recalibration, make_evaluator, recalibration_windows
from crcfp_jax.progress import TrainingProgress, evaluation_progress
from crcfp_jax.report import MetricWriter, versions
from crcfp_jax.run import check_resumable, selected_step, settings
from crcfp_jax.state import TrainState, create_state, initialise_variables
from crcfp_jax.step import make_train_step
from data_pipelines.errors import UserError
from data_pipelines.loaders import TrainingIterator, training_loader
from data_pipelines.records import Record

PICTURES = 4  # samples in a picture of predictions


class Trainer:
    """One run in its folder, from the first step or from its newest checkpoint."""

    def __init__(self, config: ConfigDict, workdir: Path, *, previous_checkpoint: bool = False):
        """Opens or continues the run.

        Args:
            config: all settings.
            workdir: run folder, made where it is missing.
            previous_checkpoint: leave out the newest checkpoint (damaged, say) and go on from the one before.

        Raises:
            UserError: settings, data set or folder can't be used, or belong to another run.
        """
        parallel.check_batch_sizes(config, jax.device_count())
        self.config, self.workdir = config, workdir
        self.mesh = parallel.make_mesh()
        self.parts: Parts = assemble(config)
        self.network = self.parts.network(parallel.AXIS)
        step = make_train_step(self.network, self.parts.method, config, self.parts.optimizer, parallel.AXIS)
        self.step = parallel.parallelise(step, self.mesh, config.train.parallel)
        self.key = parallel.run_key(config.seed, self.mesh)
        self.main_process = jax.process_index() == 0
        self.settings = settings(self.parts)
        self.checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep)
        self.notes: list[str] = []
        self.loader: TrainingIterator = training_loader(
            self.parts.data_set,
            self.parts.split,
            self.parts.loader_options(),
            unlabelled=bool(self.parts.method.streams),
        )
        self.seconds = 0.0  # of training, over all sittings
        self.state = self._start(previous_checkpoint)
        self.recalibration = self._make_recalibration()

    def _start(self, previous_checkpoint: bool) -> TrainState:
        steps = self.checkpoints.steps()
        if previous_checkpoint:
            if len(steps) < 2:
                raise UserError(f"--previous_checkpoint: {self.checkpoints.folder} has no checkpoint before the newest")
            self.checkpoints.discard_from(steps.pop())
        if steps:
            self.notes += check_resumable(self.checkpoints.config(steps[-1]), self.settings, self.workdir)
        pretrained = None
        if self.config.model.pretrained and not steps:
            network, side = self.parts.network(), self.config.data.side
            random = jax.jit(lambda key: initialise_variables(network, key, side))(jax.random.key(self.config.seed))
            pretrained = load_pretrained(self.config.model.pretrained, jax.tree.map(np.asarray, random))
        state = create_state(
            self.parts.network(),
            self.parts.method,
            self.config,
            self.parts.optimizer,
            sharding=parallel.replicated(self.mesh),
            pretrained=pretrained,
        )
        if steps:
            state, data = self.checkpoints.restore(steps[-1], state)
            self.loader.set_state(data["loader"])
            self.seconds = data["seconds"]
            self.notes.append(f"resumed from step {steps[-1]}")
        if self.main_process:
            write_json_atomic(self.workdir / "config.json", self.settings)
        return state

    def _make_recalibration(self) -> Recalibration | None:
        if self.config.model.inference_statistics == "running" or not self.state.batch_stats:
            return None
        split, data = self.parts.split, self.config.data
        windows = recalibration_windows(
            self.parts.data_set,
            split.unlabelled or split.labelled,
            count=self.config.model.recalibration_images,
            side=data.side,
            base_size=data.base_size,
        )
        return Recalibration(self.parts.network(), windows)

    def inference_variables(self) -> dict[str, Any]:
        """Host copy of what inference uses now: parameters, and running or recalibrated statistics."""
        variables = parallel.local_copy(self.state.variables)
        if self.recalibration is not None:
            variables["batch_stats"] = self.recalibration(variables)
        return variables

    def run(self) -> None:
        """Trains to the last step and leaves a checkpoint of it.

        Raises:
            UserError: the loss or a gradient is not finite.
            Interrupted: SIGTERM came.
        """
        total, train, step = self.config.train.steps, self.config.train, int(parallel.local_copy(self.state.step))
        started = time.monotonic() - self.seconds
        writer = MetricWriter(self.workdir, step=step, enabled=self.main_process)
        progress = TrainingProgress(total, step=step, every=train.log_every, enabled=self.main_process)
        monitor = Monitor(
            writer,
            progress,
            class_names=[info.name for info in self.parts.data_set.classes],
            every=train.log_every,
            total=total,
            last_good=self._last_good,
        )
        with writer, progress, stop_requests() as stop_requested:
            for note in self.notes:
                progress.message(note)
            while step < total:
                batch = parallel.global_batch(next(self.loader), self.mesh)
                self.state, metrics = self.step(self.state, batch, self.key)
                step += 1
                monitor.add(step, metrics)
                stop = stop_requested(step)
                evaluated = bool(self.parts.split.validation) and (
                    step % self.config.evaluation.every == 0 or step == total
                )
                if evaluated or stop or step % self.config.checkpoint.every == 0 or step == total:
                    monitor.flush()  # nothing is saved that is not finite
                    self.seconds = time.monotonic() - started
                    self._save(step, writer, progress, evaluated=evaluated)
                if stop:
                    raise Interrupted(
                        f"stopped by SIGTERM after step {step}, which is saved; run the command again to go on"
                    )

    def _last_good(self) -> str:
        saved = self.checkpoints.steps()
        return f"checkpoint {self.checkpoints.folder / str(saved[-1])}" if saved else "no checkpoint yet"

    def _save(self, step: int, writer: MetricWriter, progress: TrainingProgress, *, evaluated: bool) -> None:
        """Writes a checkpoint, evaluated on the validation split first where that is due."""
        variables, scores = self.inference_variables(), None
        if evaluated:
            result, samples = self._evaluate(variables, self.parts.split.validation)
            scores = {"mean_iou": result["mean_iou"]}
            progress.score(result["mean_iou"])
            writer.write(step, {f"validation/{key}": result[key] for key in ("mean_iou", "mean_dice", "accuracy")})
            if self.main_process and step % self.config.train.picture_every == 0:
                picture = prediction_grid(samples, self.parts.data_set.classes)
                save_picture(self.workdir / "pictures" / f"validation_{step:06d}.png", picture)
                writer.write_image(step, "validation", picture)
        stats = jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(parallel.replicated(self.mesh), x),
            variables["batch_stats"],
        )
        data = {"loader": self.loader.get_state(), "seconds": self.seconds}
        self.checkpoints.save(self.state, stats, data, self.settings, scores)

    def _evaluate(
        self, variables: Any, records: Sequence[Record], **options: Any
    ) -> tuple[dict[str, Any], list[Sample]]:
        """Figures and samples for pictures of host variables, over all processes."""
        return evaluate(
            make_evaluator(self.parts, variables),
            self.parts.data_set,
            records,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=self.config.data.threads,
            samples=PICTURES,
            **options,
        )

    def finish(self) -> dict[str, Any] | None:
        """Evaluates the selected checkpoint on the test split; writes result.json and a picture of predictions.

        Returns:
            What result.json holds; None where the data set has no test images.
        """
        if not self.parts.split.test:
            return None
        selection = self.config.evaluation.selection
        step = selected_step(self.checkpoints, selection)
        template = parallel.replicated_template(self.state.variables)
        variables = parallel.local_copy(self.checkpoints.restore_model(step, template))
        with evaluation_progress(len(self.parts.split.test), enabled=self.main_process) as advance:
            figures, samples = self._evaluate(variables, self.parts.split.test, advance=advance)
        result = figures | {
            "selection": selection,
            "step": step,
            "seconds": self.seconds,
            "method": self.config.method,
            "fraction": self.config.fraction,
            "seed": self.config.seed,
            "data": self.config.data.name,
            "versions": versions(),
        }
        if self.main_process:
            save_picture(self.workdir / "pictures" / "test.png", prediction_grid(samples, self.parts.data_set.classes))
            write_json_atomic(self.workdir / "result.json", result)
        return result
