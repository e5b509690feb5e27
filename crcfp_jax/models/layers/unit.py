"""A convolution with what follows it."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.models.layers.convolution import Convolution
from crcfp_jax.models.layers.normalisation import Normalisation


class ConvolutionUnit(nn.Module):
    """Convolution, normalisation, ReLU."""

    features: int
    normalisation: Normalisation
    size: int = 1
    stride: int = 1
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "*streams b h w c"], *, train: bool
    ) -> Float[Array, "*streams b out_h out_w features"]:
        x = Convolution(
            self.features, size=self.size, stride=self.stride, dilation=self.dilation, dtype=self.dtype, name="conv"
        )(inputs)
        return nn.relu(self.normalisation(x, train=train, name="bn"))
