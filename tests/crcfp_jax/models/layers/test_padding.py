"""Padding: by hand, and against XLA's own reading of TensorFlow's SAME."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from crcfp_jax.models.layers.convolution import Convolution
from crcfp_jax.models.layers.depthwise import DepthwiseConvolution, depthwise_convolve
from crcfp_jax.models.layers.padding import pads


def test_by_hand():
    # 3x3 at stride 2 on 4 rows: windows start at 0 and 2; the last ends one row behind the image, none sees the next
    assert pads(4, size=3, stride=2, dilation=1, padding="same") == (0, 2)
    assert pads(5, size=3, stride=2, dilation=1, padding="same") == (1, 1)
    assert pads(4, size=3, stride=2, dilation=1, padding="torch") == (1, 1)
    assert pads(4, size=5, stride=1, dilation=2, padding="same") == (4, 4)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 12, 9, 4), (1, 7, 8, 4), (1, 1, 2, 4)])
def test_same_as_tensorflow(size, stride, dilation, shape):
    generator = np.random.default_rng(0)
    inputs = jnp.asarray(generator.standard_normal(shape, np.float32))
    kernel = jnp.asarray(generator.standard_normal((size, size, 1, 4), np.float32))
    settings = {"rhs_dilation": (dilation,) * 2, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    expected = lax.conv_general_dilated(inputs, kernel, (stride,) * 2, "SAME", feature_group_count=4, **settings)
    actual = depthwise_convolve(inputs, kernel, stride, dilation, "same")
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_channels_do_not_mix():
    inputs = jnp.zeros((1, 5, 5, 3)).at[0, 2, 2].set(jnp.array([1.0, 2.0, 0.0]))
    kernel = jnp.arange(27.0).reshape(3, 3, 1, 3)
    outputs = depthwise_convolve(inputs, kernel)
    # a convolution of a single pixel shows the kernel turned around
    np.testing.assert_array_equal(outputs[0, 1:4, 1:4, 0], kernel[::-1, ::-1, 0, 0])
    np.testing.assert_array_equal(outputs[0, 1:4, 1:4, 1], 2 * kernel[::-1, ::-1, 0, 1])
    assert not outputs[..., 2].any()


@pytest.mark.parametrize("layer", [Convolution(4, 3, 2, padding="same"), DepthwiseConvolution(5, 2, padding="same")])
def test_one_export_for_every_shape(layer):
    variables = layer.init(jax.random.key(0), jnp.zeros((1, 8, 8, 4)))
    b, h, w = export.symbolic_shape("b, h, w")
    exported = export.export(jax.jit(layer.apply))(variables, jax.ShapeDtypeStruct((b, h, w, 4), jnp.float32))
    for height, width in ((12, 9), (7, 10)):
        inputs = jax.random.normal(jax.random.key(1), (2, height, width, 4))
        np.testing.assert_allclose(exported.call(variables, inputs), layer.apply(variables, inputs), atol=1e-5)


def test_initial_kernel():
    kernel = DepthwiseConvolution(5).init(jax.random.key(0), jnp.zeros((1, 4, 4, 4000)))["params"]["kernel"]
    assert kernel.shape == (5, 5, 1, 4000)
    assert float(kernel.std()) == pytest.approx(np.sqrt(2 / 25), rel=0.02)
