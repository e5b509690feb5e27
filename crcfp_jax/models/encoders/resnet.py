"""ResNet v1 (He et al. 2016), dilated to an output stride of 8 or 16."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.models.encoders.dilation import dilate
from crcfp_jax.models.encoders.family import EncoderOptions, Family, torch_leaf
from crcfp_jax.models.encoders.pixels import IMAGENET
from crcfp_jax.models.encoders.published import RESNETS
from crcfp_jax.models.layers.convolution import Convolution
from crcfp_jax.models.layers.forms import plain_forms_wanted
from crcfp_jax.models.layers.normalisation import Normalisation

# name: (blocks of each stage, whether the blocks are bottlenecks)
BACKBONES = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}
STANDARD_WIDTH = 64


class BlockSpec(NamedTuple):
    """A block's place, stride and dilations; see `Block`."""

    stage: int  # 0 to 3
    index: int  # in its stage
    reached_stride: int  # pixels between neighbours behind it
    stride: int
    first_dilation: int
    dilation: int

    @property
    def name(self) -> str:
        """The name of its parameters."""
        return f"layer{self.stage + 1}_{self.index}"


def block_specs(backbone: str, output_stride: int) -> Iterator[BlockSpec]:
    """All blocks in order: stages that would go beyond the output stride are dilated instead."""
    counts, strides = BACKBONES[backbone][0], (1, 2, 2, 2)
    for stage, (count, plan) in enumerate(zip(counts, dilate(strides, 4, output_stride), strict=True)):
        yield BlockSpec(stage, 0, *plan)
        for index in range(1, count):
            yield BlockSpec(stage, index, plan.reached_stride, 1, plan.dilation, plan.dilation)


class Block(nn.Module):
    """One residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 with four times the channels at the end.

    A stride sits on the (first) 3x3 convolution, as in torchvision and timm, not on the 1x1 before it (He et al.).
    `first_dilation` differs from `dilation` in the first block of a dilated stage (torchvision, timm): the strided
    convolution there keeps the dilation of the stage before.
    """

    channels: int
    bottleneck: bool
    stride: int
    first_dilation: int
    dilation: int
    normalisation: Normalisation
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "*streams b h w c"], train: bool
    ) -> Float[Array, "*streams b out_h out_w out_c"]:
        def convolution(x, channels, name, **options):
            return Convolution(channels, dtype=self.dtype, name=name, **options)(x)

        def normalise(x, name):
            return self.normalisation(x, train=train, name=name)

        first = {"size": 3, "stride": self.stride, "dilation": self.first_dilation}
        if self.bottleneck:
            out_channels = 4 * self.channels
            x = nn.relu(normalise(convolution(inputs, self.channels, "conv1"), "bn1"))
            x = nn.relu(normalise(convolution(x, self.channels, "conv2", **first), "bn2"))
            x = normalise(convolution(x, out_channels, "conv3"), "bn3")
        else:
            out_channels = self.channels
            x = nn.relu(normalise(convolution(inputs, out_channels, "conv1", **first), "bn1"))
            x = normalise(convolution(x, out_channels, "conv2", size=3, dilation=self.dilation), "bn2")
        if self.stride != 1 or inputs.shape[-1] != out_channels:
            inputs = convolution(inputs, out_channels, "downsample_conv", stride=self.stride)
            inputs = normalise(inputs, "downsample_bn")
        return nn.relu(x + inputs)


class ResNet(nn.Module):
    """The backbone without its classifier.

    Layers carry timm's and torchvision's names (`layer1_0` is their `layer1.0`, `downsample_conv` and
    `downsample_bn` their `downsample.0` and `downsample.1`), which `torch_name` relies on. Convolutions start as in
    torchvision; every normalisation scale starts at 1, the last one of a block too (torchvision's default).
    """

    backbone: str  # a key of BACKBONES
    output_stride: int  # 8 or 16
    normalisation: Normalisation
    width: int = STANDARD_WIDTH  # channels of the stem; every other layer in proportion
    rematerialise: bool = False  # keep only the blocks' inputs for the gradient and compute the rest again
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "*streams b h w 3"], *, train: bool
    ) -> dict[int, Float[Array, "*streams b _ _ _"]]:
        """Returns the last map of every stride, from 4 to the output stride."""
        x = Convolution(self.width, size=7, stride=2, dtype=self.dtype, name="conv1")(images)
        x = nn.relu(self.normalisation(x, train=train, name="bn1"))
        x = max_pool(x)
        block_type = nn.remat(Block, static_argnums=(2,)) if self.rematerialise else Block  # argument 2: train
        maps = {}
        for spec in block_specs(self.backbone, self.output_stride):
            x = block_type(
                channels=self.width * 2**spec.stage,
                bottleneck=BACKBONES[self.backbone][1],
                stride=spec.stride,
                first_dilation=spec.first_dilation,
                dilation=spec.dilation,
                normalisation=self.normalisation,
                dtype=self.dtype,
                name=spec.name,
            )(x, train)
            maps[spec.reached_stride] = x
        return maps


def max_pool(inputs: Float[Array, "*streams b h w c"]) -> Float[Array, "*streams b out_h out_w c"]:
    """3x3 maximum at stride 2; the border of one pixel (PyTorch's padding) never wins.

    Written as a maximum of shifted images: on a CPU the gradient of XLA's window reduction takes eight times as long
    in float32. The type of the comparison is float32 for the same reason.
    """
    if plain_forms_wanted():
        return nn.max_pool(inputs, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    height, width = ((length + 1) // 2 for length in inputs.shape[-3:-1])
    borders = [(0, 0)] * (inputs.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
    padded = jnp.pad(inputs.astype(jnp.float32), borders, constant_values=-jnp.inf)
    shifted = [
        padded[..., row : row + 2 * height - 1 : 2, column : column + 2 * width - 1 : 2, :]
        for row in range(3)
        for column in range(3)
    ]
    return functools.reduce(jnp.maximum, shifted).astype(inputs.dtype)


_PLACES = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}  # of a sequence with ReLU and pool
_LAYERS = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}


def torch_name(collection: str, path: tuple[str, ...]) -> str:
    """timm's and torchvision's names: ('params', ('layer1_0', 'conv1', 'kernel')) to 'layer1.0.conv1.weight'."""
    *layers, leaf = path
    names = [_LAYERS.get(layer, layer.replace("_", ".")) for layer in layers]
    return ".".join([*names, torch_leaf(collection, leaf)])


def sequence_name(collection: str, path: tuple[str, ...]) -> str:
    """TIAToolbox's names: ('params', ('layer1_0', 'conv1', 'kernel')) to 'feat_extract.4.0.conv1.weight'."""
    first, _, rest = torch_name(collection, path).partition(".")
    return f"feat_extract.{_PLACES[first]}.{rest}"


def _build(options: EncoderOptions, name: str) -> ResNet:
    return ResNet(
        options.backbone,
        options.output_stride,
        options.normalisation,
        options.width,
        options.rematerialise,
        options.dtype,
        name=name,
    )


FAMILY = Family(
    backbones=tuple(BACKBONES),
    build=_build,
    output_strides=(8, 16),
    pixels=IMAGENET,
    name_tables=(torch_name, sequence_name),
    no_place=(r"(fc|classifier)\..*", r".*\.num_batches_tracked"),
    published=RESNETS,
    width=STANDARD_WIDTH,
    layers=lambda backbone: (r"(conv1|bn1)/.*", *(rf"layer{stage}_\d+/.*" for stage in (1, 2, 3, 4))),
)
