"""Conversion of functions that are no network of ours, and what can't be converted."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.layers.convolution import convolve
from crcfp_jax.portable_model.to_onnx.convert import convert


def converted(function, parameters, shape, dtype=np.float32):
    """The function as ONNX Runtime computes it; symbols in `shape`, as 'b, h, w, 3', stand for any length."""
    images = jax.ShapeDtypeStruct(export.symbolic_shape(shape), dtype)
    model = convert(function, parameters, ("images", images), {"name": "test"})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True))


def check(function, parameters, shape, *examples):
    """Compares the function with its ONNX form."""
    generator = np.random.default_rng(0)
    run = converted(function, parameters, shape)
    for example in examples:
        images = generator.standard_normal(example, np.float32)
        expected, found = jax.jit(function)(parameters, images), run(images)
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name].shape == values.shape and found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], values, atol=1e-5)


class Transformer(nn.Module):
    """A block of a vision transformer: patches, layer norm, attention of two heads, a layer with gelu."""

    @nn.compact
    def __call__(self, images):
        x = nn.Conv(8, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))(images)
        batch, rows, columns, _ = x.shape
        x = x.reshape(batch, rows * columns, 8)
        normed = nn.LayerNorm()(x)
        heads = nn.Dense(24, use_bias=False)(normed).reshape(batch, rows * columns, 3, 2, 4)
        query, key, value = (jnp.squeeze(part, axis=2) for part in jnp.split(heads, 3, axis=2))
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) / 2, axis=-1)
        x = x + nn.Dense(8, use_bias=False)(jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(x.shape))
        x = x + nn.Dense(8, use_bias=False)(nn.gelu(nn.Dense(16, use_bias=False)(x), approximate=False))
        return x.reshape(batch, rows, columns, 8)


def test_a_vision_transformer():
    network = Transformer()
    with jax.numpy_rank_promotion("allow"):  # of Flax's biases
        parameters = jax.tree.map(np.asarray, network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))

        def function(parameters, images):
            return {"features": network.apply(parameters, images)}

        check(function, parameters, "b, h, w, 3", (2, 8, 12, 3), (1, 21, 7, 3))


@pytest.mark.parametrize(
    "alias",
    [
        jnp.copy,
        lambda values: values.transpose(0, 3, 1, 2),
        lax.optimization_barrier,
        lambda values: lax.optimization_barrier((values, values))[1],
        lambda values: lax.slice_in_dim(values, 0, 5, axis=3),
    ],
    ids=["copy", "transpose", "barrier", "barriers", "whole slice"],
)
def test_what_becomes_part_of_a_convolution_for_one_use_leaves_the_others(alias):
    kernel = np.random.default_rng(1).standard_normal((3, 3, 3, 5), np.float32)

    def function(kernel, images):
        values, clipped = alias(convolve(images, kernel)), alias(jax.nn.relu(convolve(images, 2 * kernel)))
        return {"linear": 2 * values + values, "clipped": jnp.minimum(clipped, 0.5) + clipped}

    check(function, kernel, "b, h, w, 3", (2, 5, 6, 3))


def test_a_constant_along_another_axis_than_the_channels_is_no_bias():
    kernel = np.random.default_rng(1).standard_normal((3, 3, 3, 5), np.float32)
    along_last = np.arange(5, dtype=np.float32).reshape(1, 1, 1, 5)

    def function(kernel, images):
        values = convolve(images, kernel)
        return {"moved": values.transpose(0, 3, 1, 2) + along_last, "bias": 2 * (values + along_last)}

    check(function, kernel, "b, h, 5, 3", (2, 4, 5, 3))


def test_joining_and_repeating():
    def function(_, images):
        tiled = jnp.tile(convolve(images, jnp.ones((3, 3, 1, 1))), (1, 2, 1, 3))
        return {
            "stacked": lax.slice_in_dim(jnp.stack([tiled, 2 * tiled], axis=2), 1, images.shape[1], axis=1),
            "swapped": jnp.swapaxes(tiled, 1, 3),
        }

    check(function, (), "b, h, w, 1", (2, 5, 7, 1))


def test_what_is_used_twice_stays_what_it_is():
    kernel = np.random.default_rng(1).standard_normal((3, 3, 2, 4)).astype(np.float32)

    def function(kernel, images):
        found = convolve(images, kernel)
        return {"found": found, "less": 1.0 - 2 * found, "clipped": nn.relu6(3 * found) - nn.relu(3 * found)}

    check(function, kernel, "b, h, w, 2", (2, 5, 7, 2))


def test_a_constant_on_either_side_of_a_convolution_becomes_part_of_it():
    kernel = np.random.default_rng(1).standard_normal((3, 3, 2, 4)).astype(np.float32)
    shift = np.float32([1, 2, 3, 4]).reshape(1, 1, 1, 4)

    def function(kernel, images):
        return {"found": (shift - convolve(images, kernel) / shift) * 2 - shift}

    check(function, kernel, "b, h, w, 2", (2, 5, 7, 2))
    images = jax.ShapeDtypeStruct(export.symbolic_shape("b, h, w, 2"), np.float32)
    model = convert(function, kernel, ("images", images), {"name": "test"})
    assert [node.op_type for node in model.graph.node] == ["Transpose", "Conv", "Transpose", "Identity"]


def test_lengths_are_computed_as_python_does():
    def function(_, images):
        height, width = images.shape[1:3]
        lengths = (height // 3, (1 - height) // 2, height % 3, (1 - height) % 4, height * width, height**2 - width)
        lengths += (jax.core.max_dim(height - 4, 0), jax.core.min_dim(height, width), -height)
        total = jnp.sum(images, axis=(1, 2, 3))
        return {"lengths": jnp.stack([total * 0 + length for length in lengths])}

    run = converted(function, (), "b, h, w, 1")
    for height, width in ((1, 7), (6, 2), (9, 9)):
        found = run(np.ones((1, height, width, 1), np.float32))["lengths"][:, 0]
        expected = [height // 3, (1 - height) // 2, height % 3, (1 - height) % 4, height * width, height**2 - width]
        expected += [max(height - 4, 0), min(height, width), -height]
        np.testing.assert_array_equal(found, expected)


def test_the_form_for_other_platforms_is_taken():
    def function(_, images):
        other = lax.platform_dependent(images, cpu=lambda x: x - 1, default=lambda x: x + 1)
        return {"found": lax.cond(jnp.float32(2) > 1, lambda x: 2 * x, lambda x: x, other)}

    images = np.ones((1, 2, 2, 1), np.float32)
    np.testing.assert_array_equal(converted(function, (), "b, h, w, 1")(images)["found"], 4 * images)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: jnp.cumsum(x, axis=1), "the network's operation cumsum has no form in ONNX yet: add one to "),
        (lambda x: lax.cond(jnp.sum(x) > 0, jnp.sin, jnp.cos, x), "chooses what to compute by values that it computes"),
        (lambda x: lax.select_n(jnp.floor(x).astype(jnp.int32), x, x, x), "chooses between cases by their number"),
        (lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0))), "pads between values"),
    ],
)
def test_what_has_no_form_is_named(function, reason):
    with pytest.raises(UserError) as error:
        converted(lambda _, images: {"found": function(images)}, (), "b, h, w, 1")
    assert reason in str(error.value) and "\n" not in str(error.value) and str(error.value).startswith("--onnx: ")
