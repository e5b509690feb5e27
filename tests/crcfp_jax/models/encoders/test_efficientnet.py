"""EfficientNet-Lite0 against an independent PyTorch form, on its published ImageNet weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from efficientnet_maps import MAPS_PATH, MAPS_SIDE, SOURCE, read_weights, torch_maps
from random_weights import random_images

from crcfp_jax.config import default
from crcfp_jax.models.encoders import efficientnet
from crcfp_jax.models.encoders.pretrained import load_pretrained
from crcfp_jax.models.encoders.registry import choose_pixels
from crcfp_jax.models.network import Network


def settings(source):
    """`config.model` of this encoder with some weights."""
    model = default().model
    model.update(backbone="efficientnet_lite0", pretrained=source)
    return model


@functools.cache
def pretrained(output_stride):
    """The encoder, its variables with the published weights, and the network that it is in."""
    network = Network(2, "efficientnet_lite0", "v3", output_stride, decoder_width=16, projection_dim=0)
    shapes = jax.eval_shape(
        lambda key: network.init(key, jnp.zeros((1, 64, 64, 3)), key[None], method="initialise"), jax.random.key(0)
    )
    variables, notes = load_pretrained(settings(SOURCE), shapes)
    assert notes == [
        f"weights of {SOURCE}: ImageNet-1k; TensorFlow's, by way of EfficientNet-PyTorch; their licence: Apache-2.0"
    ]
    return network, {collection: {"backbone": variables[collection]["backbone"]} for collection in variables}


def check_features(output_stride, images, expected):
    """Compares the encoder's maps with PyTorch's."""
    network, variables = pretrained(output_stride)
    encode = jax.jit(lambda x: network.apply(variables, x, method=lambda m, x: m.backbone_layers(x, train=False)))
    actual = encode(jnp.asarray(images))
    assert set(actual) == set(expected) == {2, 4, 8, 16} - ({16} if output_stride == 8 else set())
    for stride, values in expected.items():
        assert np.abs(values).max() > 1  # of a size that makes 1e-4 mean something
        np.testing.assert_allclose(actual[stride], values, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("output_stride", "side"), [(16, 97), (16, 96), (8, 65)])
def test_features_are_pytorchs_on_the_published_weights(output_stride, side):
    pytest.importorskip("torch")
    images = random_images(7, 2, side)
    check_features(output_stride, images, torch_maps(read_weights(), images, output_stride))


def test_features_are_those_that_pytorch_gave():
    """As above, where there is no PyTorch."""
    with np.load(MAPS_PATH) as stored:
        check_features(16, random_images(7, 1, MAPS_SIDE), {int(stride): values for stride, values in stored.items()})


def test_training_statistics_have_its_epsilon():
    """A channel of variance 0 is divided by the root of 1e-3, not of 1e-5."""
    network, variables = pretrained(16)
    images = jnp.zeros((2, 32, 32, 3))
    encode = functools.partial(
        network.apply, variables, method=lambda m, x: m.backbone_layers(x, train=True),
        mutable=["batch_stats", "intermediates"], capture_intermediates=lambda module, _: module.name == "stem_bn",
    )  # fmt: skip
    _, state = jax.jit(encode)(images)
    normalised = state["intermediates"]["backbone"]["stem_bn"]["__call__"][0][0, 8, 8]
    np.testing.assert_allclose(normalised, variables["params"]["backbone"]["stem_bn"]["bias"], atol=1e-6)
    folded = jax.jit(lambda x: network.apply(variables, x, method=lambda m, x: m.backbone_layers(x, train=False)))(
        images
    )
    assert np.isfinite(folded[16]).all()


def test_both_namings_name_every_tensor_once():
    _, variables = pretrained(16)
    names = set()
    for table in efficientnet.FAMILY.name_tables:
        own = {
            table(collection, tuple(part.key for part in path))
            for collection in ("params", "batch_stats")
            for path, _ in jax.tree_util.tree_leaves_with_path(variables[collection]["backbone"])
        }
        assert len(own) == 48 * 5  # 48 convolutions: a kernel, and four of the normalisation
        names |= own
    assert {"blocks.0.0.conv_dw.weight", "blocks.0.0.bn2.running_var", "blocks.6.0.conv_pwl.weight"} <= names
    assert {
        "_blocks.0._depthwise_conv.weight",
        "_blocks.15._bn2.bias",
        "conv_stem.weight",
        "_bn0.running_mean",
    } <= names


def test_its_pixels_follow_the_weights():
    assert choose_pixels(settings(SOURCE)).mean == (0.498,) * 3
    assert choose_pixels(settings("")).deviation == (0.502,) * 3
    assert choose_pixels(settings("timm/tf_efficientnet_lite0.in1k")).mean == (0.5,) * 3
