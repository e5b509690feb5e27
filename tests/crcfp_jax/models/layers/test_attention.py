"""Attention in parts against the whole, and what it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.models.layers import attention
from crcfp_jax.models.layers.attention import attend
from crcfp_jax.models.layers.forms import plain_forms


def by_hand(query, key, value):
    scores = np.einsum("bnhd,bmhd->bhnm", query, key) / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhnm,bmhd->bnhd", weights / weights.sum(-1, keepdims=True), value)


def drawn(count):
    return np.random.default_rng(0).normal(size=(3, 2, count, 3, 8)).astype(np.float32)


@pytest.mark.parametrize("count", [5, 8, 9, 16, 29])
def test_values_and_gradients_are_those_of_the_whole(monkeypatch, count):
    monkeypatch.setattr(attention, "QUERIES", 8)
    given = drawn(count)
    np.testing.assert_allclose(attend(*jnp.asarray(given)), by_hand(*given), atol=1e-5)

    def loss(given):
        return jnp.sum(jnp.sin(attend(*given)))

    found = jax.grad(loss)(jnp.asarray(given))
    with plain_forms():
        expected = jax.grad(loss)(jnp.asarray(given))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def held(count):
    """Working memory of a gradient in bytes, three heads."""

    def gradient(given):
        return jax.grad(lambda given: jnp.sum(attend(*given)))(given)

    given = jax.ShapeDtypeStruct((3, 1, count, 3, 8), jnp.float32)
    return jax.jit(gradient).lower(given).compile().memory_analysis().temp_size_in_bytes


def test_memory_grows_with_the_number_of_tokens_not_with_its_square():
    """A crop of 320 pixels in patches of 8 has 1600."""
    assert held(8192) < 4.1 * held(2048)
    with plain_forms():
        assert held(1600) > 2 * 3 * 1600**2 * 4  # all pairs, forward and backward
