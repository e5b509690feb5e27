"""Shipped configs build, shrunk, and trace; values that no run can use are named."""

import json

import jax
import jax.numpy as jnp
import pytest
from shipped_configs import CONFIGS, SHIPPED, load
from tiny import num_classes, tiny_batch, tiny_config

from crcfp_jax.common.errors import UserError
from crcfp_jax.config import default
from crcfp_jax.methods.systems.registry import METHODS
from crcfp_jax.runs.parts import build_learner
from crcfp_jax.training.state import create_state
from crcfp_jax.training.step import make_train_step


def trace(config):
    """Traces state and step without compiling them; returns the shapes of the metrics."""
    learner = build_learner(config, num_classes(config))
    network, method, optimizer = learner.network(), learner.method, learner.optimizer
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = jax.eval_shape(lambda: create_state(network, method, config, optimizer, sharding=sharding))
    step = make_train_step(network, method, config, optimizer)
    batch = {name: jnp.asarray(value) for name, value in tiny_batch(config).items()}
    _, metrics = jax.eval_shape(step, state, batch, jax.random.key(0))
    return metrics


def test_every_config_file_is_tested():
    assert {path.stem for path in CONFIGS.glob("*.py")} == {name.partition(":")[0] for name in SHIPPED}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_config_builds_and_traces_shrunk(name):
    config = load(name)
    config.data.side = 64
    config.model.backbone = "resnet18"
    config.model.width = 8
    config.model.decoder_width = 32
    config.train.batch_size = config.train.unlabelled_batch_size = 2
    config.contrastive.negatives = config.cdcl.negatives = 16
    metrics = trace(config)
    assert {f"loss/{term}" for term in ("supervised", *terms_of(config.method))} <= set(metrics)


def test_the_defaults_are_the_papers():
    """Section 4.5 and 4.6; the release's where it speaks alone (momentum, weight decay, steps an epoch)."""
    c = default()
    paper = {
        "data.side": 320, "data.overlap": (0.1, 1.0), "data.flips": "both", "augment.labelled": True,
        "model.backbone": "resnet50", "model.decoder": "v3", "model.projection_dim": 128, "model.projection_hidden": 0,
        "weights.supervised": 1.0, "weights.contrastive": 0.1, "weights.cross_consistency": 0.01,
        "weights.entropy": 0.01, "weights.warmup": 5 / 80,
        "contrastive.threshold": 0.75, "contrastive.filter": "paper", "contrastive.temperature": 0.1,
        "contrastive.negatives": 1200,
        "cross_consistency.perturbations": ("feature_noise", "feature_dropout", "dropout"),
        "cross_consistency.classifiers": 4, "cross_consistency.threshold": 0.0,
        "optimizer.name": "sgd", "optimizer.learning_rate": 0.001, "optimizer.groups": ((".*", 1.0),),
        "optimizer.poly_power": 0.9, "optimizer.warmup_steps": 0, "optimizer.clip": 0.0,
        "train.batch_size": 8, "train.unlabelled_batch_size": 8, "train.steps": 80 * 100,
    }  # fmt: skip
    assert {key: at(c, key) for key in paper} == paper


@pytest.mark.parametrize(("name", "batch"), [("bcss:release", 10), ("monuseg:release", 8)])
def test_release_is_the_whole_release(name, batch):
    c = load(name)
    changed = {
        "data.flips": "horizontal", "augment.labelled": False, "model.decoder": "v3plus",
        "model.projection_hidden": 256, "weights.warmup": 0.0, "contrastive.filter": "release",
        "contrastive.negatives": 2400, "contrastive.bank_steps": 3,
        "cross_consistency.perturbations": ("feature_noise", "feature_dropout_max", "spatial_dropout"),
        "cross_consistency.classifiers": 6, "cross_consistency.threshold": 0.75,
        "optimizer.groups": (("backbone/.*", 1.0), (".*", 10.0)),
        "train.batch_size": batch, "train.unlabelled_batch_size": batch,
    }  # fmt: skip
    assert {key: at(c, key) for key in changed} == changed


def terms_of(method):
    return [term.name for term in METHODS[method].terms]


def at(config, key):
    """The value of a dotted key."""
    for name in key.split("."):
        config = config[name]
    return config


def test_cct_keeps_the_rule_of_the_maximum():
    assert "feature_dropout_max" in default().cct.perturbations
    assert "feature_dropout" not in default().cct.perturbations


@pytest.mark.parametrize("method", METHODS)
def test_every_method_traces(method):
    metrics = trace(tiny_config(method=method))
    assert {name for name in metrics if name.startswith("loss/")} == {
        f"loss/{term}" for term in ("supervised", "total", *terms_of(method))
    }


def test_an_unknown_variant_is_named():
    known = "release, small, small_pretrained, tiny"
    with pytest.raises(UserError, match=rf"configs/bcss\.py:large is unknown; known variants: {known}"):
        load("bcss:large")


def test_an_unknown_key_is_an_error_not_a_new_key():
    with pytest.raises(AttributeError, match="leaning_rate"):
        default().optimizer.leaning_rate = 0.1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "cdlc"}, "config.method='cdlc' is unknown; known methods: supervised"),
        ({"method": "cdcl"}, "config.method='cdcl' tells foreground from background and takes data of two classes"),
        ({"method": "cct", "cct__classifiers": (1, 2)}, "config.cct.classifiers=(1, 2) has 2 numbers for 7 kinds"),
        (
            {"cross_consistency__perturbations": ("feature_noise", "noise")},
            "config.cross_consistency.perturbations has 'noise'; known are feature_noise,",
        ),
        (
            {"cross_consistency__perturbations": ("vat", "vat")},
            "config.cross_consistency.perturbations has 'vat' twice",
        ),
        ({"contrastive__negatives": 0}, "config.contrastive.negatives=0 must be a whole number, at least 1"),
    ],
)
def test_values_that_no_run_can_use_are_named(changes, named):
    with pytest.raises(UserError) as caught:
        build_learner(tiny_config(**changes), 3)
    assert str(caught.value).startswith(named)


@pytest.mark.parametrize("name", ["own", "own:small", "own:small_pretrained", "own:tiny"])
def test_slides_of_ones_own_need_no_further_setting(name):
    c = load(name)
    assert (c.fraction, c.data.sampling, c.evaluation.selection) == ("1/1", "classes", "last")
    assert c.data.microns_per_pixel == 0  # the build's


def test_own_pretrained_is_small_with_another_encoder_and_other_strong_views():
    one, other = (json.loads(load(name).to_json()) for name in ("own:small", "own:small_pretrained"))
    assert {key for key in one if one[key] != other[key]} == {"model", "strong_view"}
    changed = {key for key in one["model"] if one["model"][key] != other["model"][key]}
    assert changed == {"backbone", "pretrained"}
