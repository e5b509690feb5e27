"""Classifier, projector and auxiliary classifiers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.models.heads import AuxiliaryClassifiers, Classifier, Projector
from crcfp_jax.models.perturbations.adversarial import vat
from crcfp_jax.models.perturbations.guided import find_objects, guided_cutout
from crcfp_jax.models.perturbations.simple import feature_noise

FEATURES = jnp.asarray(np.random.default_rng(1).random((3, 4, 5, 8), np.float32))
KEYS = jax.random.split(jax.random.key(2), 3)


def test_classifier_is_a_matrix_product_in_float32():
    head = Classifier(4)
    variables = head.init(jax.random.key(0), FEATURES)
    kernel = variables["params"]["logits"]["kernel"]
    assert float(jnp.abs(kernel).max()) <= 1 / np.sqrt(8)
    logits = head.apply(variables, FEATURES.astype(jnp.bfloat16))
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, np.asarray(FEATURES.astype(jnp.bfloat16), np.float32) @ kernel, atol=1e-6)


def test_projector_returns_unit_vectors():
    head = Projector(6)
    variables = head.init(jax.random.key(0), FEATURES)
    assert variables["params"]["hidden"]["kernel"].shape == (8, 6)
    vectors = np.asarray(head.apply(variables, FEATURES))
    hidden = np.maximum(np.asarray(FEATURES) @ variables["params"]["hidden"]["kernel"], 0)
    embedding = hidden @ variables["params"]["embedding"]["kernel"]
    np.testing.assert_allclose(vectors, embedding / np.linalg.norm(embedding, axis=-1, keepdims=True), atol=1e-5)


def test_projector_with_a_hidden_layer_of_its_own_width():
    params = Projector(6, hidden=10).init(jax.random.key(0), FEATURES)["params"]
    assert params["hidden"]["kernel"].shape == (8, 10) and params["embedding"]["kernel"].shape == (10, 6)


def test_projector_of_zero_features_has_a_finite_gradient():
    head = Projector(6, dtype=jnp.bfloat16)
    variables = head.init(jax.random.key(0), FEATURES)
    vectors, gradient = jax.jit(jax.value_and_grad(lambda v: head.apply(v, jnp.zeros((1, 1, 1, 8))).sum()))(variables)
    assert vectors == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


KINDS = ("feature_noise", "guided_cutout", "vat")  # one of each way to perturb
HEAD = AuxiliaryClassifiers(tuple((name, 2) for name in KINDS), num_classes=4)
# Regions of several cells, other ones in every example.
LOGITS = jnp.asarray(np.random.default_rng(2).random((3, 2, 2, 4), np.float32).repeat(2, 1).repeat(3, 2)[:, :, :5])


@pytest.fixture(scope="module")
def params():
    return jax.jit(HEAD.init)(jax.random.key(0), FEATURES, KEYS, LOGITS)["params"]


def auxiliary(params, features):
    return HEAD.apply({"params": params}, features, KEYS[: len(features)], LOGITS[: len(features)])


def plain_auxiliary(params, features):
    """The same, one classifier after another: number p * K + k draws from its own fold of each example's key."""
    logits = []
    for perturbation, name in enumerate(KINDS):
        for classifier in range(2):
            keys = jax.vmap(jax.random.fold_in, (0, None))(KEYS, perturbation * 2 + classifier)
            kernel = params[name]["kernel"][classifier]
            perturbed = []
            for example, key, logit in zip(features, keys, LOGITS, strict=True):
                match name:
                    case "feature_noise":
                        perturbed.append(feature_noise(example, key))
                    case "guided_cutout":
                        perturbed.append(guided_cutout(example, key, find_objects(logit)))
                    case "vat":
                        perturbed.append(vat(example, key, lambda z, kernel=kernel: z @ kernel))
            bias = params[name]["bias"][classifier].reshape(1, 1, 1, 4)
            logits.append(jnp.stack(perturbed) @ kernel + bias)
    return jnp.stack(logits)


def test_auxiliary_values_and_gradients(params):
    weights = jnp.asarray(np.random.default_rng(5).standard_normal((6, 3, 4, 5, 4), np.float32))

    def values_and_gradients(function):
        def weighted_sum(*arguments):
            logits = function(*arguments)
            return (logits * weights).sum(), logits

        (_, logits), gradients = jax.jit(jax.value_and_grad(weighted_sum, (0, 1), has_aux=True))(params, FEATURES)
        return logits, gradients

    actual, expected = values_and_gradients(auxiliary), values_and_gradients(plain_auxiliary)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected)


def test_every_auxiliary_classifier_has_its_own_initial_weights(params):
    kernels = [kernel for group in params.values() for kernel in group["kernel"]]
    assert len({float(kernel[0, 0]) for kernel in kernels}) == 6
    assert max(float(jnp.abs(kernel).max()) for kernel in kernels) <= 1 / np.sqrt(8)


def test_an_example_does_not_depend_on_its_batch(params):
    apply = jax.jit(auxiliary)
    together, alone = apply(params, FEATURES), apply(params, FEATURES[:1])
    np.testing.assert_allclose(alone, together[:, :1], atol=1e-6)
