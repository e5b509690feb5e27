"""Complementary channel dropout of UniMatch V2 (Yang et al. 2025): what one stream lacks, the other has."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

ALL, HALF, OTHER_HALF = range(3)  # of the channels that a stream keeps


class ChannelDropout(NamedTuple):
    """What is dropped from each stream: keys, and modes, which are `ALL`, `HALF` or `OTHER_HALF`."""

    keys: Key[Array, "*streams b"]
    modes: Int[Array, "*streams b"]

    def __call__(self, maps: Float[Array, "*streams b h w c"], place: int) -> Float[Array, "*streams b h w c"]:
        """Zeroes a random half of an example's channels and doubles the others; one example in two keeps all.

        Args:
            place: of the maps in the network; every place draws anew.
        """

        def factors(key, mode):
            coin, draw = jax.random.split(jax.random.fold_in(key, place))
            half = 2.0 * jax.random.bernoulli(draw, 0.5, maps.shape[-1:])
            dropped = jnp.where(mode == HALF, half, 2.0 - half)
            return jnp.where((mode == ALL) | jax.random.bernoulli(coin, 0.5), 1.0, dropped)

        each = jax.vmap(factors)(self.keys.reshape(-1), self.modes.reshape(-1))
        return maps * each.reshape(*self.keys.shape, 1, 1, -1).astype(maps.dtype)
