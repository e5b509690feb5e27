"""Depthwise convolution as sums of shifted images against XLA's grouped convolution: values, gradients, any shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from replicas import check_shared_kernel

from crcfp_jax.models.layers.convolution import Convolution, convolve
from crcfp_jax.models.layers.depthwise import DepthwiseConvolution, depthwise_convolve


def random(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def reference(inputs, kernel, stride=1, dilation=1, padding="same"):
    reach = dilation * (kernel.shape[0] - 1)
    return lax.conv_general_dilated(
        inputs,
        kernel,
        (stride, stride),
        "SAME" if padding == "same" else [(reach // 2, reach // 2)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=inputs.shape[-1] // kernel.shape[2],
        precision="highest",
    )


CASES = [(3, 1, 1), (3, 2, 1), (5, 2, 1), (5, 1, 2), (3, 1, 4), (1, 2, 1)]  # size, stride, dilation


@pytest.mark.parametrize("padding", ["same", "torch"])
@pytest.mark.parametrize(("size", "stride", "dilation"), CASES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients_are_those_of_a_grouped_convolution(size, stride, dilation, padding, dtype):
    inputs, kernel = random((2, 6, 9, 4), 0).astype(dtype), random((size, size, 1, 4), 1)

    def both(function, inputs):
        def loss(inputs, kernel):
            outputs = function(inputs, kernel, stride, dilation, padding)
            return jnp.square(outputs.astype(jnp.float32)).sum(), outputs

        (_, outputs), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(inputs, kernel)
        return outputs, *gradients

    actual, expected = both(depthwise_convolve, inputs), both(reference, inputs.astype(jnp.float32))
    assert [x.dtype for x in actual] == [dtype, dtype, jnp.float32]
    tolerance = 1e-5 if dtype == jnp.float32 else 0.02  # of the largest value: bfloat16 keeps 8 bits
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(np.asarray(ours, np.float32) - np.asarray(theirs)).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(("size", "stride", "dilation"), [(3, 2, 1), (7, 2, 1), (1, 2, 1), (3, 1, 2)])
def test_a_full_convolution_pads_the_same(size, stride, dilation, side):
    inputs, kernel = random((2, side, side, 3), 0), random((size, size, 3, 4), 1)
    expected = reference(inputs, kernel, stride, dilation)
    np.testing.assert_allclose(convolve(inputs, kernel, stride, dilation, "same"), expected, atol=2e-5)


@pytest.mark.parametrize("layer", [DepthwiseConvolution, Convolution])
def test_exported_for_any_shape(layer):
    """Two layers of stride 2, so that the second one's size is a symbolic expression, whose parity is unknown."""
    settings = {"size": 5, "stride": 2, "padding": "same"} | ({"features": 4} if layer is Convolution else {})
    first, second = layer(**settings), layer(**settings)
    variables = [
        module.init(jax.random.key(seed), random((1, 8, 8, 4), 0)) for seed, module in enumerate((first, second))
    ]

    def function(images):
        return second.apply(variables[1], first.apply(variables[0], images))

    b, h, w = export.symbolic_shape("b, h, w")
    exported = export.export(jax.jit(function), platforms=("cpu", "cuda", "tpu"))(
        jax.ShapeDtypeStruct((b, h, w, 4), jnp.float32)
    )
    for shape in ((1, 13, 16, 4), (2, 14, 15, 4)):
        images = random(shape, 3)
        np.testing.assert_allclose(jax.jit(exported.call)(images), function(images), atol=1e-5)


def test_streams_go_through_one_convolution():
    layer = DepthwiseConvolution(size=3, stride=2, dtype=jnp.bfloat16)
    images = random((2, 3, 8, 8, 5), 0)
    variables = layer.init(jax.random.key(0), images)
    outputs = layer.apply(variables, images)
    assert outputs.shape == (2, 3, 4, 4, 5)
    np.testing.assert_array_equal(outputs[1], layer.apply(variables, images[1]))


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_every_backend_computes_the_same(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    inputs, kernel = random((2, 9, 9, 3), 0), random((5, 5, 1, 3), 1)
    np.testing.assert_allclose(
        depthwise_convolve(inputs, kernel, 2, 1, "same"), reference(inputs, kernel, 2), atol=2e-5
    )


def test_replicas_sum_the_gradient_of_a_shared_kernel():
    check_shared_kernel(depthwise_convolve, random((4, 5, 5, 4), 0), random((3, 3, 1, 4), 1))
