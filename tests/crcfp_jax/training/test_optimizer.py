"""The optimiser against its formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import tiny_config

from crcfp_jax.common.errors import UserError
from crcfp_jax.training.optimizer import learning_rate, make_optimizer


def test_polynomial_decay_by_hand():
    schedule = learning_rate(tiny_config(train__steps=100, optimizer__learning_rate=0.1))
    np.testing.assert_allclose([schedule(0), schedule(50), schedule(100)], [0.1, 0.1 * 0.5**0.9, 0.0], rtol=1e-5)


def test_sgd_is_torchs_with_a_greater_rate_for_the_heads():
    config = tiny_config(optimizer__learning_rate=0.1, optimizer__weight_decay=0.01, optimizer__head_multiplier=10.0)
    optimizer = make_optimizer(config)
    params = {"backbone": jnp.array([1.0]), "classifier": jnp.array([1.0])}
    gradients = {"backbone": jnp.array([0.5]), "classifier": jnp.array([0.5])}
    state = optimizer.init(params)
    weight, momentum = {"backbone": 1.0, "classifier": 1.0}, {"backbone": 0.0, "classifier": 0.0}
    for step in range(3):
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        rate = 0.1 * (1 - step / 10) ** 0.9
        for group, multiplier in (("backbone", 1), ("classifier", 10)):
            # torch.optim.SGD: the decay joins the gradient, the momentum gathers both.
            momentum[group] = 0.9 * momentum[group] + 0.5 + 0.01 * weight[group]
            weight[group] -= rate * multiplier * momentum[group]
            np.testing.assert_allclose(params[group], [weight[group]], rtol=1e-5)


def test_adamw_decays_kernels_alone():
    config = tiny_config(
        optimizer__name="adamw",
        optimizer__learning_rate=0.1,
        optimizer__weight_decay=0.01,
        optimizer__head_multiplier=1.0,
        optimizer__poly_power=0.0,
    )
    optimizer = make_optimizer(config)
    norm = {"scale": jnp.array([2.0]), "bias": jnp.array([2.0])}
    stacked = {"kernel": jnp.full((2, 1, 1), 2.0), "bias": jnp.full((2, 1), 2.0)}
    params = {"backbone": {"norm": norm}, "auxiliary": stacked}
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["auxiliary"]["kernel"], np.full((2, 1, 1), -0.1 * 0.01 * 2), rtol=1e-6)
    for leaf in (*updates["backbone"]["norm"].values(), updates["auxiliary"]["bias"]):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


def test_an_unknown_optimizer_is_named():
    with pytest.raises(UserError, match=r"config\.optimizer\.name='adam'"):
        make_optimizer(tiny_config(optimizer__name="adam"))
