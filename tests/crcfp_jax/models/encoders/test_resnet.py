"""ResNet: sizes, strides, initial weights; normalisation layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.models.encoders.resnet import ResNet, max_pool
from crcfp_jax.models.layers.convolution import Convolution
from crcfp_jax.models.layers.normalisation import Normalisation


def shapes(backbone, *, output_stride=16, width=64, side=65):
    """Variables and outputs of a network, as shapes: nothing is computed."""
    network = ResNet(backbone, output_stride, Normalisation(), width)
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    outputs, variables = jax.eval_shape(lambda k, x: network.init_with_output(k, x, train=False), key, images)
    return {stride: output.shape for stride, output in outputs.items()}, variables


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    # torchvision's published counts less its classifier's
    [
        ("resnet18", 11_689_512 - 513_000),
        ("resnet34", 21_797_672 - 513_000),
        ("resnet50", 25_557_032 - 2_049_000),
        ("resnet101", 44_549_160 - 2_049_000),
    ],
)
def test_parameter_count(backbone, parameters):
    _, variables = shapes(backbone)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


@pytest.mark.parametrize(("output_stride", "side", "low", "high"), [(16, 65, 17, 5), (8, 65, 17, 9), (16, 64, 16, 4)])
def test_output_sizes(output_stride, side, low, high):
    outputs, _ = shapes("resnet50", output_stride=output_stride, side=side)
    assert outputs[4] == (2, low, low, 256)
    assert outputs[output_stride] == (2, high, high, 2048)
    assert list(outputs) == [stride for stride in (4, 8, 16) if stride <= output_stride]


def test_width_scales_every_layer():
    outputs, variables = shapes("resnet18", width=8)
    assert outputs == {4: (2, 17, 17, 8), 8: (2, 9, 9, 16), 16: (2, 5, 5, 64)}
    assert variables["params"]["conv1"]["kernel"].shape == (7, 7, 3, 8)


def test_initial_kernel():
    layer = Convolution(64, size=3)
    kernel = np.asarray(layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]["kernel"])
    assert kernel.shape == (3, 3, 64, 64)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)
    assert abs(kernel).max() > 3 * kernel.std()  # a truncated normal has none beyond 2.3 of its standard deviations


def test_max_pool_border_never_wins():
    image = -jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    expected = [[-1, -2], [-5, -6]]  # zero padding would give 0 in the first row and column
    np.testing.assert_array_equal(max_pool(image)[0, :, :, 0], expected)


def test_max_pool_gradient_goes_to_the_maximum():
    image = jnp.array([[1.0, 5.0, 2.0], [4.0, 3.0, 9.0], [7.0, 6.0, 8.0]]).reshape(1, 3, 3, 1)
    gradient = jax.grad(lambda x: (max_pool(x)[0, :, :, 0] * jnp.array([[1.0, 2.0], [3.0, 4.0]])).sum())(image)
    # maxima of the four windows: 5, 9, 7, 9
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 1, 0], [0, 0, 6], [3, 0, 0]])


def random(shape):
    return jnp.asarray(np.random.default_rng(1).standard_normal(shape, np.float32))


class Layer(nn.Module):
    normalisation: Normalisation

    @nn.compact
    def __call__(self, x, *, train):
        return self.normalisation(x, train=train, name="bn")


def test_batch_statistics_and_their_running_average():
    x = jnp.array([1.0, 3.0, 5.0, 7.0]).reshape(2, 2, 1, 1)  # mean 4, biased variance 5
    layer = Layer(Normalisation(momentum=0.9))
    variables = layer.init(jax.random.key(0), x, train=False)
    y, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.ravel(), np.array([-3, -1, 1, 3]) / np.sqrt(5 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["bn"]["mean"], [0.1 * 4], rtol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["bn"]["var"], [0.9 + 0.1 * 5], rtol=1e-6)
    evaluated = layer.apply(variables, x, train=False)  # running statistics: mean 0, variance 1
    np.testing.assert_allclose(evaluated.ravel(), x.ravel() / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_batch_normalisation_has_the_gradient_of_flax():
    x, weights = random((4, 3, 3, 2)) * 3 + 1, random((4, 3, 3, 2))[::-1]
    ours, theirs = Layer(Normalisation()), nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    params = {"scale": jnp.array([0.5, 2.0]), "bias": jnp.array([1.0, -1.0])}
    stats = {"mean": jnp.zeros(2), "var": jnp.ones(2)}

    def our_sum(params, x):
        variables = {"params": {"bn": params}, "batch_stats": {"bn": stats}}
        return (ours.apply(variables, x, train=True, mutable=["batch_stats"])[0] * weights).sum()

    def their_sum(params, x):
        return (theirs.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])[0] * weights).sum()

    actual, expected = (jax.jit(jax.grad(function, (0, 1)))(params, x) for function in (our_sum, their_sum))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected)


def test_replicas_share_batch_statistics():
    x = random((4, 3, 3, 2)) * 3 + 1
    variables = Layer(Normalisation()).init(jax.random.key(0), x, train=False)

    def apply(axis_name, inputs):
        return Layer(Normalisation(axis_name=axis_name)).apply(variables, inputs, train=True, mutable=["batch_stats"])

    whole, whole_updates = apply(None, x)
    split, split_updates = jax.vmap(lambda part: apply("data", part), axis_name="data")(x.reshape(2, 2, 3, 3, 2))
    np.testing.assert_allclose(split.reshape(whole.shape), whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5), split_updates, whole_updates)


def test_every_stream_has_its_own_statistics():
    streams = random((2, 4, 3, 3, 5)) * jnp.array([1.0, 7.0]).reshape(2, 1, 1, 1, 1)
    layer = Layer(Normalisation())
    variables = layer.init(jax.random.key(0), streams[0], train=False)
    together, updates = layer.apply(variables, streams, train=True, mutable=["batch_stats"])
    for index in range(2):
        alone, own = layer.apply(variables, streams[index], train=True, mutable=["batch_stats"])
        np.testing.assert_allclose(together[index], alone, atol=1e-6)
        jax.tree.map(lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-6), updates, own)
    evaluated = layer.apply(variables, streams, train=False)
    np.testing.assert_allclose(evaluated[1], layer.apply(variables, streams[1], train=False), atol=1e-6)


def test_bfloat16_keeps_float32_statistics():
    x = (1000 + random((4, 8, 8, 2))).astype(jnp.bfloat16)
    layer = Layer(Normalisation(dtype=jnp.bfloat16))
    variables = layer.init(jax.random.key(0), x, train=False)
    y, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    mean = updates["batch_stats"]["bn"]["mean"]
    assert mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, 0.1 * np.asarray(x, np.float64).mean((0, 1, 2)), rtol=1e-5)


def test_group_normalisation_treats_each_example_alone():
    x = random((3, 4, 4, 32)) * jnp.arange(1.0, 4.0).reshape(3, 1, 1, 1)
    layer = Layer(Normalisation(kind="group"))
    variables = layer.init(jax.random.key(0), x, train=True)
    assert set(variables) == {"params"}
    y = np.asarray(layer.apply(variables, x, train=True))
    np.testing.assert_allclose(y[:, :, :, :16].mean((1, 2, 3)), np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(y[:, :, :, 16:].std((1, 2, 3)), np.ones(3), atol=1e-4)
    np.testing.assert_allclose(layer.apply(variables, x[1:2], train=True), y[1:2], atol=1e-6)
    np.testing.assert_allclose(layer.apply(variables, x[None], train=True)[0], y, atol=1e-6)
