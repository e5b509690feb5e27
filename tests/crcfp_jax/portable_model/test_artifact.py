"""The portable form: values by hand, and any shape against the network itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from random_network import random_images, random_network

from crcfp_jax.models.layers import convolution
from crcfp_jax.portable_model.artifact import (
    PLATFORMS,
    disagreement,
    export_network,
    in_float32,
    inference_variables,
    network_outputs,
)

MEAN = np.float32([0.485, 0.456, 0.406]).reshape(1, 1, 1, 3)
DEVIATION = np.float32([0.229, 0.224, 0.225]).reshape(1, 1, 1, 3)


def test_disagreement_of_two_classifiers():
    certain, other, even = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]
    probabilities = np.float32([[certain, certain, even, certain], [certain, other, even, even]])
    # Two draws are the same with probability 1, 0, 1/2, 1/2; of three classes two draws at random differ in 2/3.
    expected = [0.0, 1.0, 0.75, 0.75]
    np.testing.assert_allclose(disagreement(jnp.asarray(probabilities)), expected, atol=1e-6)


def test_disagreement_is_over_pairs_of_different_classifiers():
    certain, other = [1.0, 0.0], [0.0, 1.0]
    # Three to one: 3 of the 6 pairs differ, of two classes half of two draws at random.
    probabilities = jnp.float32([certain, certain, certain, other])[:, None]
    np.testing.assert_allclose(disagreement(probabilities), [1.0], atol=1e-6)
    # Four to one: 4 of 10.
    probabilities = jnp.float32([certain, certain, certain, certain, other])[:, None]
    np.testing.assert_allclose(disagreement(probabilities), [0.8], atol=1e-6)


def test_what_all_doubt_together_counts_and_nothing_exceeds_its_bounds():
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 1000).astype(np.float32)
    found = np.asarray(disagreement(jnp.asarray(np.stack([rows] * 13))))
    np.testing.assert_allclose(found, (1 - np.square(rows).sum(-1)) * 1.25, atol=1e-5)
    sure = np.eye(5, dtype=np.float32)[:, None]
    np.testing.assert_allclose(disagreement(jnp.asarray(np.repeat(sure[:1], 13, 0))), [0.0], atol=1e-6)
    np.testing.assert_allclose(disagreement(jnp.full((13, 1, 5), 0.2)), [1.0], atol=1e-6)


RELEASE = {"decoder": "v3plus", "output_stride": 16, "perturbations": (("dropout", 2), ("feature_noise", 1))}
PAPER = {"decoder": "v3", "output_stride": 8, "perturbations": (("vat", 1),), "dtype": jnp.bfloat16}
GROUP = {"decoder": "v3", "output_stride": 16, "normalisation": "group"}


@pytest.mark.parametrize(("settings", "shape"), [(RELEASE, (3, 33, 18)), (PAPER, (1, 32, 40)), (GROUP, (2, 17, 32))])
def test_any_shape_gives_what_the_network_gives(settings, shape):
    network, variables = random_network(**settings)
    variables = inference_variables(variables)
    assert "projector" not in variables["params"]
    artifact = export.deserialize(bytearray(export_network(network, variables)))
    assert artifact.platforms == PLATFORMS
    forward, native = (
        jax.jit(artifact.call),
        jax.jit(lambda *inputs: network_outputs(in_float32(network), *inputs, embedding=True)),
    )
    outputs, expected = forward(variables, random_images(*shape)), native(variables, random_images(*shape))
    assert outputs["probabilities"].shape == (*shape, 3)
    assert ("uncertainty" in outputs) == bool(network.perturbations)
    assert outputs.keys() == expected.keys()
    for output, values in outputs.items():
        assert values.dtype == jnp.float32
        np.testing.assert_allclose(values, expected[output], atol=2e-6)
    np.testing.assert_allclose(jnp.sum(outputs["probabilities"], axis=-1), 1.0, atol=1e-5)
    assert jnp.std(outputs["probabilities"][..., 0]) > 0.01


@pytest.mark.parametrize(("size", "stride", "dilation"), [(3, 1, 2), (3, 1, 6), (1, 2, 1), (3, 2, 1)])
def test_convolution_of_any_shape(size, stride, dilation, monkeypatch):
    generator = np.random.default_rng(0)
    kernel = jnp.asarray(generator.standard_normal((size, size, 4, 6), np.float32))
    symbols = jax.ShapeDtypeStruct(export.symbolic_shape("b, h, w, 4"), jnp.float32)
    for cache in (0, 2**22):  # image by image, and all at once
        monkeypatch.setattr(convolution, "CACHE", cache)
        convolve = jax.jit(lambda inputs: convolution.convolve(inputs, kernel, stride, dilation))
        artifact = export.export(convolve, platforms=PLATFORMS)(symbols)
        for shape in ((2, 13, 5, 4), (1, 1, 2, 4)):
            inputs = jnp.asarray(generator.standard_normal(shape, np.float32))
            expected = convolution.plain_convolution(inputs, kernel, stride, dilation, "torch")
            compiled = jax.jit(artifact.call).lower(inputs).compile()
            np.testing.assert_allclose(compiled(inputs), expected, atol=1e-5)
            # What depends on platform and shape is decided when they are known.
            assert "conditional(" not in compiled.as_text()


def test_uncertainty_is_that_of_all_classifiers_on_the_features_themselves():
    network, variables = random_network(**RELEASE)

    def outputs_and_features(variables, batch):
        normalised = (batch / 255.0 - MEAN) / DEVIATION
        return network_outputs(network, variables, batch), network.apply(
            variables, normalised, train=False, method="encode"
        )

    outputs, features = jax.tree.map(np.asarray, jax.jit(outputs_and_features)(variables, random_images(1, 32, 32)))
    heads = [tuple(variables["params"]["classifier"]["logits"][part] for part in ("kernel", "bias"))]
    for kind, _ in network.perturbations:
        stacked = variables["params"]["auxiliary"][kind]
        heads += zip(stacked["kernel"], stacked["bias"], strict=True)
    assert len(heads) == 4
    every = [jax.nn.softmax(features @ kernel + bias) for kernel, bias in heads]
    expected = disagreement(jnp.stack(every))
    assert expected.shape == (1, 8, 8) and expected.max() > 1e-3
    # Bilinear by 4: the mean of 4 features is that of the 4 pixels around the point where they meet.
    found = outputs["uncertainty"][0]
    np.testing.assert_allclose(found[3:5, 3:5].mean(), expected[0, :2, :2].mean(), atol=1e-6)
    assert found.min() >= 0 and found.max() <= expected.max() + 1e-6
