"""Normalisation layers, chosen by name."""

import math
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
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

    def __call__(self, inputs: Float[Array, "b h w c"], *, train: bool, name: str) -> Float[Array, "b h w c"]:
        """Normalises inside a Linen module's compact method; `name` is the layer's name there."""
        if self.kind == "group":
            group_size = math.gcd(inputs.shape[-1], GROUP_SIZE)
            layer = nn.GroupNorm(None, group_size=group_size, epsilon=EPSILON, dtype=self.dtype, name=name)
            return layer(inputs)
        layer = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=EPSILON,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name=name,
        )
        return layer(inputs)
