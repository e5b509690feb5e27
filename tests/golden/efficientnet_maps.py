"""Writes efficientnet_maps.npz: an independent PyTorch form's feature maps on the published ImageNet weights.

PYTHONPATH=.:tests/golden python tests/golden/efficientnet_maps.py
"""

import importlib.metadata
from pathlib import Path

import numpy as np
from random_weights import random_images

from crcfp_jax.models.encoders import efficientnet

MAPS_PATH = Path(__file__).with_suffix(".npz")
MAPS_SIDE = 33
SOURCE = "package:efficientnet_lite0"
# Kernel, stride, expansion, channels in, channels out: all 16 blocks, written out.
BLOCKS = (
    (3, 1, 1, 32, 16), (3, 2, 6, 16, 24), (3, 1, 6, 24, 24), (5, 2, 6, 24, 40), (5, 1, 6, 40, 40), (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80), (3, 1, 6, 80, 80), (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (3, 1, 6, 192, 320),
)  # fmt: skip


def read_weights():
    """The published tensors, as PyTorch reads them."""
    import torch

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


if __name__ == "__main__":
    maps = torch_maps(read_weights(), random_images(7, 1, MAPS_SIDE), 16)
    np.savez_compressed(MAPS_PATH, **{str(stride): values for stride, values in maps.items()})
