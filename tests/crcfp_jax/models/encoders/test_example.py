"""The encoder of docs/examples, which the package doesn't have: one file and its line in the registry."""

import jax
import numpy as np
import pytest
from examples import load_example
from flax import traverse_util
from random_network import random_images, random_network
from safetensors.numpy import save_file
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.models.encoders import registry
from crcfp_jax.models.encoders.pretrained import load_pretrained
from crcfp_jax.portable_model.artifact import inference_variables, network_outputs
from crcfp_jax.training.step import make_train_step

stack = load_example("stack")


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "stack", stack.FAMILY)
    return tiny_config(model__backbone="stack", optimizer__groups=(("backbone/conv0/.*", 0), (".*", 1.0)))


def test_it_trains_with_every_stream_of_a_method(config):
    network, method, optimizer = tiny_parts(config)
    before = tiny_state(config)
    state, metrics = jax.jit(make_train_step(network, method, config, optimizer))(
        before, tiny_batch(config), jax.random.key(0)
    )
    assert metrics["finite"] and network.pixels == stack.FAMILY.pixels
    moved = jax.tree.map(
        lambda one, other: bool(np.any(one != other)), before.params["backbone"], state.params["backbone"]
    )
    frozen = moved.pop("conv0")
    assert not any(jax.tree.leaves(frozen)) and all(jax.tree.leaves(moved))


def test_its_weights_come_from_a_file_by_its_names(config, tmp_path):
    _, variables = random_network(backbone="stack", decoder="v3", output_stride=16)
    rng, tensors = np.random.default_rng(0), {}
    for collection in ("params", "batch_stats"):
        for path, leaf in traverse_util.flatten_dict(variables[collection]["backbone"]).items():
            tensors[stack.tensor_name(collection, path)] = rng.random(leaf.transpose().shape, np.float32)
    save_file(tensors | {"classifier.weight": np.ones(3, np.float32)}, tmp_path / "stack.safetensors")
    config.model.pretrained = str(tmp_path / "stack.safetensors")
    loaded, told = load_pretrained(config.model, variables)
    assert not told  # the family knows that a classifier has no place
    backbone = {collection: loaded[collection]["backbone"] for collection in ("params", "batch_stats")}
    np.testing.assert_array_equal(
        backbone["params"]["conv2"]["kernel"], tensors["stages.2.conv.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(backbone["batch_stats"]["norm1"]["var"], tensors["stages.1.norm.running_var"])


def test_its_onnx_form_is_made_of_the_traced_network(config, tmp_path):
    pytest.importorskip("onnxruntime")
    from crcfp_jax.portable_model.onnx_model import export_onnx, run_onnx

    network, variables = random_network(backbone="stack", decoder="v3plus", output_stride=16)
    variables, path = inference_variables(variables), tmp_path / "model.onnx"
    facts = dict.fromkeys(("name", "microns_per_pixel", "window", "inputs", "intended_use"), "-")
    card = facts | {"classes": [{"name": "tissue"}], "licence": {"model": "CC0"}}
    path.write_bytes(export_onnx(network, variables, card))
    images = random_images(2, 33, 18)
    expected = jax.jit(lambda *inputs: network_outputs(network, *inputs))(variables, images)
    for name, values in run_onnx(path)(images).items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-5)
