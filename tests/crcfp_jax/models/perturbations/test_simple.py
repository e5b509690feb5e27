"""Feature perturbations: their distributions and what they keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crcfp_jax.models.perturbations.simple import (
    PERTURBATIONS,
    dropout,
    feature_dropout,
    feature_dropout_max,
    feature_noise,
    random_bytes,
    spatial_dropout,
)

KEY = jax.random.key(3)


def test_noise_is_uniform_within_three_tenths():
    noise = np.asarray(feature_noise(jnp.full((40, 50, 30), 2.0), KEY)) / 2 - 1
    assert noise.min() == pytest.approx(-0.3, abs=0.002)
    assert noise.max() == pytest.approx(0.3, abs=0.002)
    assert noise.mean() == pytest.approx(0, abs=0.004)  # five standard errors of 60000 draws
    assert noise.std() == pytest.approx(0.6 / np.sqrt(12), rel=0.01)
    counts, _ = np.histogram(noise, bins=8, range=(-0.3, 0.3))
    np.testing.assert_allclose(counts, 7500, rtol=0.06)


def test_noise_is_proportional_to_the_feature():
    features = jnp.array([[[0.0, 1.0], [2.0, 4.0]]])
    one = feature_noise(features, KEY) - features
    assert one[0, 0, 0] == 0
    np.testing.assert_allclose(feature_noise(10 * features, KEY) - 10 * features, 10 * one, rtol=1e-4)


def test_neighbouring_draws_are_unrelated():
    noise = np.asarray(feature_noise(jnp.ones((64, 64, 32)), KEY)) - 1
    pairs = [(noise[:, :, :-1], noise[:, :, 1:]), (noise[:, :-1], noise[:, 1:]), (noise[:-1], noise[1:])]
    for first, second in pairs:
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.015


# Sums over channels of 60, 84, 96 and 100. Divided by the maximum: 0.6, 0.84, 0.96, 1; between minimum and maximum:
# 0, 0.6, 0.9, 1. Every gamma drops what is at 0.9 or above and keeps what is below 0.75.
ACTIVE = jnp.asarray([[[20.0, 40.0], [80.0, 4.0]], [[48.0, 48.0], [0.0, 100.0]]])


def test_feature_dropout_is_min_max_normalised():
    expected = [[[20.0, 40.0], [80.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]
    for key in jax.random.split(KEY, 20):
        np.testing.assert_array_equal(feature_dropout(ACTIVE, key), expected)


def test_the_rule_of_the_maximum_drops_where_a_gamma_is_below_the_share_of_the_maximum():
    kept = np.asarray([feature_dropout_max(ACTIVE, key)[..., 0] != 0 for key in jax.random.split(KEY, 300)])
    assert kept[:, 0, 0].all() and not kept[:, 1].any()
    assert kept[:, 0, 1].mean() == pytest.approx(0.4, abs=0.1)  # gamma above 0.84: (0.9 - 0.84) / 0.15


@pytest.mark.parametrize("rule", [feature_dropout, feature_dropout_max])
def test_feature_dropout_zeroes_the_most_active_positions(rule):
    attention = np.array([[1.0, 0.95, 0.74], [0.5, 0.91, 0.0]], np.float32)  # by both rules, as the minimum is 0
    features = jnp.asarray(attention[..., None] * np.array([1.0, 3.0]) * 5)  # channel mean is 10 times attention
    dropped = rule(features, KEY)
    kept = attention < 0.75  # no gamma drops these; every gamma drops those above 0.9
    np.testing.assert_allclose(dropped, np.where(kept[..., None], features, 0))


@pytest.mark.parametrize("rule", [feature_dropout, feature_dropout_max])
def test_feature_dropout_threshold_is_between_75_and_90_percent(rule):
    features = jnp.linspace(0, 1, 101).reshape(1, 101, 1)
    keys = jax.random.split(KEY, 300)
    kept = np.asarray(jax.vmap(rule, (None, 0))(features, keys)).max((1, 2, 3))
    assert kept.min() == pytest.approx(0.75, abs=0.015)
    assert kept.max() == pytest.approx(0.90, abs=0.015)
    assert kept.mean() == pytest.approx(0.82, abs=0.01)


@pytest.mark.parametrize("rule", [feature_dropout, feature_dropout_max])
def test_feature_dropout_of_zeros_is_zero_and_its_mask_has_no_gradient(rule):
    np.testing.assert_array_equal(rule(jnp.zeros((2, 2, 3)), KEY), np.zeros((2, 2, 3)))
    features = jnp.array([[[1.0], [0.2]]])
    np.testing.assert_array_equal(jax.grad(lambda z: rule(z, KEY).sum())(features), [[[0.0], [1.0]]])


def test_features_that_are_everywhere_alike_are_kept():
    np.testing.assert_array_equal(feature_dropout(jnp.full((2, 2, 3), 5.0), KEY), np.full((2, 2, 3), 5.0))


@pytest.mark.parametrize("channels", [1, 20, 32])
def test_dropout_keeps_half_and_doubles_it(channels):
    dropped = np.asarray(dropout(jnp.full((60, 60, channels), 3.0), KEY))
    assert set(np.unique(dropped)) == {0.0, 6.0}
    assert (dropped > 0).mean() == pytest.approx(0.5, abs=2.5 / np.sqrt(dropped.size))
    np.testing.assert_allclose((dropped > 0).mean((0, 1)), 0.5, atol=0.05)


def test_spatial_dropout_takes_whole_channels():
    dropped = np.asarray(spatial_dropout(jnp.full((3, 4, 400), 3.0), KEY))
    assert (dropped == dropped[:1, :1]).all()
    assert set(np.unique(dropped)) == {0.0, 6.0}
    assert (dropped[0, 0] > 0).mean() == pytest.approx(0.5, abs=0.1)  # four standard errors of 400 draws


def test_bytes_cover_their_range_evenly():
    drawn = np.asarray(random_bytes(KEY, (64, 64, 30)))
    assert drawn.shape == (64, 64, 30)
    counts = np.bincount(drawn.ravel(), minlength=256)
    expected = drawn.size / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * np.sqrt(2 * 255)  # chi-squared, 255 degrees


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_draw_depends_on_its_own_key_alone(name):
    perturb = jax.jit(PERTURBATIONS[name])
    features = jnp.asarray(np.random.default_rng(0).random((4, 12, 12, 6), np.float32))
    keys = jax.random.split(KEY, 4)
    batch = jax.jit(jax.vmap(PERTURBATIONS[name]))(features, keys)
    for index in range(4):
        np.testing.assert_allclose(perturb(features[index], keys[index]), batch[index], rtol=1e-6)
    assert any(not np.array_equal(perturb(features[0], key), batch[0]) for key in keys[1:])


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_type_is_kept(name):
    features = jnp.ones((4, 4, 8), jnp.bfloat16)
    assert PERTURBATIONS[name](features, KEY).dtype == jnp.bfloat16
