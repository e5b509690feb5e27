"""The convolution that every layer of the network uses."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# As torchvision's ResNet: normal with variance 2 / (output channels * kernel area), not truncated.
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Convolution(nn.Module):
    """A square convolution without bias, padded as PyTorch pads: `dilation * (size - 1) // 2` on every side.

    `SAME` padding differs from that where the stride is 2, and pretrained weights would then be off by a pixel.
    The kernel is kept as [height, width, input, output] in float32 and cast to `dtype` for the computation.
    """

    features: int  # output channels
    size: int = 1  # kernel height and width
    stride: int = 1
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Float[Array, "b h w c"]) -> Float[Array, "b out_h out_w features"]:
        kernel = self.param("kernel", KERNEL_INIT, (self.size, self.size, inputs.shape[-1], self.features))
        return convolve(inputs.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.dilation)


def convolve(
    inputs: Float[Array, "b h w c"], kernel: Float[Array, "size size c features"], stride: int = 1, dilation: int = 1
) -> Float[Array, "b out_h out_w features"]:
    """Convolves with PyTorch's symmetric padding; the output has ceil(height / stride) rows."""
    padding = dilation * (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        inputs,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
