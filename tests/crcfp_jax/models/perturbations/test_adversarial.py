"""Virtual adversarial perturbation: it is the direction that the classifier can least stand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from crcfp_jax.models.perturbations.adversarial import RADIUS, adversarial_direction, vat

RNG = np.random.default_rng(6)
FEATURES = jnp.asarray(RNG.random((5, 6, 8), np.float32))
KERNEL = jnp.asarray(RNG.standard_normal((8, 3)).astype(np.float32))
KEY = jax.random.key(1)


def classify(features):
    return features @ KERNEL


def divergence(added, features=FEATURES):
    """KL(p(z) || p(z + r)) summed over the places, in float64 by NumPy."""

    def probabilities(z):
        logits = np.asarray(z, np.float64) @ np.asarray(KERNEL, np.float64)
        exponentials = np.exp(logits - logits.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    before, after = probabilities(features), probabilities(np.asarray(features, np.float64) + np.asarray(added))
    return float((before * np.log(before / after)).sum())


def test_the_direction_raises_the_divergence_more_than_any_of_many_random_ones():
    direction = np.asarray(adversarial_direction(FEATURES, KEY, classify))
    np.testing.assert_allclose(np.linalg.norm(direction), 1, rtol=1e-5)
    random = RNG.standard_normal((200, *FEATURES.shape))
    random /= np.linalg.norm(random.reshape(200, -1), axis=1).reshape(-1, 1, 1, 1)
    for radius in (0.1, RADIUS):
        assert divergence(radius * direction) > 2 * max(divergence(radius * other) for other in random)


def test_one_iteration_is_the_product_of_hessian_and_direction():
    draw = np.asarray(jax.random.normal(KEY, FEATURES.shape), np.float64)
    draw /= np.linalg.norm(draw)
    logits = np.asarray(FEATURES, np.float64) @ np.asarray(KERNEL, np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    # Of the divergence at r = 0, place by place: W (diag(p) - p p^T) W^T.
    moved = draw @ np.asarray(KERNEL, np.float64)
    product = (p * moved - p * (p * moved).sum(-1, keepdims=True)) @ np.asarray(KERNEL, np.float64).T
    expected = product / np.linalg.norm(product)
    np.testing.assert_allclose(adversarial_direction(FEATURES, KEY, classify), expected, atol=1e-5)


def test_vat_adds_a_vector_of_length_two_without_gradient():
    added = vat(FEATURES, KEY, classify) - FEATURES
    np.testing.assert_allclose(np.linalg.norm(added), 2, rtol=1e-4)
    gradient = jax.grad(lambda z: vat(z, KEY, classify).sum())(FEATURES)
    np.testing.assert_array_equal(gradient, np.ones_like(gradient))
    coarse = FEATURES.astype(jnp.bfloat16)
    np.testing.assert_allclose(np.linalg.norm(vat(coarse, KEY, classify) - coarse), 2, rtol=1e-4)


def test_a_classifier_that_sees_nothing_has_no_direction():
    nothing = functools.partial(jnp.matmul, b=jnp.zeros((8, 3)))
    np.testing.assert_array_equal(vat(FEATURES, KEY, nothing), FEATURES)
