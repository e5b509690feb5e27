"""What is told as a run starts."""

import jax
import pytest
from tiny import num_classes, tiny_config, tiny_state

from crcfp_jax.runs.parts import build_learner
from crcfp_jax.runs.start import _of_frozen


@pytest.mark.parametrize(
    ("method", "encoder", "told"),
    [
        ("crcfp", "frozen", True),
        ("crcfp", "last:1", False),
        ("crcfp", "groups", False),
        ("fixmatch", "frozen", False),  # compares no vectors
    ],
)
def test_a_contrast_that_can_not_shape_a_frozen_encoder_is_told(method, encoder, told):
    config = tiny_config(method=method, optimizer__encoder=encoder)
    state = jax.eval_shape(lambda: tiny_state(config))
    line = f"the encoder is frozen: the contrast of config.method={method} shapes decoder and projector alone"
    assert _of_frozen(build_learner(config, num_classes(config)), state) == ([line] if told else [])
