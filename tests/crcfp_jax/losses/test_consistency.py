"""Cross-consistency: by hand, against a loop, at its limits; the target carries no gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.losses import consistency
from crcfp_jax.losses.reduce import masked_mean

LN = np.log
squared_error = jax.jit(consistency.squared_error, static_argnums=2)
TARGET = jnp.array([[[[0.75, 0.25], [0.5, 0.5]], [[1.0, 0.0], [0.9, 0.1]]]])
# Probabilities of the one auxiliary classifier: (1/2, 1/2), (3/4, 1/4), (0, 1) and (3/4, 1/4).
LOGITS = jnp.array([[[[[0, 0], [LN(3), 0]], [[-300, 300], [LN(3), 0]]]]], jnp.float32)


@partial(jax.jit, static_argnums=2)
def loss_and_gradients(target, logits, threshold=0.0):
    def loss(target, logits):
        return masked_mean(*consistency.squared_error(target, logits, threshold))

    return jax.value_and_grad(loss, argnums=(0, 1))(target, logits)


def test_two_by_two_by_hand():
    values, mask = squared_error(TARGET, LOGITS)
    np.testing.assert_allclose(values, [[[[0.0625, 0.0625], [1.0, 0.0225]]]], atol=1e-6)
    assert mask.all()
    assert float(masked_mean(values, mask)) == pytest.approx((0.0625 + 0.0625 + 1 + 0.0225) / 4)


def test_threshold_keeps_confident_targets():
    _, mask = squared_error(TARGET, LOGITS, 0.75)  # strictly above: 0.75 itself does not count
    np.testing.assert_array_equal(mask, [[[[False, False], [True, True]]]])
    _, mask = squared_error(TARGET, LOGITS, 1.0)
    assert not mask.any()


def test_against_a_loop():
    rng = np.random.default_rng(2)
    target = rng.dirichlet(np.ones(3), size=(2, 3, 2)).astype(np.float32)
    logits = rng.normal(size=(4, 2, 3, 2, 3)).astype(np.float32)
    values, mask = map(np.asarray, squared_error(target, logits, 0.6))
    for classifier, *place in np.ndindex(values.shape):
        place = tuple(place)
        probabilities = np.exp(logits[(classifier, *place)].astype(np.float64))
        probabilities /= probabilities.sum()
        expected = sum((p - q) ** 2 for p, q in zip(probabilities, target[place], strict=True)) / 3
        assert float(values[(classifier, *place)]) == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert bool(mask[(classifier, *place)]) == (target[place].max() > 0.6)


def test_perfect_worst_and_empty():
    value, (_, gradient) = loss_and_gradients(TARGET, jnp.log(TARGET + 1e-30)[None])
    assert float(value) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(gradient, jnp.zeros_like(gradient), atol=1e-6)
    certain = jnp.array([[[[1.0, 0.0]]]])
    values, _ = squared_error(certain, jnp.array([[[[[-200.0, 200.0]]]]]))
    np.testing.assert_allclose(values, [[[[1.0]]]])
    value, (_, gradient) = loss_and_gradients(TARGET, LOGITS, 1.0)
    assert float(value) == 0 and not gradient.any()


def test_only_the_auxiliary_logits_move():
    _, gradients = loss_and_gradients(TARGET, LOGITS)
    assert not gradients[0].any()
    assert gradients[1].any()
