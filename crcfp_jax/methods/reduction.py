"""The network's heads in a step, and how what they give is reduced over the replicas."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax.typing import VariableDict
from jaxtyping import Array, Bool, Float

from crcfp_jax.losses.reduce import masked_mean
from crcfp_jax.models.network import Network

Metrics = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Heads:
    """The network's heads with this step's variables, and the axis that losses are reduced over."""

    network: Network
    variables: VariableDict
    axis_name: str | None

    def apply(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the network that neither reads nor writes batch statistics of its own."""
        return self.network.apply(self.variables, *arguments, method=method)

    def mean(self, values: Float[Array, "*shape"], mask: Bool[Array, "*shape"]) -> Float[Array, ""]:
        """`masked_mean` over every replica."""
        return masked_mean(values, mask, self.axis_name)

    def share(self, mask: Bool[Array, "*shape"]) -> Float[Array, ""]:
        """Share of true entries over every replica."""
        return self.mean(mask.astype(jnp.float32), jnp.ones_like(mask))
