"""The whole network: against PyTorch, its methods, and settings that no network has."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from random_weights import random_images, random_tensor
from tiny import CLASSES, tiny_config

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default
from crcfp_jax.models.encoders import resnet
from crcfp_jax.models.encoders.pixels import Pixels
from crcfp_jax.models.encoders.pretrained import replace_backbone
from crcfp_jax.models.network import Network, build_network, resize_logits

GOLDEN = Path(__file__).parents[2] / "golden"

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def abstract_variables(network, side=32):
    """Shapes of all variables; nothing is computed."""
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    return jax.eval_shape(lambda k, x: network.init(k[0], x, k, method="initialise"), keys, images)


def golden_variables(network, tensors):
    """Variables with the backbone set through the name table of `pretrained` and the rest by equal names."""
    variables = abstract_variables(network)
    backbone = {name.removeprefix("backbone."): x for name, x in tensors.items() if name.startswith("backbone.")}
    variables, _ = replace_backbone(backbone, variables, resnet.FAMILY, origin="golden")
    for collection in ("params", "batch_stats"):
        groups = dict(variables[collection])
        for group in {"decoder", "classifier"} & set(groups):
            leaves = traverse_util.flatten_dict(groups[group])
            for path, leaf in leaves.items():
                layers = [layer for layer in path[:-1] if layer != "logits"]
                tensor = tensors[".".join([group, *layers, LEAVES[path[-1]]])]
                if path[-1] == "kernel":
                    tensor = tensor.transpose(2, 3, 1, 0).reshape(leaf.shape)
                assert tensor.shape == leaf.shape
                leaves[path] = jnp.asarray(tensor)
            groups[group] = traverse_util.unflatten_dict(leaves)
        variables[collection] = {name: groups[name] for name in groups if name not in ("projector", "auxiliary")}
    return variables


@pytest.mark.parametrize(
    ("case", "backbone", "width", "decoder", "output_stride", "side"),
    [
        ("resnet18_v3_16", "resnet18", 64, "v3", 16, 49),
        ("resnet18_v3_8", "resnet18", 64, "v3", 8, 113),
        ("resnet50_v3_8", "resnet50", 16, "v3", 8, 113),
        ("resnet50_v3plus_16", "resnet50", 16, "v3plus", 16, 145),
    ],
)
def test_same_values_as_pytorch(case, backbone, width, decoder, output_stride, side):
    """Arrays of tests/golden/generate.py: an independent PyTorch model with the same weights."""
    with np.load(GOLDEN / "deeplab.npz") as golden:
        state = [line.split() for line in golden[f"{case}/state"]]
        expected = {name: golden[f"{case}/{name}"] for name in ("high", "features", "logits")}
    tensors = {name: random_tensor(name, tuple(map(int, shape)), seed=7) for name, *shape in state}
    network = Network(5, backbone, decoder, output_stride, width, 4 * width)
    variables = golden_variables(network, tensors)

    @jax.jit
    def apply(images):
        def methods(module):
            maps = module.backbone_layers(images, train=False)
            high = maps[output_stride]
            features = module.decoder_layers(maps[4], high, train=False)
            return high, features, resize_logits(module.classify(features), side, side)

        return network.apply(variables, method=methods)

    high, features, logits = apply(jnp.asarray(random_images(7, 2, side)))
    np.testing.assert_allclose(high[..., ::8], expected["high"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(features[..., ::4], expected["features"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(logits[:1, ::3, ::3], expected["logits"], atol=1e-4, rtol=0)


def small(**changes):
    settings = {"num_classes": 3, "backbone": "resnet18", "width": 8, "decoder_width": 32, "projection_dim": 6}
    settings["perturbations"] = tuple((name, 2) for name in ("feature_noise", "feature_dropout", "dropout"))
    return Network(**settings | changes)


def test_parameter_groups_and_types():
    variables = abstract_variables(small(dtype=jnp.bfloat16))
    assert set(variables["params"]) == {"backbone", "decoder", "classifier", "projector", "auxiliary"}
    assert set(variables["batch_stats"]) == {"backbone", "decoder"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert set(variables["params"]["auxiliary"]) == {"feature_noise", "feature_dropout", "dropout"}


@pytest.mark.parametrize(
    ("decoder", "output_stride", "feature_stride", "context_stride"),
    [("v3", 8, 8, 8), ("v3", 16, 16, 16), ("v3plus", 16, 4, 8), ("v3plus", 8, 4, 8)],
)
def test_shapes_and_types_of_every_method(decoder, output_stride, feature_stride, context_stride):
    network = small(decoder=decoder, output_stride=output_stride, dtype=jnp.bfloat16)
    assert (network.feature_stride, network.context_stride) == (feature_stride, context_stride)
    variables = abstract_variables(network)

    def methods(module, images, keys):
        features = module.encode(images, train=False)
        context = module.context(features)
        logits = module.classify(features)
        outputs = [logits, module.project(context), module.auxiliary(features, keys, logits), module(images)]
        return features, context, outputs

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    features, context, outputs = jax.eval_shape(
        lambda v, x, k: network.apply(v, x, k, method=methods), variables, images, keys
    )
    side, context_side = 64 // feature_stride, 64 // context_stride
    assert features.shape == (2, side, side, 32)
    assert context.shape == (2, context_side, context_side, 32)
    assert features.dtype == context.dtype == jnp.bfloat16
    assert [output.shape for output in outputs] == [
        (2, side, side, 3),
        (2, context_side, context_side, 6),
        (6, 2, side, side, 3),
        (2, 64, 64, 3),
    ]
    assert {output.dtype for output in outputs} == {jnp.dtype("float32")}


def test_context_of_v3plus_averages_squares():
    features = jnp.arange(16.0).reshape(1, 4, 4, 1)
    context = small(decoder="v3plus", output_stride=16).apply({}, features, method="context")
    np.testing.assert_array_equal(context[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])


def test_training_statistics_change_and_evaluation_leaves_them():
    network = small()
    images = jnp.asarray(random_images(1, 2, 32))
    shapes = abstract_variables(network)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.05), shapes)

    def encode(train):
        return network.apply(variables, images, train=train, method="encode", mutable=["batch_stats"])

    (_, trained), (_, evaluated) = jax.jit(encode, static_argnums=0)(True), jax.jit(encode, static_argnums=0)(False)
    before = jax.tree.leaves(variables["batch_stats"])
    assert not any(np.array_equal(a, b) for a, b in zip(before, jax.tree.leaves(trained["batch_stats"]), strict=True))
    jax.tree.map(np.testing.assert_array_equal, evaluated["batch_stats"], variables["batch_stats"])


def test_streams_equal_a_map_over_them():
    network = small(decoder="v3plus", output_stride=16)
    images = jnp.asarray(random_images(1, 4, 32)).reshape(2, 2, 32, 32, 3)
    generator = np.random.default_rng(2)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(generator.uniform(0.1, 0.4, leaf.shape), jnp.float32), abstract_variables(network)
    )

    def encode(x):
        return network.apply(variables, x, train=True, method="encode", mutable=["batch_stats"])

    features, updates = jax.jit(encode)(images)
    mapped_features, mapped_updates = jax.jit(jax.vmap(encode))(images)
    np.testing.assert_allclose(features, mapped_features, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), updates, mapped_updates)


def test_resize_logits():
    logits = jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(resize_logits(logits, 2, 4)[0, :, :, 0], [[0, 0.25, 0.75, 1]] * 2, atol=1e-7)


def test_build_network_takes_every_setting():
    config = default()
    config.model.update(backbone="resnet34", decoder="v3plus", output_stride=16, width=16, projection_dim=32)
    config.model.update(decoder_width=48, pixel_mean=(0.7, 0.5, 0.6), pixel_deviation=(0.2, 0.3, 0.2))
    config.model.update(normalisation="group", momentum=0.8, dtype="float32")
    assert build_network(config.model, 5, "data") == Network(
        num_classes=5,
        backbone="resnet34",
        decoder="v3plus",
        output_stride=16,
        width=16,
        decoder_width=48,
        projection_dim=32,
        normalisation="group",
        momentum=0.8,
        dtype=jnp.float32,
        axis_name="data",
        pixels=Pixels((0.7, 0.5, 0.6), (0.2, 0.3, 0.2)),
    )


def test_an_unknown_backbone_is_named():
    config = default()
    config.model.backbone = "resnet19"
    with pytest.raises(UserError, match=r"config\.model\.backbone='resnet19' is unknown; known: resnet18,"):
        build_network(config.model, 5)


def encoder_loss(network, variables, images):
    """A scalar of the features, as a function of the parameters."""

    def loss(params):
        variables_now = variables | {"params": params}
        features, _ = network.apply(variables_now, images, train=True, mutable=["batch_stats"], method="encode")
        return jnp.mean(jnp.square(features.astype(jnp.float32)))

    return loss


def test_rematerialising_keeps_less_for_the_gradient():
    def gibibytes(rematerialise):  # of the paper's settings: 8 + 8 images of 320 pixels, four streams
        config = default()
        config.model.update(rematerialise=rematerialise, dtype="bfloat16")
        network = build_network(config.model, CLASSES)
        variables = abstract_variables(network)

        def residuals(variables, images):
            return jax.vjp(encoder_loss(network, variables, images), variables["params"])[1]

        kept = jax.eval_shape(residuals, variables, jax.ShapeDtypeStruct((4, 8, 320, 320, 3), jnp.float32))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept)) / 2**30

    assert gibibytes(True) < 3
    assert gibibytes(False) > 10


def test_rematerialising_changes_no_value():
    images = jax.random.normal(jax.random.key(1), (2, 4, 64, 64, 3))  # two streams

    def gradient(rematerialise):
        network = build_network(tiny_config(model__rematerialise=rematerialise).model, CLASSES)
        keys = jax.random.split(jax.random.key(2), 4)
        variables = jax.jit(lambda key: network.init(key, images[0], keys, method="initialise"))(jax.random.key(0))
        return jax.jit(jax.grad(encoder_loss(network, variables, images)))(variables["params"])

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-4 * np.max(np.abs(b)) + 1e-7)

    jax.tree.map(close, gradient(True), gradient(False))
