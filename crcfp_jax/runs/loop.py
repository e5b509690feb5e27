"""The training loop: feeds the step, watches the loss, and writes what a run leaves behind."""

import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from crcfp_jax.common.files import write_json_atomic
from crcfp_jax.common.progress import progress_bar
from crcfp_jax.doctor.folder import write_report
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.runs.host_memory import KeptMemory
from crcfp_jax.runs.input_wait import InputWait
from crcfp_jax.runs.interruption import Interrupted, stop_requests
from crcfp_jax.runs.metric_writer import MetricWriter
from crcfp_jax.runs.monitor import Monitor
from crcfp_jax.runs.parts import Parts, assemble
from crcfp_jax.runs.precision import settle_dtype
from crcfp_jax.runs.progress import TrainingProgress
from crcfp_jax.runs.restore import selected_step
from crcfp_jax.runs.settings import keep_pixels, settings
from crcfp_jax.runs.start import start_run
from crcfp_jax.runs.validation import Validator
from crcfp_jax.runs.versions import versions
from crcfp_jax.training import parallel
from crcfp_jax.training.step import make_train_step
from data_pipelines.loaders import TrainingIterator, training_loader


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
        config, told = settle_dtype(keep_pixels(config, workdir), workdir)
        self.config, self.workdir = config, workdir
        self.parts: Parts = assemble(config)
        with_unlabelled = bool(self.parts.method.sources)
        parallel.check_batch_sizes(config, jax.device_count(), with_unlabelled=with_unlabelled)
        self.mesh = parallel.make_mesh()
        self.network = self.parts.network(parallel.AXIS)
        step = make_train_step(self.network, self.parts.method, config, self.parts.optimizer, parallel.AXIS)
        self.step = parallel.parallelise(step, self.mesh, config.train.parallel)
        self.key = parallel.run_key(config.seed, self.mesh)
        self.main_process = jax.process_index() == 0
        self.settings = settings(self.parts)
        self.checkpoints = Checkpoints(workdir, keep=config.checkpoint.keep, model=self.parts.inference_model)
        self.validator = Validator(self.parts, workdir)
        self.loader: TrainingIterator = training_loader(
            self.parts.data_set,
            self.parts.split,
            self.parts.loader_options(),
            sources=self.parts.method.sources,
            sampling=self.parts.sampling(),
        )
        start = start_run(self.parts, workdir, self.checkpoints, self.mesh, previous_checkpoint=previous_checkpoint)
        self.state, self.notes = start.state, [*told, *start.notes]
        self.seconds = start.seconds  # of training, over all sittings
        if start.loader_state is not None:
            self.loader.set_state(start.loader_state)

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
        first, input_wait = step + 1, InputWait()
        monitor = Monitor(
            writer,
            progress,
            input_wait.share,
            class_names=[info.name for info in self.parts.data_set.classes],
            every=train.log_every,
            total=total,
            last_good=self._last_good,
        )
        memory = KeptMemory()
        with writer, progress, stop_requests() as stop_requested:
            for note in self.notes:
                progress.message(note)
            while step < total:
                local = input_wait.take(self.loader)
                batch = parallel.global_batch({key: local[key] for key in self.parts.method.inputs}, self.mesh)
                self.state, metrics = self.step(self.state, batch, self.key)
                step += 1
                input_wait.started(metrics)
                monitor.add(step, metrics)
                memory.trim_if_grown()
                stop = stop_requested(step)
                evaluated = bool(self.parts.split.validation) and _due(step, self.config.evaluation.every, total)
                pictured = step % train.picture_every == 0
                saved = evaluated or stop or _due(step, self.config.checkpoint.every, total)
                if pictured or saved or step == first:
                    input_wait.pause()
                if pictured or saved:
                    monitor.flush()  # nothing is saved that is not finite
                    self.seconds = time.monotonic() - started
                    variables = self.validator.inference_variables(self.state)
                    scores = self.validator.show(
                        step, variables, writer, progress, evaluated=evaluated, pictured=pictured
                    )
                    if saved:
                        data = {"loader": self.loader.get_state(), "seconds": self.seconds}
                        self.checkpoints.save(self.state, variables["batch_stats"], data, self.settings, scores)
                if stop:
                    raise Interrupted(
                        f"stopped by SIGTERM after step {step}, which is saved; run the command again to go on"
                    )

    def _last_good(self) -> str:
        saved = self.checkpoints.steps()
        return f"checkpoint {self.checkpoints.folder / str(saved[-1])}" if saved else "no checkpoint yet"

    def finish(self) -> dict[str, Any] | None:
        """Evaluates and examines the run; writes result.json, a picture of predictions and report.md.

        Returns:
            What result.json holds; None where the data set has no test images.
        """
        result = self._evaluate() if self.parts.split.test else None
        if self.main_process:
            diagnosis = write_report(self.workdir, [info.name for info in self.parts.data_set.classes])
            for warning in diagnosis.warnings:
                print(f"warning: {warning}")
        return result

    def _evaluate(self) -> dict[str, Any]:
        """Evaluates the selected checkpoint on the test split, as result.json tells it."""
        selection = self.config.evaluation.selection
        step = selected_step(self.checkpoints, selection)
        template = parallel.replicated_template(self.state.variables)
        variables = self.checkpoints.restore_model(step, template)
        with progress_bar("evaluating", len(self.parts.split.test), enabled=self.main_process) as advance:
            figures, samples = self.validator.evaluate(variables, self.parts.split.test, advance=advance)
        result = figures | {
            "selection": selection,
            "step": step,
            "seconds": self.seconds,
            "method": self.config.method,
            "fraction": self.config.fraction,
            "seed": self.config.seed,
            "data": self.config.data.name,
            "split_unit": self.config.data.split_unit,
            "versions": versions(),
        }
        if self.main_process:
            self.validator.save_picture(samples, "test")
            write_json_atomic(self.workdir / "result.json", result)
        return result


def _due(step: int, every: int, total: int) -> bool:
    """Whether something that comes every so many steps, and at the end, comes now."""
    return step % every == 0 or step == total
