"""Normalisation layers, chosen by name."""

import math
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

EPSILON = 1e-5  # torchvision
GROUP_SIZE = 16  # channels a group (Wu and He 2018, Table 3), so that the grouping doesn't depend on the width


@dataclass(frozen=True)
class Normalisation:
    """How every layer of a network is normalised.

    Statistics and the normalisation itself are computed in float32 also where activations are bfloat16.
    """

    kind: str = "batch"  # 'batch' or 'group'
    momentum: float = 0.9  # share of the old running statistics that an update keeps
    axis_name: str | None = None  # replicas whose batch statistics are averaged
    dtype: Any = jnp.float32  # of the output

    def __call__(
        self, inputs: Float[Array, "*streams b h w c"], *, train: bool, name: str
    ) -> Float[Array, "*streams b h w c"]:
        """Normalises inside a Linen module's compact method; `name` is the layer's name there."""
        if self.kind == "group":
            size = math.gcd(inputs.shape[-1], GROUP_SIZE)
            settings = {"group_size": size, "epsilon": EPSILON, "dtype": self.dtype, "reduction_axes": (-3, -2, -1)}
            return nn.GroupNorm(None, **settings, name=name)(inputs)
        return BatchNormalisation(self.momentum, self.axis_name, self.dtype, name=name)(inputs, train=train)


class BatchNormalisation(nn.Module):
    """Batch normalisation with parameters and statistics named as Flax's.

    It differs from `nn.BatchNorm` in two ways. Every stream (leading axis) is normalised by statistics of its own,
    and the updated running statistics then have those leading axes too. It is computed as one scale and one shift per
    channel, as PyTorch does: the gradient then takes half the time on a CPU. The running variance is biased.
    """

    momentum: float
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Float[Array, "*streams b h w c"], *, train: bool) -> Float[Array, "*streams b h w c"]:
        channels = inputs.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_variance = self.variable("batch_stats", "var", jnp.ones, (channels,))
        inputs = inputs.astype(jnp.float32)
        if train:
            mean = jnp.mean(inputs, axis=(-4, -3, -2))
            mean_square = jnp.mean(jnp.square(inputs), axis=(-4, -3, -2))
            if self.axis_name is not None and not self.is_initializing():
                mean, mean_square = lax.pmean((mean, mean_square), self.axis_name)
            variance = jnp.maximum(mean_square - jnp.square(mean), 0)
            if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
                for running, batch in ((running_mean, mean), (running_variance, variance)):
                    old = jnp.broadcast_to(running.value, batch.shape)
                    running.value = self.momentum * old + (1 - self.momentum) * batch
        else:
            mean, variance = running_mean.value, running_variance.value
        factor = lax.rsqrt(variance + EPSILON) * jnp.broadcast_to(scale, variance.shape)
        shift = jnp.broadcast_to(bias, mean.shape) - mean * factor
        return (inputs * _per_channel(factor, inputs) + _per_channel(shift, inputs)).astype(self.dtype)


def _per_channel(values: Float[Array, "*streams c"], inputs: Float[Array, "*streams2 b h w c"]) -> Array:
    """One value per stream and channel, with the axes of `inputs`."""
    return values.reshape(*(1,) * (inputs.ndim - values.ndim - 3), *values.shape[:-1], 1, 1, 1, values.shape[-1])
