"""The train step: which term moves which parameters, warm-up, purity, determinism, statistics policies."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import tiny_batch, tiny_config, tiny_parts, tiny_state

from crcfp_jax.common.errors import UserError
from crcfp_jax.losses.supervised import cross_entropy
from crcfp_jax.methods.systems.definition import Method
from crcfp_jax.methods.systems.registry import METHODS
from crcfp_jax.runs.parts import Learner
from crcfp_jax.training.augment import augment
from crcfp_jax.training.objective import ramp
from crcfp_jax.training.optimizer import make_optimizer
from crcfp_jax.training.state import create_state
from crcfp_jax.training.step import make_train_step

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def compiled():
    """The step of the default tiny settings with a warm-up of 2 of 10 steps."""
    config = tiny_config(weights__warmup=0.2)
    network, method, optimizer = tiny_parts(config)
    return jax.jit(make_train_step(network, method, config, optimizer))


def run(config, steps=1, state=None, compiled=None):
    """The state and the last metrics after some steps on one device."""
    network, method, optimizer = tiny_parts(config)
    compiled = compiled or jax.jit(make_train_step(network, method, config, optimizer))
    state = tiny_state(config) if state is None else state
    for _ in range(steps):
        state, metrics = compiled(state, tiny_batch(config), KEY)
    return state, metrics


# Each row: what a term must move; it must leave everything else alone. The classifier gives the consistency term its
# target and the comparisons of vectors their classes, without gradient; entropy, the teacher and the labels teach it.
MOVED = {
    "crcfp": {
        "supervised": {"backbone", "decoder", "classifier"},
        "contrastive": {"backbone", "decoder", "projector"},
        "cross_consistency": {"backbone", "decoder", "auxiliary"},
        "entropy": {"backbone", "decoder", "classifier"},
    },
    "cct": {
        "supervised": {"backbone", "decoder", "classifier"},
        "cross_consistency": {"backbone", "decoder", "auxiliary"},
    },
    "cdcl": {
        "supervised": {"backbone", "decoder", "classifier"},
        "cross_patch": {"backbone", "decoder", "projector"},
        "teacher_consistency": {"backbone", "decoder", "classifier"},
        "entropy": {"backbone", "decoder", "classifier"},
    },
    "mean_teacher": {"teacher_consistency": {"backbone", "decoder", "classifier"}},
    "unimatch": {"weak_to_strong": {"backbone", "decoder", "classifier"}},
    "context_match": {
        "weak_to_strong": {"backbone", "decoder", "classifier"},
        "teacher_contrast": {"backbone", "decoder", "projector"},
    },
}


@pytest.fixture(scope="module")
def steps_with_weights():
    """Steps whose weights are arguments, compiled once a method; plain SGD moves what has a gradient."""
    return functools.cache(step_with_weights)


def step_with_weights(name):
    config = tiny_config(
        method=name,
        optimizer__weight_decay=0.0,
        optimizer__momentum=0.0,
        cct__ramp_up=0.0,
        cdcl__ramp_up=0.0,
        mean_teacher__ramp_up=0.0,
        weak_to_strong__threshold=0.35,
    )
    network, method, optimizer = tiny_parts(config)

    @jax.jit
    def step(weights, state, batch, key):
        weighted = config.copy_and_resolve_references()
        with weighted.ignore_type():
            for name, value in weights.items():
                weighted.update_from_flattened_dict({method.term(name).weight: value})
        return make_train_step(network, method, weighted, optimizer)(state, batch, key)

    return lambda weights: (tiny_state(config), *step(weights, tiny_state(config), tiny_batch(config), KEY))


@pytest.mark.parametrize(("name", "term"), [(name, term) for name, terms in MOVED.items() for term in terms])
def test_each_term_moves_its_parameter_groups_and_no_other(steps_with_weights, name, term):
    before, after, metrics = steps_with_weights(name)({t.name: float(t.name == term) for t in METHODS[name].all_terms})
    assert metrics[f"loss/{term}"] > 0
    moved = {
        group
        for group, values in before.params.items()
        if any(
            np.any(a != b) for a, b in zip(jax.tree.leaves(values), jax.tree.leaves(after.params[group]), strict=True)
        )
    }
    assert moved == MOVED[name][term]


TERMS = {term.name: term for name in ("crcfp", "cdcl") for term in METHODS[name].terms}
COMBINATIONS = [
    terms
    for count in (1, 2, 3)
    for terms in itertools.combinations(TERMS, count)
    if not {"contrastive", "cross_patch"} <= set(terms)
]


def combined(names):
    """A method of these terms, with the streams that they look at."""
    terms = tuple(dataclasses.replace(TERMS[name], ramp="") for name in names)
    known = {stream.name: stream for name in ("crcfp", "cdcl") for stream in METHODS[name].streams}
    streams = tuple(known[name] for name in dict.fromkeys(name for term in terms for name in term.streams))
    taught = any(stream.teacher for stream in streams)
    return Method(
        "any", "", (), streams, terms, predictions=streams[0].name, teacher_decay="cdcl.teacher_decay" * taught
    )


@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_terms_are_independent_of_one_another(names):
    method, config = combined(names), tiny_config()
    learner = Learner(config, 2, method, make_optimizer(config))
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    network = learner.network()
    state = jax.eval_shape(lambda: create_state(network, method, config, learner.optimizer, sharding=sharding))
    batch = {key: jnp.asarray(value) for key, value in tiny_batch(config).items()} | {
        "label": jnp.zeros((4, config.data.side, config.data.side), jnp.uint8)
    }
    after, metrics = jax.eval_shape(make_train_step(network, method, config, learner.optimizer), state, batch, KEY)
    assert {name for name in metrics if name.startswith("loss/")} == {
        f"loss/{term}" for term in ("supervised", "total", *names)
    }
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.parametrize(
    ("scheme", "terms"),
    [
        ("supervised", ()),
        ("crcfp_s1", ("contrastive",)),
        ("crcfp_s2", ("contrastive", "entropy")),
        ("crcfp", ("contrastive", "entropy", "cross_consistency")),
    ],
)
def test_the_schemes_are_those_of_the_papers_table_4(scheme, terms):
    network, method, _ = tiny_parts(tiny_config(method=scheme))
    assert {term.name for term in method.terms} == set(terms)
    assert bool(network.perturbations) == ("cross_consistency" in terms)


def test_warmup_counts_only_the_supervised_term_until_its_last_step(compiled):
    config = tiny_config()
    state, metrics = run(config, steps=2, compiled=compiled)
    assert metrics["loss/total"] == metrics["loss/supervised"]
    _, metrics = run(config, state=state, compiled=compiled)
    w = config.weights
    expected = (
        metrics["loss/supervised"]
        + w.contrastive * metrics["loss/contrastive"]
        + w.cross_consistency * metrics["loss/cross_consistency"]
        + w.entropy * metrics["loss/entropy"]
    )
    np.testing.assert_allclose(metrics["loss/total"], expected, rtol=1e-6)
    assert metrics["loss/total"] != metrics["loss/supervised"]


def test_a_ramp_rises_from_the_end_of_the_warmup_to_full_weight():
    config = tiny_config(method="cct", weights__warmup=0.2, cct__ramp_up=0.4, train__steps=10)
    (term,) = METHODS["cct"].terms
    shares = [float(ramp(term, config, jnp.asarray(step))) for step in range(10)]
    # exp(-5 (1 - t)^2) at t = 0, 1/4, 1/2, 3/4, 1
    np.testing.assert_allclose(shares[:7], [0, 0, 0.006738, 0.060055, 0.286505, 0.731616, 1], atol=1e-6)
    assert shares[7:] == [1, 1, 1]


def test_supervised_costs_no_more_than_the_plain_network():
    config = tiny_config(method="supervised")
    network, method, optimizer = tiny_parts(config)
    state, batch = tiny_state(config), tiny_batch(config)

    def plain(state, batch, key):
        """Cross-entropy, gradient and update of network and classifier, and nothing else."""

        def loss_function(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(batch["image"])))
            images = augment(keys, batch["image"], config.augment, network.pixels)
            logits, updated = network.apply(variables, images, train=True, mutable=["batch_stats"])
            values, mask = cross_entropy(logits, batch["label"])
            return jnp.sum(values * mask) / jnp.sum(mask), updated

        gradients, updated = jax.grad(loss_function, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        return optax.apply_updates(state.params, updates), updated, opt_state

    def flops(function):
        return jax.jit(function).lower(state, batch, KEY).compile().cost_analysis()["flops"]

    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    # The norm of the gradient, which a run watches, takes a product and a sum for each parameter; half a per cent is
    # for the compiler, which fuses the two programs differently.
    assert flops(make_train_step(network, method, config, optimizer)) <= 1.005 * flops(plain) + 2 * parameters


def test_the_bank_holds_the_last_steps_and_a_step_repeats_to_the_bit(compiled):
    config = tiny_config()
    one, _ = run(config, compiled=compiled)
    assert int(jnp.sum(one.bank.labels >= 0)) == 32 and int(one.bank.cursor) == 32
    two, metrics = run(config, steps=2, compiled=compiled)
    jax.tree.map(np.testing.assert_array_equal, (two, metrics), run(config, state=one, compiled=compiled))
    assert int(jnp.sum(two.bank.labels >= 0)) == 64 and int(two.bank.cursor) == 0
    np.testing.assert_allclose(np.linalg.norm(two.bank.features, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(one.bank.features[:32], two.bank.features[:32])


def test_supervised_needs_no_unlabelled_images_and_its_loss_falls():
    config = tiny_config(method="supervised", train__steps=40, optimizer__learning_rate=0.02, augment__labelled=False)
    network, method, optimizer = tiny_parts(config)
    step = jax.jit(make_train_step(network, method, config, optimizer))
    batch = tiny_batch(config)
    batch["label"] = (batch["image"][..., 0] > 128).astype(np.uint8)
    state, losses = tiny_state(config), []
    for _ in range(40):
        state, metrics = step(state, batch, KEY)
        losses.append(float(metrics["loss/supervised"]))
    assert losses[-1] < 0.5 * losses[0]
    assert set(state.params) == {"backbone", "decoder", "classifier"}
    assert state.bank is None
    assert {name for name in metrics if name.startswith("loss/")} == {"loss/supervised", "loss/total"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"contrastive__negatives": 33}, "config.contrastive.negatives=33"),
        ({"method": "cdcl", "model__statistics": "joint"}, "config.model.statistics='joint' can't be combined"),
        ({"method": "cdcl", "cdcl__negatives": 30}, "config.cdcl.negatives=30"),
        ({"contrastive__negatives": 8 * 17}, "config.contrastive.negatives=136"),
        ({"data__side": 36}, "config.data.side=36"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, named):
    config = tiny_config(**changes)
    network, method, optimizer = tiny_parts(config)
    with pytest.raises(UserError, match="^" + named.replace(".", r"\.")):
        make_train_step(network, method, config, optimizer)


@pytest.mark.parametrize(
    ("method", "dtype"), [("supervised", "float32"), ("crcfp", "bfloat16"), ("context_match", "float32")]
)
def test_crops_without_an_annotated_pixel_teach_nothing_and_spoil_nothing(method, dtype):
    config = tiny_config(method=method, optimizer__weight_decay=0.0, model__dtype=dtype)
    network, definition, optimizer = tiny_parts(config)
    step = jax.jit(make_train_step(network, definition, config, optimizer))
    batch = tiny_batch(config) | {"label": np.full((4, 32, 32), 255, np.uint8)}
    before = tiny_state(config)
    after, metrics = step(before, batch, KEY)
    assert metrics["loss/supervised"] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after.params, after.batch_stats, metrics)))
    if method == "supervised":
        assert metrics["loss/total"] == metrics["gradient_norm"] == 0
        jax.tree.map(np.testing.assert_array_equal, after.params, before.params)


def test_crops_of_one_class_and_one_colour_stay_finite_in_bfloat16():
    """Every variance of the first layers is 0, and every prediction soon certain."""
    config = tiny_config(method="context_match", model__dtype="bfloat16", optimizer__learning_rate=0.5)
    network, definition, optimizer = tiny_parts(config)
    step = jax.jit(make_train_step(network, definition, config, optimizer))
    batch = tiny_batch(config)
    batch |= {key: np.full_like(value, 255) for key, value in batch.items() if value.ndim == 4}
    batch["label"] = np.ones_like(batch["label"])
    state = tiny_state(config)
    for _ in range(5):
        state, metrics = step(state, batch, KEY)
        assert metrics["finite"] == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.batch_stats, state.teacher)))


def test_the_teacher_keeps_what_is_frozen_as_it_is():
    config = tiny_config(
        method="fixmatch", optimizer__encoder="frozen", weak_to_strong__teacher_decay=0.3, weights__warmup=0.0
    )
    state, _ = run(config, steps=3)
    of_teacher = state.teacher["params"]
    jax.tree.map(np.testing.assert_array_equal, of_teacher["backbone"], state.params["backbone"])
    jax.tree.map(np.testing.assert_array_equal, of_teacher["backbone"], tiny_state(config).params["backbone"])
    assert np.any(of_teacher["classifier"]["logits"]["kernel"] != state.params["classifier"]["logits"]["kernel"])
