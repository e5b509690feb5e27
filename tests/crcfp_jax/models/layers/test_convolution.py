"""Convolution as matrix products against XLA's convolution: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from replicas import check_shared_kernel

from crcfp_jax.models.layers import convolution
from crcfp_jax.models.layers.convolution import Convolution, convolve, plain_convolution, sum_of_products


def random(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def reference(inputs, kernel, stride=1, dilation=1):
    padding = dilation * (kernel.shape[0] // 2)
    return lax.conv_general_dilated(
        inputs,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


def values_and_gradients(function, inputs, kernel, weights):
    def weighted_sum(inputs, kernel):
        outputs = function(inputs, kernel)
        return (outputs.astype(jnp.float32) * weights).sum(), outputs

    (_, outputs), gradients = jax.jit(jax.value_and_grad(weighted_sum, (0, 1), has_aux=True))(inputs, kernel)
    return outputs, *gradients


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("size", "dilation", "cache"),
    # dilation 3 and 6 leave some kernel positions partly and wholly in the padding; no cache: image by image
    [(1, 1, 2**22), (3, 1, 2**22), (3, 2, 0), (3, 3, 2**22), (3, 6, 2**22)],
)
def test_sum_of_products_is_a_convolution(size, dilation, cache, dtype, monkeypatch):
    monkeypatch.setattr(convolution, "CACHE", cache)
    inputs, kernel = random((2, 5, 7, 4), 0).astype(dtype), random((size, size, 4, 6), 1)
    weights = random((2, 5, 7, 6), 2)
    actual = values_and_gradients(lambda x, w: sum_of_products(x, w, dilation), inputs, kernel, weights)
    expected = values_and_gradients(
        lambda x, w: reference(x, w, dilation=dilation), inputs.astype(jnp.float32), kernel, weights
    )
    assert [x.dtype for x in actual] == [dtype, dtype, jnp.float32]
    tolerance = 1e-5 if dtype == jnp.float32 else 0.01  # of the largest value: bfloat16 keeps 8 bits
    for ours, theirs in zip(actual, expected, strict=True):
        error = np.abs(np.asarray(ours, np.float32) - np.asarray(theirs)).max()
        assert error <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize(("size", "stride", "dilation"), [(7, 2, 1), (3, 2, 1), (1, 2, 1), (1, 1, 1), (3, 1, 2)])
def test_every_backend_computes_the_same(size, stride, dilation, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    inputs, kernel = random((2, 9, 9, 3), 0), random((size, size, 3, 4), 1)
    actual = convolve(inputs, kernel, stride, dilation)
    np.testing.assert_allclose(actual, reference(inputs, kernel, stride, dilation), atol=2e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "channels", "side"),
    [
        (3, 1, "torch", 12, 9),
        (3, 2, "torch", 12, 9),
        (3, 2, "same", 12, 8),
        (7, 2, "torch", 3, 10),
        (5, 2, "same", 9, 9),
    ],
)
def test_gradients_of_any_convolution_on_a_cpu_are_xlas(size, stride, padding, channels, side, dtype):
    inputs = random((2, side, side + 3, channels), 0).astype(dtype)
    kernel = random((size, size, channels, 6), 1)

    def plain(inputs, kernel):
        return plain_convolution(inputs, kernel, stride, 1, padding)

    weights = random(jax.eval_shape(plain, inputs, kernel).shape, 2)
    actual = values_and_gradients(lambda x, w: convolve(x, w, stride, 1, padding), inputs, kernel, weights)
    expected = values_and_gradients(plain, inputs.astype(jnp.float32), kernel, weights)
    assert [x.dtype for x in actual] == [dtype, dtype, jnp.float32]
    tolerance = 1e-5 if dtype == jnp.float32 else 0.01  # as above
    for ours, theirs in zip(actual, expected, strict=True):
        error = np.abs(np.asarray(ours, np.float32) - np.asarray(theirs)).max()
        assert error <= tolerance * np.abs(theirs).max()


def test_streams_go_through_one_convolution():
    layer = Convolution(4, size=3, stride=2, dtype=jnp.bfloat16)
    images = random((2, 3, 8, 8, 5), 0)
    variables = layer.init(jax.random.key(0), images)
    outputs = layer.apply(variables, images)
    assert outputs.shape == (2, 3, 4, 4, 4)
    np.testing.assert_array_equal(outputs[1], layer.apply(variables, images[1]))


def test_products_under_vmap():
    inputs, kernel = random((2, 3, 5, 5, 4), 0), random((3, 3, 4, 6), 1)

    def loss(kernel, apply):
        return jnp.square(apply(kernel)).sum()

    mapped = jax.grad(loss)(kernel, lambda w: jax.vmap(lambda x: sum_of_products(x, w, 2))(inputs))
    merged = jax.grad(loss)(kernel, lambda w: sum_of_products(inputs.reshape(6, 5, 5, 4), w, 2))
    np.testing.assert_allclose(mapped, merged, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [1, 3])
def test_replicas_sum_the_gradient_of_a_shared_kernel(size):
    check_shared_kernel(convolve, random((4, 5, 5, 12), 0), random((size, size, 12, 6), 1))
