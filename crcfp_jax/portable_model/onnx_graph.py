"""The exported network as an ONNX graph, built from its parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from flax.typing import VariableDict
from jaxtyping import UInt8

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.decoders.deeplab import rates
from crcfp_jax.models.encoders.resnet import BACKBONES, block_specs
from crcfp_jax.models.network import Network
from crcfp_jax.portable_model.onnx_layers import Layers


def export_onnx(network: Network, variables: VariableDict, card: Mapping[str, Any]) -> bytes:
    """A self-contained ONNX model of what `artifact.network_outputs` computes.

    Its input is `images`, uint8 [b, h, w, 3]; its outputs have the artifact's names and shapes. Inside, channels come
    first, and batch normalisation is part of the convolutions.

    Args:
        network: of any dtype; the model computes in float32.
        variables: of `artifact.inference_variables`, host arrays.
        card: the model's card; what a user of the file alone needs of it goes into its metadata.
    """
    if network.backbone not in BACKBONES:
        raise UserError(
            f"--onnx can't write config.model.backbone={network.backbone!r}, only {', '.join(BACKBONES)}: leave it out"
        )
    layers = Layers(variables["params"], variables["batch_stats"])
    images = layers.node("Transpose", [layers.node("Cast", ["images"], to=onnx.TensorProto.FLOAT)], perm=[0, 3, 1, 2])
    # As x / 255, then (x - mean) / deviation.
    x = layers.node("Div", [images, layers.constant(255.0)])
    x = layers.node("Sub", [x, layers.constant(network.pixels.mean, (1, 3, 1, 1))])
    x = layers.node("Div", [x, layers.constant(network.pixels.deviation, (1, 3, 1, 1))])
    low, high = _backbone(layers, network, x)
    features = _decoder(layers, network, low, high)
    logits = layers.dense(features, *(variables["params"]["classifier"]["logits"][part] for part in ("kernel", "bias")))

    size = layers.size(images)
    probabilities = layers.node("Softmax", [layers.resize(logits, size)], axis=1)
    layers.output("probabilities", layers.node("Transpose", [probabilities], perm=[0, 2, 3, 1]))
    if network.perturbations:
        uncertainty = layers.resize(_uncertainty(layers, network, features, logits), size)
        layers.output("uncertainty", layers.node("Squeeze", [uncertainty, layers.integers([1])]))
    shapes = {"probabilities": ["b", "h", "w", network.num_classes], "uncertainty": ["b", "h", "w"]}
    return layers.model({"images": ["b", "h", "w", 3]}, shapes, _metadata(card)).SerializeToString()


def _backbone(layers: Layers, network: Network, x: str) -> tuple[str, str]:
    x = layers.relu(layers.convolution(x, "backbone/conv1", "backbone/bn1", stride=2))
    x = layers.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    low, channels = x, network.width
    for spec in block_specs(network.backbone, network.output_stride):
        block = f"backbone/{spec.name}"
        first = {"stride": spec.stride, "dilation": spec.first_dilation}
        if BACKBONES[network.backbone][1]:
            out_channels = 4 * network.width * 2**spec.stage
            y = layers.relu(layers.convolution(x, f"{block}/conv1", f"{block}/bn1"))
            y = layers.relu(layers.convolution(y, f"{block}/conv2", f"{block}/bn2", **first))
            y = layers.convolution(y, f"{block}/conv3", f"{block}/bn3")
        else:
            out_channels = network.width * 2**spec.stage
            y = layers.relu(layers.convolution(x, f"{block}/conv1", f"{block}/bn1", **first))
            y = layers.convolution(y, f"{block}/conv2", f"{block}/bn2", dilation=spec.dilation)
        if spec.stride != 1 or channels != out_channels:
            x = layers.convolution(x, f"{block}/downsample_conv", f"{block}/downsample_bn", stride=spec.stride)
        x, channels = layers.relu(layers.node("Add", [y, x])), out_channels
        if spec.stage == 0:
            low = x
    return low, x


def _decoder(layers: Layers, network: Network, low: str, high: str) -> str:
    def unit(x: str, name: str, dilation: int = 1) -> str:
        return layers.relu(layers.convolution(x, f"decoder/{name}/conv", f"decoder/{name}/bn", dilation=dilation))

    branches = [unit(high, "pyramid/pointwise")]
    branches += [unit(high, f"pyramid/atrous_{rate}", rate) for rate in rates(network.output_stride)]
    pooled = layers.node("ReduceMean", [high, layers.integers([2, 3])], keepdims=1)
    pooled = unit(pooled, "pyramid/image_pooling")
    branches.append(layers.node("Expand", [pooled, layers.node("Shape", [branches[0]])]))
    x = unit(layers.node("Concat", branches, axis=1), "pyramid/project")
    if network.decoder == "v3plus":
        low = unit(low, "low_level")
        x = unit(layers.node("Concat", [layers.resize(x, layers.size(low)), low], axis=1), "fuse")
    return unit(x, "refine")


def _uncertainty(layers: Layers, network: Network, features: str, logits: str) -> str:
    """`artifact.disagreement` of all classifiers, [b, 1, fh, fw]."""
    auxiliary = layers.params["auxiliary"]
    kernels = np.concatenate([auxiliary[kind]["kernel"] for kind in sorted(auxiliary)])  # [n, features, c]
    biases = np.concatenate([auxiliary[kind]["bias"] for kind in sorted(auxiliary)])
    count, classes = 1 + len(kernels), network.num_classes
    stacked = kernels.transpose(1, 0, 2).reshape(kernels.shape[1], -1)
    both = layers.node("Concat", [logits, layers.dense(features, stacked, biases.reshape(-1))], axis=1)
    shape = [layers.node("Shape", [both], start=0, end=1), layers.integers([count, classes])]
    shape.append(layers.node("Shape", [both], start=2, end=4))
    every = layers.node("Reshape", [both, layers.node("Concat", shape, axis=0)])
    every = layers.node("Softmax", [every], axis=2)

    def total(x: str, axis: int) -> str:
        return layers.node("ReduceSum", [x, layers.integers([axis])], keepdims=1)

    def square(x: str) -> str:
        return layers.node("Mul", [x, x])

    of_pairs = layers.node("Sub", [square(total(every, 1)), total(square(every), 1)])
    same = layers.node("Div", [total(of_pairs, 2), layers.constant(count * (count - 1))])  # [b, 1, 1, fh, fw]
    differing = layers.node("Sub", [layers.constant(1.0), same])
    share = layers.node("Mul", [differing, layers.constant(classes / (classes - 1))])
    share = layers.node("Clip", [share, layers.constant(0.0), layers.constant(1.0)])
    return layers.node("Squeeze", [share, layers.integers([2])])


def _metadata(card: Mapping[str, Any]) -> dict[str, str]:
    names = ", ".join(entry["name"] for entry in card["classes"])
    facts = {key: str(card[key]) for key in ("name", "microns_per_pixel", "window", "inputs", "intended_use")}
    return {"classes": names, "licence": card["licence"]["model"]} | facts


def run_onnx(path: Path):
    """Opens an ONNX model on the CPU as a function of images, uint8 [b, h, w, 3]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: UInt8[np.ndarray, "b h w 3"]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return run
