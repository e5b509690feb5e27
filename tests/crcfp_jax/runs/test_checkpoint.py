"""A state that has been saved goes on as if it had not been."""

import jax
import numpy as np
import pytest
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.common.errors import UserError
from crcfp_jax.runs.checkpoint import Checkpoints
from crcfp_jax.training.step import make_train_step

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_resume_with_frozen_parameters_warm_up_and_clipping(tmp_path, name):
    config = tiny_config(
        method="supervised", optimizer__name=name, optimizer__warmup_steps=4, optimizer__clip=0.5,
        optimizer__groups=(("backbone/.*", 0), ("decoder/.*", 0.5, 0.1), (".*", 1.0)),
    )  # fmt: skip
    network, method, optimizer = tiny_parts(config)
    step = jax.jit(make_train_step(network, method, config, optimizer))
    batches = [tiny_batch(config, seed=number) for number in range(4)]
    state = tiny_state(config)
    for batch in batches[:2]:
        state, _ = step(state, batch, KEY)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, state.batch_stats, {"loader": {}}, {})
    restored, _ = Checkpoints(tmp_path).restore(2, tiny_state(config))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for batch in batches[2:]:
        state, metrics = step(state, batch, KEY)
        restored, _ = step(restored, batch, KEY)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    np.testing.assert_allclose(metrics["learning_rate"], 0.01 * (1 - 3 / 10) ** 0.9, rtol=1e-5)  # the warm-up's last


DAMAGED_SCORES = ('{"mean_io', '{"mean_iot": 50.0}', '{"mean_iou": "50.0"}', '{"mean_iou": NaN}', "7")


def test_a_damaged_score_is_told_when_the_folder_is_opened(tmp_path):
    state = tiny_state(tiny_config(method="supervised"))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, state.batch_stats, {}, {}, {"mean_iou": 50.0})
    checkpoints.close()
    scores = tmp_path / "checkpoints" / "0" / "metrics" / "metrics"
    for text in DAMAGED_SCORES:
        scores.write_text(text)
        for read_only in (True, False):
            with pytest.raises(UserError, match=r"checkpoints: the scores of a checkpoint can't be read .*: delete"):
                Checkpoints(tmp_path, read_only=read_only)
    scores.unlink()  # as the message advises
    assert Checkpoints(tmp_path).steps() == [0]
