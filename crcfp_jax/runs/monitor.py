"""Looks at what every training step reports."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from crcfp_jax.common.errors import UserError
from crcfp_jax.runs.metric_writer import MetricWriter
from crcfp_jax.runs.progress import TrainingProgress


class Monitor:
    """Stops a run whose loss is not a finite number; writes and shows the metrics of the others now and then.

    Metrics are fetched one step late, so that the device is busy with the next step while the host reads.
    """

    def __init__(
        self,
        writer: MetricWriter,
        progress: TrainingProgress,
        input_share: Callable[[], float | None],
        *,
        class_names: Sequence[str],
        every: int,
        total: int,
        last_good: Callable[[], str],
    ):
        """Args:
        input_share: the share of time since the last line that the devices waited for input, or None; `input_wait`.
        class_names: of the entries of metrics that have one a class.
        every: steps between lines that are written.
        total: steps of the run; its first and last are always written.
        last_good: says where the last good state is.
        """
        self._writer, self._progress, self._input_share = writer, progress, input_share
        self._class_names, self._every, self._total, self._last_good = class_names, every, total, last_good
        self._waiting: tuple[int, Any] | None = None

    def add(self, step: int, metrics: Any) -> None:
        """Takes the metrics of the step just started, and reports those of the one before."""
        self.flush()
        self._waiting = (step, metrics)

    def flush(self) -> None:
        """Reports what has not been reported yet.

        Raises:
            UserError: the loss or a gradient is not finite.
        """
        if self._waiting is None:
            return
        (step, metrics), self._waiting = self._waiting, None
        values = jax.device_get(metrics)
        losses = {name.removeprefix("loss/"): value for name, value in values.items() if name.startswith("loss/")}
        if not values.pop("finite"):
            terms = ", ".join(f"{name} {float(value):.4g}" for name, value in losses.items())
            raise UserError(
                f"step {step}: loss or gradient is not finite ({terms}, gradient_norm {values['gradient_norm']:.4g}); "
                f"last good state: {self._last_good()}; try a lower config.optimizer.learning_rate"
            )
        if step % self._every and step not in (1, self._total):
            self._progress.update(step)
            return
        share = self._input_share()
        waited = {} if share is None else {"input_wait": share}
        self._writer.write(step, dict(self._named(values)) | waited)
        self._progress.update(step, losses)

    def _named(self, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """The metrics as scalars: one that holds a value a class becomes `<metric>/<class>` for each."""
        for name, value in values.items():
            if value.ndim:
                for label, share in zip(self._class_names, value, strict=True):
                    yield f"{name}/{label}", share
            else:
                yield name, value
