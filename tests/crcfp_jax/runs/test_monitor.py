"""What is written of a step's metrics, and what stops a run."""

import jax.numpy as jnp
import pytest

from crcfp_jax.common.errors import UserError
from crcfp_jax.common.files import read_metrics
from crcfp_jax.runs.metric_writer import MetricWriter
from crcfp_jax.runs.monitor import Monitor
from crcfp_jax.runs.progress import TrainingProgress


@pytest.fixture
def monitor(tmp_path):
    """A monitor of five steps that writes every second one to tmp_path."""
    with MetricWriter(tmp_path) as writer:
        yield Monitor(
            writer,
            TrainingProgress(5, enabled=False),
            iter([None, 0.25, 0.5, None]).__next__,
            class_names=("a", "b"),
            every=2,
            total=5,
            last_good=lambda: "checkpoint 3",
        )


def metrics(loss=0.5, finite=1.0, **more):
    values = {"loss/total": loss, "gradient_norm": 2.0, "finite": finite} | more
    return {name: jnp.asarray(value) for name, value in values.items()}


def written_steps(folder):
    return [line["step"] for line in read_metrics(folder / "metrics.jsonl")]


def test_first_last_and_every_second_step_are_written_one_step_late(monitor, tmp_path):
    due = {1: [], 2: [1], 3: [1, 2], 4: [1, 2], 5: [1, 2, 4]}
    for step, before in due.items():
        monitor.add(step, metrics())
        assert written_steps(tmp_path) == before
    monitor.flush()
    monitor.flush()
    assert written_steps(tmp_path) == [1, 2, 4, 5]
    assert read_metrics(tmp_path / "metrics.jsonl")[0] == {"step": 1, "loss/total": 0.5, "gradient_norm": 2.0}
    waited = [line.get("input_wait") for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert waited == [None, 0.25, 0.5, None]


def test_values_by_class_are_named_by_class(monitor, tmp_path):
    monitor.add(2, metrics(pseudo_labels=[0.25, 0.75]))
    monitor.flush()
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert (line["pseudo_labels/a"], line["pseudo_labels/b"]) == (0.25, 0.75)
    assert "pseudo_labels" not in line


def test_a_loss_that_is_not_finite_names_step_terms_and_the_last_good_state(monitor, tmp_path):
    monitor.add(2, metrics(float("nan"), 0.0))
    with pytest.raises(UserError, match=r"step 2: .*total nan, gradient_norm 2\).*checkpoint 3"):
        monitor.flush()
    assert written_steps(tmp_path) == []
