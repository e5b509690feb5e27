"""The optimiser against its formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.common.errors import UserError
from crcfp_jax.training.optimizer import learning_rate, make_optimizer
from crcfp_jax.training.step import make_train_step

HEADS_TENFOLD = (("backbone/.*", 1.0), (".*", 10.0))


def params_of(**groups):
    """One kernel of one value in each group."""
    return {group: {"kernel": jnp.asarray([value])} for group, value in groups.items()}


def moved(config, params, gradients, steps=1):
    """Parameters and state after `steps` steps with the same gradients."""
    optimizer = make_optimizer(config)
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_polynomial_decay_by_hand():
    schedule = learning_rate(tiny_config(train__steps=100, optimizer__learning_rate=0.1))
    np.testing.assert_allclose([schedule(0), schedule(50), schedule(100)], [0.1, 0.1 * 0.5**0.9, 0.0], rtol=1e-5)


def test_warm_up_and_decay_by_hand():
    config = tiny_config(
        train__steps=100, optimizer__learning_rate=0.1, optimizer__warmup_steps=4, optimizer__poly_power=1.0
    )
    rates = [learning_rate(config)(step) for step in (0, 1, 3, 4, 50, 100)]
    expected = [0.25 * 0.1, 0.5 * 0.1 * 0.99, 0.1 * 0.97, 0.1 * 0.96, 0.1 * 0.5, 0.0]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_a_warm_up_longer_than_the_training_is_named():
    with pytest.raises(UserError, match=r"config\.optimizer\.warmup_steps=11 is more than config\.train\.steps=10"):
        make_optimizer(tiny_config(optimizer__warmup_steps=11))
    make_optimizer(tiny_config(optimizer__warmup_steps=10))


def test_sgd_is_torchs_with_a_greater_rate_for_the_heads():
    config = tiny_config(
        optimizer__learning_rate=0.1, optimizer__weight_decay=0.01, optimizer__groups=HEADS_TENFOLD,
        optimizer__warmup_steps=2,
    )  # fmt: skip
    optimizer = make_optimizer(config)
    params, gradients = params_of(backbone=1.0, classifier=1.0), params_of(backbone=0.5, classifier=0.5)
    state = optimizer.init(params)
    weight, momentum = {"backbone": 1.0, "classifier": 1.0}, {"backbone": 0.0, "classifier": 0.0}
    for step in range(3):
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        rate = 0.1 * (1 - step / 10) ** 0.9 * min(1, (step + 1) / 2)
        for group, multiplier in (("backbone", 1), ("classifier", 10)):
            # torch.optim.SGD: the decay joins the gradient, the momentum gathers both.
            momentum[group] = 0.9 * momentum[group] + 0.5 + 0.01 * weight[group]
            weight[group] -= rate * multiplier * momentum[group]
            np.testing.assert_allclose(params[group]["kernel"], [weight[group]], rtol=1e-5)


ADAMW = {
    "optimizer__name": "adamw",
    "optimizer__learning_rate": 0.1,
    "optimizer__weight_decay": 0.01,
    "optimizer__poly_power": 0.0,
}


def test_adamw_decays_kernels_alone():
    norm = {"scale": jnp.array([2.0]), "bias": jnp.array([2.0])}
    stacked = {"kernel": jnp.full((2, 1, 1), 2.0), "bias": jnp.full((2, 1), 2.0)}
    params = {"backbone": {"norm": norm}, "auxiliary": stacked}
    optimizer = make_optimizer(tiny_config(**ADAMW))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["auxiliary"]["kernel"], np.full((2, 1, 1), -0.1 * 0.01 * 2), rtol=1e-6)
    for leaf in (*updates["backbone"]["norm"].values(), updates["auxiliary"]["bias"]):
        np.testing.assert_array_equal(leaf, np.zeros_like(leaf))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_group_that_says_its_decay_has_it_on_all_of_its_parameters(name):
    groups = (("head/.*", 1.0, 0.5), ("backbone/bias", 1.0, 0.25), (".*", 1.0, 0))
    config = tiny_config(**ADAMW | {"optimizer__name": name, "optimizer__groups": groups})
    layer = {"kernel": jnp.array([2.0]), "bias": jnp.array([2.0])}
    params = {"head": layer, "backbone": layer}
    found, _ = moved(config, params, jax.tree.map(jnp.zeros_like, params))
    np.testing.assert_allclose([found["head"]["kernel"], found["head"]["bias"]], [[2 - 0.1 * 0.5 * 2]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["backbone"]["bias"], [2 - 0.1 * 0.25 * 2], rtol=1e-6)
    np.testing.assert_array_equal(found["backbone"]["kernel"], [2.0])


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_layer_wise_decay_of_the_learning_rate(name):
    """Rows halve the rate from block to block; a gradient of 1 makes every first direction 1."""
    groups = ((r"backbone/conv1/.*", 0.125), (r"backbone/layer1_\d+/.*", 0.25), ("backbone/.*", 0.5), (".*", 1.0))
    changes = {"optimizer__name": name, "optimizer__groups": groups, "optimizer__weight_decay": 0.0}
    leaf = {"kernel": jnp.array([1.0])}
    params = {"backbone": {"conv1": leaf, "layer1_0": leaf, "layer1_11": leaf, "layer2_0": leaf}, "decoder": leaf}
    found, _ = moved(tiny_config(**ADAMW | changes), params, jax.tree.map(jnp.ones_like, params))
    steps = {
        key: 1.0 - values["kernel"][0] for key, values in (*found["backbone"].items(), ("decoder", found["decoder"]))
    }
    expected = {"conv1": 0.0125, "layer1_0": 0.025, "layer1_11": 0.025, "layer2_0": 0.05, "decoder": 0.1}
    assert steps == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_clipped_by_its_norm_by_hand():
    """A gradient (3, 4) of norm 5, clipped to 1, is (0.6, 0.8); clipped to 10 it is as it was."""
    params, gradients = params_of(backbone=0.0, decoder=0.0), params_of(backbone=3.0, decoder=4.0)
    plain = {"optimizer__learning_rate": 1.0, "optimizer__weight_decay": 0.0}
    for clip, expected in ((1.0, (-0.6, -0.8)), (10.0, (-3.0, -4.0)), (0.0, (-3.0, -4.0))):
        found, _ = moved(tiny_config(**plain, optimizer__clip=clip), params, gradients)
        np.testing.assert_allclose([found["backbone"]["kernel"][0], found["decoder"]["kernel"][0]], expected, rtol=1e-6)


def test_what_is_frozen_counts_in_no_norm_and_has_no_state():
    params, gradients = params_of(backbone=7.0, decoder=0.0), params_of(backbone=300.0, decoder=4.0)
    for name in ("sgd", "adamw"):
        config = tiny_config(
            optimizer__name=name, optimizer__learning_rate=1.0, optimizer__clip=2.0,
            optimizer__groups=(("backbone/.*", 0.0), (".*", 1.0)),
        )  # fmt: skip
        found, state = moved(config, params, gradients)
        np.testing.assert_array_equal(found["backbone"]["kernel"], [7.0])
        np.testing.assert_allclose(found["decoder"]["kernel"], [-2.0 if name == "sgd" else -1.0], rtol=1e-5)
        kept = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
        assert len(kept) == (1 if name == "sgd" else 2)  # momentum, or Adam's two moments, of the decoder alone


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_frozen_encoder_stays_and_its_running_statistics_move(name):
    frozen = (("backbone/.*", 0), (".*", 1.0))
    config = tiny_config(method="crcfp_s1", optimizer__name=name, optimizer__groups=frozen)
    network, method, optimizer = tiny_parts(config)
    step = jax.jit(make_train_step(network, method, config, optimizer))
    before = state = tiny_state(config)
    for number in range(2):
        state, metrics = step(state, tiny_batch(config, seed=number), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.params["backbone"], before.params["backbone"])
    for group in ("decoder", "classifier", "projector"):
        assert all(
            np.any(a != b)
            for a, b in zip(jax.tree.leaves(state.params[group]), jax.tree.leaves(before.params[group]), strict=True)
        )
    assert metrics["gradient_norm"] > 0
    running = state.batch_stats["backbone"]["bn1"]["mean"], before.batch_stats["backbone"]["bn1"]["mean"]
    assert np.all(running[0] != running[1])


def test_no_gradient_is_computed_for_what_is_frozen():
    def operations(groups):
        config = tiny_config(method="supervised", optimizer__groups=groups)
        network, method, optimizer = tiny_parts(config)
        step = make_train_step(network, method, config, optimizer)
        lowered = jax.jit(step).lower(jax.eval_shape(lambda: tiny_state(config)), tiny_batch(config), jax.random.key(0))
        return lowered.cost_analysis()["flops"]

    # The backward pass is two thirds of the work.
    assert operations((("classifier/.*", 1.0), (".*", 0))) < 0.4 * operations(((".*", 1.0),))


@pytest.mark.parametrize("multiple", [1.0, 10.0])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_state_is_that_of_earlier_runs_and_so_is_every_bit(name, multiple):
    """The chain that there was before there were groups: runs of that time go on."""

    def heads(updates, _):
        return {
            group: values if group == "backbone" else jax.tree.map(lambda x: x * multiple, values)
            for group, values in updates.items()
        }

    def kernels(updates, params):
        def add(path, update, parameter):
            return update + 0.01 * parameter if path[-1].key == "kernel" else update

        return jax.tree.map_with_path(add, updates, params)

    config = tiny_config(
        optimizer__name=name, optimizer__weight_decay=0.01,
        optimizer__groups=((".*", 1.0),) if multiple == 1 else HEADS_TENFOLD,
    )  # fmt: skip
    direction = {
        "sgd": (optax.add_decayed_weights(0.01), optax.trace(0.9)),
        "adamw": (optax.scale_by_adam(b1=0.9), optax.stateless(kernels)),
    }
    rate = optax.scale_by_learning_rate(optax.polynomial_schedule(0.01, 0.0, 0.9, 10))
    before, now = optax.chain(*direction[name], optax.stateless(heads), rate), make_optimizer(config)
    generator = np.random.default_rng(0)

    def random():
        layer = {"kernel": (3, 2), "bias": (2,)}
        return {
            group: {part: jnp.asarray(generator.normal(size=size), jnp.float32) for part, size in layer.items()}
            for group in ("backbone", "decoder")
        }

    params = random()
    states = [optimizer.init(params) for optimizer in (before, now)]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    for _ in range(3):
        gradients = random()
        (expected, states[0]), (found, states[1]) = (
            jax.jit(optimizer.update)(gradients, state, params)
            for optimizer, state in zip((before, now), states, strict=True)
        )
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        params = optax.apply_updates(params, found)
    jax.tree.map(np.testing.assert_array_equal, states[1], states[0])
