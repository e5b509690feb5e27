"""The ONNX form against the network: every encoder, both decoders, both normalisations."""

from collections import Counter

import jax
import numpy as np
import pytest
from random_network import random_images, random_network

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx

from crcfp_jax.portable_model.agreement import LIMIT
from crcfp_jax.portable_model.artifact import in_float32, inference_variables, network_outputs
from crcfp_jax.portable_model.onnx_model import export_onnx, run_onnx

CARD = {
    "name": "small",
    "classes": [{"name": name, "colour": [0, 0, 0]} for name in ("one", "two", "three")],
    "microns_per_pixel": 0.5,
    "window": 32,
    "inputs": "RGB",
    "intended_use": "tests",
    "licence": {"model": "CC0"},
}


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": "v3plus", "output_stride": 16, "perturbations": (("dropout", 2), ("feature_noise", 1))},
        {"decoder": "v3", "output_stride": 8, "backbone": "resnet50", "normalisation": "group"},
        {"decoder": "v3", "output_stride": 16, "backbone": "efficientnet_lite0"},
    ],
)
def test_any_shape_gives_what_the_network_gives(settings, tmp_path):
    network, variables = random_network(**settings)
    variables = inference_variables(variables)
    path = tmp_path / "model.onnx"
    path.write_bytes(export_onnx(network, variables, CARD))
    run, native = run_onnx(path), jax.jit(lambda *inputs: network_outputs(in_float32(network), *inputs))
    for shape in ((2, 33, 18), (1, 32, 47)):  # every parity, as TensorFlow's padding depends on it
        batch = random_images(*shape)
        expected, outputs = native(variables, batch), run(batch)
        assert outputs.keys() == expected.keys() and ("uncertainty" in outputs) == bool(network.perturbations)
        for name, values in outputs.items():
            assert values.dtype == np.float32
            # Rounding shows more through EfficientNet's 48 layers; LIMIT is what an export may be off.
            tolerance = 1e-5 if network.backbone.startswith("resnet") else LIMIT
            np.testing.assert_allclose(values, expected[name], rtol=0, atol=tolerance)
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    assert path.stat().st_size < 1.1 * weights + 2**17
    assert {name: values.shape for name, values in run(random_images(1, 1, 5)).items()} == {
        name: (1, 1, 5, *values.shape[3:]) for name, values in outputs.items()
    }


def test_a_user_of_the_file_alone_finds_the_facts(tmp_path):
    network, variables = random_network(decoder="v3", output_stride=16)
    model = onnx.load_from_string(export_onnx(network, inference_variables(variables), CARD))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts == {
        "name": "small", "classes": "one, two, three", "microns_per_pixel": "0.5", "window": "32", "inputs": "RGB",
        "intended_use": "tests", "licence": "CC0",
    }  # fmt: skip
    (images,) = model.graph.input
    assert [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim] == ["b", "h", "w", 3]
    shapes = [
        [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim] for output in model.graph.output
    ]
    assert shapes == [["b", "h", "w", 3]]
    kinds = Counter(node.op_type for node in model.graph.node)
    # Batch normalisation is part of the convolutions; beside the softmax, sums are of blocks, quotients of pixels.
    assert kinds["Conv"] == sum(leaf.ndim == 4 for leaf in jax.tree.leaves(variables["params"])) + 1
    assert kinds["Sqrt"] == 0 and kinds["Transpose"] <= 5
