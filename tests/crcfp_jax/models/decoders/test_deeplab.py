"""DeepLab decoders and bilinear resizing. Their values are proven against PyTorch in test_network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.models.decoders.deeplab import Decoder, SpatialPyramidPooling
from crcfp_jax.models.layers.normalisation import Normalisation
from crcfp_jax.models.layers.resize import resize_bilinear


def test_resize_uses_half_pixel_centres():
    column = jnp.array([0.0, 1.0]).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(resize_bilinear(column, 4, 1).ravel(), [0, 0.25, 0.75, 1], atol=1e-7)
    row = jnp.array([0.0, 3.0, 6.0]).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(resize_bilinear(row, 1, 5).ravel(), [0, 1.2, 3, 4.8, 6], atol=1e-6)


def test_resize_never_leaves_the_range_of_its_input():
    image = jax.random.uniform(jax.random.key(0), (1, 3, 3, 2))
    resized = resize_bilinear(image, 11, 11)
    assert resized.min() >= image.min() - 1e-6
    assert resized.max() <= image.max() + 1e-6


@pytest.mark.parametrize(
    ("decoder", "output_stride", "side", "layers"),
    [("v3", 8, 5, {"pyramid", "refine"}), ("v3plus", 16, 17, {"pyramid", "low_level", "fuse", "refine"})],
)
def test_decoder_layers_and_size(decoder, output_stride, side, layers):
    network = Decoder(decoder, output_stride, Normalisation())
    low, high = jnp.zeros((2, 17, 17, 256)), jnp.zeros((2, 5, 5, 2048))
    output, variables = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), low, high, train=False))
    assert output.shape == (2, side, side, 256)
    assert set(variables["params"]) == layers


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36))])
def test_rates_follow_the_output_stride(output_stride, rates):
    pyramid = SpatialPyramidPooling(4, output_stride, Normalisation())
    variables = jax.eval_shape(lambda: pyramid.init(jax.random.key(0), jnp.zeros((1, 5, 5, 8)), train=False))
    assert {name for name in variables["params"] if "atrous" in name} == {f"atrous_{rate}" for rate in rates}


def test_image_pooling_sees_the_whole_image():
    pyramid = SpatialPyramidPooling(4, 16, Normalisation())
    image = jnp.zeros((1, 9, 9, 8))
    variables = pyramid.init(jax.random.key(0), image, train=False)
    # Only the image-pooling branch reaches from one corner to the opposite one: 8 is no multiple of a rate.
    params = dict(variables["params"])
    for name in params:
        if name not in ("image_pooling", "project"):
            params[name] = jax.tree.map(jnp.zeros_like, params[name])
    apply = jax.jit(lambda x: pyramid.apply({**variables, "params": params}, x, train=False))
    change = apply(image.at[0, 0, 0, :].set(81.0)) - apply(image)
    # The corner's 81 over 9 x 9 pixels is a mean of 1 in every channel.
    one = np.full(8, 1 / np.sqrt(1 + 1e-5))
    pooled = np.maximum(one @ np.asarray(params["image_pooling"]["conv"]["kernel"][0, 0]), 0)
    project = np.asarray(params["project"]["conv"]["kernel"][0, 0, 16:])
    expected = np.maximum(pooled @ project, 0)
    np.testing.assert_allclose(change, np.broadcast_to(expected, change.shape), rtol=1e-4, atol=1e-6)
