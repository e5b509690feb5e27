"""Cross-entropy: by hand, against a loop, and at its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.losses import supervised
from crcfp_jax.losses.reduce import masked_mean

LN = np.log
cross_entropy = jax.jit(supervised.cross_entropy)


@jax.jit
def loss_and_gradient(logits, labels):
    return jax.value_and_grad(lambda x: masked_mean(*cross_entropy(x, labels)))(logits)


def test_two_by_two_by_hand():
    # Odds of 1:3, 1:1, 3:1 and an ignored pixel.
    logits = jnp.array([[[[0, LN(3)], [0, 0]], [[LN(3), 0], [5, -5]]]], jnp.float32)
    labels = jnp.array([[[0, 1], [0, 255]]], jnp.uint8)
    values, mask = cross_entropy(logits, labels)
    np.testing.assert_array_equal(mask, [[[True, True], [True, False]]])
    np.testing.assert_allclose(values[mask], [LN(4), LN(2), LN(4 / 3)], rtol=1e-6)
    assert float(masked_mean(values, mask)) == pytest.approx((LN(4) + LN(2) + LN(4 / 3)) / 3)


def test_against_a_loop():
    rng = np.random.default_rng(0)
    logits = (5 * rng.normal(size=(2, 3, 4, 5))).astype(np.float32)
    labels = rng.choice([0, 1, 2, 3, 4, 255], size=(2, 3, 4)).astype(np.uint8)
    values, mask = map(np.asarray, cross_entropy(logits, labels))
    for place in np.ndindex(labels.shape):
        assert bool(mask[place]) == (labels[place] != 255)
        if labels[place] != 255:
            exponentials = np.exp(logits[place].astype(np.float64))
            assert float(values[place]) == pytest.approx(
                -LN(exponentials[labels[place]] / exponentials.sum()), rel=1e-5, abs=1e-5
            )


def test_limits():
    labels = jnp.zeros((1, 2, 2), jnp.int32)
    for logit, expected in ((200.0, 0.0), (-200.0, 200.0)):
        logits = jnp.zeros((1, 2, 2, 3)).at[..., 0].set(logit)
        values, _ = cross_entropy(logits, labels)
        np.testing.assert_allclose(values, np.full((1, 2, 2), expected + (LN(2) if expected else 0)), atol=1e-4)
    ignored = jnp.full((1, 2, 2), 255, jnp.uint8)
    value, gradient = loss_and_gradient(logits, ignored)
    assert float(value) == 0
    assert not gradient.any()


def test_gradient_is_probability_minus_truth():
    logits = jnp.array([[[[0, LN(3)], [0, 0]]]], jnp.float32)
    labels = jnp.array([[[0, 255]]], jnp.uint8)
    _, gradient = loss_and_gradient(logits, labels)
    np.testing.assert_allclose(gradient, [[[[-0.75, 0.75], [0, 0]]]], atol=1e-6)


@pytest.mark.parametrize("label", [2, 254, -1])
def test_a_label_that_is_no_class_shows(label):
    labels = jnp.array([[[0, label]]], jnp.int32)
    values, mask = cross_entropy(jnp.zeros((1, 1, 2, 2)), labels)
    assert np.isfinite(values[0, 0, 0]) and np.isnan(values[0, 0, 1])
    assert np.isnan(masked_mean(values, mask))
