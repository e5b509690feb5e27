"""Attention whose memory does not grow with the square of the number of tokens."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crcfp_jax.models.layers.forms import plain_forms_wanted

QUERIES = 512  # compared with all keys at a time


def attend(
    query: Float[Array, "b n heads d"], key: Float[Array, "b m heads d"], value: Float[Array, "b m heads d"]
) -> Float[Array, "b n heads d"]:
    """Softmax attention, scaled by 1 / sqrt(d).

    Above `QUERIES` queries they are taken in parts, and what a part is computed from is computed again for the gradient
    (Rabe and Staats 2021): no n x m matrix is ever held or kept. Where their number is not known yet, as in an exported
    program, all are taken at once.
    """

    def whole(query):
        return jax.nn.dot_product_attention(query, key, value, implementation="xla")

    count = query.shape[1]
    if plain_forms_wanted() or not isinstance(count, int) or count <= QUERIES:
        return whole(query)
    parts = -(-count // QUERIES)
    size = -(-count // parts)
    padded = jnp.pad(query, ((0, 0), (0, parts * size - count), (0, 0), (0, 0)))
    split = jnp.moveaxis(padded.reshape(len(query), parts, size, *query.shape[2:]), 1, 0)
    seen = jax.lax.map(jax.checkpoint(whole), split)
    return jnp.moveaxis(seen, 0, 1).reshape(padded.shape)[:, :count]
