"""Entropy in nats: by hand, against a loop, and at its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.losses import entropy
from crcfp_jax.losses.reduce import masked_mean

LN = np.log
pixel_entropy = jax.jit(entropy.pixel_entropy)


def test_two_by_two_by_hand():
    # Probabilities (1/4, 3/4), (1/2, 1/2), (1, 0) and (4/5, 1/5).
    logits = jnp.array([[[[0, LN(3)], [7, 7]], [[500, -500], [LN(4), 0]]]], jnp.float32)
    values, mask = pixel_entropy(logits)
    expected = [[[LN(4) / 4 + 0.75 * LN(4 / 3), LN(2)], [0, 0.8 * LN(5 / 4) + 0.2 * LN(5)]]]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert mask.shape == values.shape and mask.all()


def test_against_a_loop_over_stacked_views():
    logits = np.random.default_rng(1).normal(size=(2, 1, 3, 2, 4)).astype(np.float32)
    values, mask = map(np.asarray, pixel_entropy(logits))
    assert mask.shape == (2, 1, 3, 2)
    for place in np.ndindex(mask.shape):
        probabilities = np.exp(logits[place].astype(np.float64))
        probabilities /= probabilities.sum()
        assert float(values[place]) == pytest.approx(-sum(p * LN(p) for p in probabilities), rel=1e-5)


def test_limits_and_gradient():
    @jax.jit
    @jax.value_and_grad
    def loss(logits):
        return masked_mean(*pixel_entropy(logits))

    for classes in (2, 5):
        value, gradient = loss(jnp.zeros((1, 2, 2, classes)))
        assert float(value) == pytest.approx(LN(classes))  # the greatest entropy there is
        np.testing.assert_allclose(gradient, np.zeros((1, 2, 2, classes)), atol=1e-7)
    value, gradient = loss(jnp.array([[[[1000.0, 0.0, -1000.0]]]]))
    assert float(value) == 0 and np.isfinite(gradient).all()
    # dH/dx = -p (log p + H): at p = (1/4, 3/4) that is -+ 3/16 ln 3.
    _, gradient = loss(jnp.array([[[[0, LN(3)]]]], jnp.float32))
    np.testing.assert_allclose(gradient[0, 0, 0], [3 / 16 * LN(3), -3 / 16 * LN(3)], rtol=1e-5)
