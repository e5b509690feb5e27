"""EfficientNet-Lite0 against an independent PyTorch form, on its published ImageNet weights."""

import functools
import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_images

from crcfp_jax.config import default
from crcfp_jax.models.encoders import efficientnet
from crcfp_jax.models.encoders.pretrained import load_pretrained
from crcfp_jax.models.encoders.registry import choose_pixels
from crcfp_jax.models.network import Network

SOURCE = "package:efficientnet_lite0"
# Kernel, stride, expansion, channels in, channels out: all 16 blocks, written out.
BLOCKS = (
    (3, 1, 1, 32, 16), (3, 2, 6, 16, 24), (3, 1, 6, 24, 24), (5, 2, 6, 24, 40), (5, 1, 6, 40, 40), (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80), (3, 1, 6, 80, 80), (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (3, 1, 6, 192, 320),
)  # fmt: skip


@pytest.fixture(scope="module")
def weights():
    """The published tensors, as PyTorch reads them."""
    torch = pytest.importorskip("torch")
    package = efficientnet.FAMILY.published[SOURCE].package
    path = importlib.metadata.distribution(package.distribution).locate_file(package.path)
    return torch.load(path, map_location="cpu", weights_only=True)


def torch_maps(weights, images, output_stride):
    """Feature maps by stride, channels last; strides beyond the output's become dilations of what follows."""
    import torch.nn.functional as F
    from torch import from_numpy

    def conv(x, name, stride=1, dilation=1, groups=1):
        kernel = weights[f"{name}.weight"]
        padding = []
        for length in (x.shape[3], x.shape[2]):  # TensorFlow's SAME, of the width first
            reach = dilation * (kernel.shape[2] - 1) + 1
            total = max((-(-length // stride) - 1) * stride + reach - length, 0)
            padding += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, padding), kernel, None, stride, 0, dilation, groups)

    def norm(x, name):
        mean, var, scale, bias = (
            weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, bias, False, 0.0, 1e-3)

    x = from_numpy(np.asarray(images)).permute(0, 3, 1, 2)
    x = F.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
    reached, dilation, maps = 2, 1, {}
    for number, (_, stride, expansion, channels_in, channels_out) in enumerate(BLOCKS):
        next_dilation = dilation
        if reached * stride > output_stride:
            next_dilation, stride = dilation * stride, 1
        reached *= stride
        block, y = f"_blocks.{number}", x
        if expansion > 1:
            y = F.relu6(norm(conv(y, f"{block}._expand_conv"), f"{block}._bn0"))
        y = conv(y, f"{block}._depthwise_conv", stride, dilation, y.shape[1])
        y = norm(conv(F.relu6(norm(y, f"{block}._bn1")), f"{block}._project_conv"), f"{block}._bn2")
        x = x + y if stride == 1 and channels_in == channels_out else y
        maps[reached], dilation = x, next_dilation
    return {stride: values.permute(0, 2, 3, 1).numpy() for stride, values in maps.items()}


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
    assert notes == []
    return network, {collection: {"backbone": variables[collection]["backbone"]} for collection in variables}


@pytest.mark.parametrize(("output_stride", "side"), [(16, 97), (16, 96), (8, 65)])
def test_features_are_pytorchs_on_the_published_weights(weights, output_stride, side):
    network, variables = pretrained(output_stride)
    images = random_images(7, 2, side)
    encode = jax.jit(lambda x: network.apply(variables, x, method=lambda m, x: m.backbone_layers(x, train=False)))
    actual, expected = encode(jnp.asarray(images)), torch_maps(weights, images, output_stride)
    assert set(actual) == set(expected) == {2, 4, 8, 16} - ({16} if output_stride == 8 else set())
    for stride, values in expected.items():
        assert np.abs(values).max() > 1  # of a size that makes 1e-4 mean something
        np.testing.assert_allclose(actual[stride], values, atol=1e-4, rtol=0)


def test_training_statistics_have_its_epsilon():
    """A channel of variance 0 is divided by the root of 1e-3, not of 1e-5."""
    network, variables = pretrained(16)
    images = jnp.zeros((2, 32, 32, 3))
    _, state = network.apply(
        variables, images, method=lambda m, x: m.backbone_layers(x, train=True),
        mutable=["batch_stats", "intermediates"], capture_intermediates=lambda module, _: module.name == "stem_bn",
    )  # fmt: skip
    normalised = state["intermediates"]["backbone"]["stem_bn"]["__call__"][0][0, 8, 8]
    np.testing.assert_allclose(normalised, variables["params"]["backbone"]["stem_bn"]["bias"], atol=1e-6)
    folded = network.apply(variables, images, method=lambda m, x: m.backbone_layers(x, train=False))
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
