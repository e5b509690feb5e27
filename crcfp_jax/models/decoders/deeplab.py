"""DeepLab decoders: from an encoder's maps to the features that every head shares."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.models.layers.normalisation import Normalisation
from crcfp_jax.models.layers.resize import resize_bilinear
from crcfp_jax.models.layers.unit import ConvolutionUnit

DECODERS = ("v3", "v3plus")
RATES = (6, 12, 18)  # dilations of the atrous branches at an output stride of 16 (Chen et al. 2017)
STANDARD_WIDTH = 256  # channels


def rates(output_stride: int) -> tuple[int, ...]:
    """Dilations of the atrous branches: the same distances in pixels at every output stride."""
    return tuple(rate * 16 // output_stride for rate in RATES)


class SpatialPyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and image pooling, joined by a 1x1 convolution.

    The pooled branch has one position an image, so that its batch statistics come from as many values as the batch
    (over all replicas) has images: with one image it is the constant `bias`, and its gradient vanishes. No dropout at
    the end (torchvision has one): the encoder stays deterministic, perturbations belong to the auxiliary classifiers.
    """

    features: int
    output_stride: int
    normalisation: Normalisation
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "*streams b h w c"], *, train: bool
    ) -> Float[Array, "*streams b h w features"]:
        def unit(x, name, **options):
            settings = {"normalisation": self.normalisation, "dtype": self.dtype, "name": name}
            return ConvolutionUnit(self.features, **settings, **options)(x, train=train)

        branches = [unit(inputs, "pointwise")]
        for rate in rates(self.output_stride):
            branches.append(unit(inputs, f"atrous_{rate}", size=3, dilation=rate))
        pooled = jnp.mean(inputs, axis=(-3, -2), keepdims=True, dtype=jnp.float32).astype(self.dtype)
        branches.append(jnp.broadcast_to(unit(pooled, "image_pooling"), branches[0].shape))
        return unit(jnp.concatenate(branches, axis=-1), "project")


class Decoder(nn.Module):
    """The decoder of DeepLab-v3 (the paper's network) or DeepLab-v3+ (the authors' release).

    'v3' (Chen et al. 2017): pyramid pooling, then a 3x3 convolution; features at the output stride.
    'v3plus' (Chen et al. 2018): the pyramid's output is resized to stride 4, joined with a projection of the
    encoder's map there to 48 channels (of 256), then two 3x3 convolutions; features at stride 4.
    """

    decoder: str  # one of DECODERS
    output_stride: int
    normalisation: Normalisation
    width: int = STANDARD_WIDTH  # channels of the features
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, low: Float[Array, "*streams b h1 w1 c1"], high: Float[Array, "*streams b h4 w4 c4"], *, train: bool
    ) -> Float[Array, "*streams b h w c"]:
        """Takes the encoder's outputs at stride 4 (`low`) and at the output stride (`high`)."""
        features = self.width
        settings = {"normalisation": self.normalisation, "dtype": self.dtype}
        x = SpatialPyramidPooling(features, self.output_stride, **settings, name="pyramid")(high, train=train)
        if self.decoder == "v3plus":
            low_features = 48 * self.width // STANDARD_WIDTH
            low = ConvolutionUnit(low_features, **settings, name="low_level")(low, train=train)
            x = resize_bilinear(x, low.shape[-3], low.shape[-2])
            x = jnp.concatenate([x, low], axis=-1)
            x = ConvolutionUnit(features, size=3, **settings, name="fuse")(x, train=train)
        return ConvolutionUnit(features, size=3, **settings, name="refine")(x, train=train)
