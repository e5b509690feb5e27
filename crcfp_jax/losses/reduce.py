"""The one way a loss becomes a number: the mean over the places that count, on all replicas."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def masked_mean(
    values: Float[Array, "*shape"], mask: Bool[Array, "*shape"], axis_name: str | None = None
) -> Float[Array, ""]:
    """Returns the mean of `values` where `mask` is true, as a float32 scalar.

    Sum and count are added over the replicas of `axis_name` separately, so that a replica with few counted places
    weighs no more than its share and the result does not depend on how a batch is spread. An empty mask gives 0 and a
    gradient of 0.
    """
    total = jnp.sum(jnp.where(mask, values, 0), dtype=jnp.float32)
    count = jnp.sum(mask, dtype=jnp.int32)
    if axis_name is not None:
        total = jax.lax.psum(total, axis_name)
        count = jax.lax.psum(count, axis_name)
    return total / jnp.maximum(count, 1).astype(jnp.float32)
