"""The depthwise convolution: every channel has a kernel of its own and sees no other channel."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from crcfp_jax.models.layers.convolution import pad
from crcfp_jax.models.layers.padding import Padding

# Normal with variance 2 / kernel area, as TensorFlow's and timm's EfficientNets.
KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class DepthwiseConvolution(nn.Module):
    """A square depthwise convolution without bias; as many channels come out as go in.

    The kernel is kept as [height, width, 1, channels] in float32 and cast to `dtype` for the computation.
    """

    size: int = 3  # kernel height and width, odd
    stride: int = 1
    dilation: int = 1
    padding: Padding = "torch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Float[Array, "*streams b h w c"]) -> Float[Array, "*streams b out_h out_w c"]:
        kernel = self.param("kernel", KERNEL_INIT, (self.size, self.size, 1, inputs.shape[-1]))
        images = inputs.astype(self.dtype).reshape(-1, *inputs.shape[-3:])
        outputs = depthwise_convolve(images, kernel, self.stride, self.dilation, self.padding)
        return outputs.reshape(*inputs.shape[:-3], *outputs.shape[1:])


def depthwise_convolve(
    inputs: Float[Array, "n h w c"],
    kernel: Float[Array, "size size 1 c"],
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "torch",
) -> Float[Array, "n out_h out_w c"]:
    """Convolves each channel with its own kernel, in the type of `inputs`; the output has ceil(h / stride) rows."""
    return lax.conv_general_dilated(
        pad(inputs, kernel.shape[0], stride, dilation, padding),
        kernel.astype(inputs.dtype),
        window_strides=(stride, stride),
        padding="VALID",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=inputs.shape[-1],
    )
