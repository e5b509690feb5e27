"""Pictures and figures of a model in training."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_run import get_config

from crcfp_jax.runs.metric_writer import MetricWriter
from crcfp_jax.runs.parts import assemble
from crcfp_jax.runs.progress import TrainingProgress
from crcfp_jax.runs.validation import Validator
from crcfp_jax.training.state import create_state


@pytest.fixture(scope="module")
def parts(data_dir):
    config = get_config()
    config.data.dir = str(data_dir)
    config.model.inference_statistics = "recalibrated"
    return assemble(config)


def state_of(parts):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return create_state(parts.network(), parts.method, parts.config, parts.optimizer, sharding=sharding)


def variables_of(scorer, state):
    return scorer.inference_variables(state)


def test_where_nothing_is_held_out_labelled_training_images_are_drawn(parts, tmp_path):
    without = dataclasses.replace(parts, split=dataclasses.replace(parts.split, validation=()))
    scorer, state = Validator(without, tmp_path), state_of(without)
    variables = variables_of(scorer, state)
    recalibrated, running = (
        stats["backbone"]["bn1"]["mean"] for stats in (variables["batch_stats"], state.batch_stats)
    )
    assert not np.allclose(recalibrated, running) and recalibrated.sharding == running.sharding
    progress = TrainingProgress(12, enabled=False)
    with MetricWriter(tmp_path) as writer:
        for pictured in (False, True):
            assert scorer.show(6, variables, writer, progress, evaluated=False, pictured=pictured) is None
            assert (tmp_path / "pictures" / "training_000006.png").exists() == pictured


def test_pictures_come_between_evaluations_too(parts, tmp_path):
    scorer = Validator(parts, tmp_path)
    variables = variables_of(scorer, state_of(parts))
    progress = TrainingProgress(12, enabled=False)
    with MetricWriter(tmp_path) as writer:
        assert scorer.show(5, variables, writer, progress, evaluated=False, pictured=True) is None
        scores = scorer.show(8, variables, writer, progress, evaluated=True, pictured=False)
    assert 0 <= scores["mean_iou"] <= 100
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["validation_000005.png"]
