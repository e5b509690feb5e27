"""The contrastive loss: alignment, filter, values and gradients, memory, replicas."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from crcfp_jax.common.errors import UserError
from crcfp_jax.losses import contrastive
from crcfp_jax.losses.contrastive import directional_contrast, positive_mask
from crcfp_jax.losses.reduce import masked_mean

align = jax.jit(contrastive.align)
context_contrast = jax.jit(partial(contrastive.context_contrast, threshold=0.3, rule="paper", temperature=0.1, chunk=8))


def unit(rng, *shape):
    vectors = rng.normal(size=shape)
    return jnp.array(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), jnp.float32)


def views_of(canvas, origins, flips, side):
    """Cuts (view a, view b) of each image from its canvas, then flips them, as the loader does."""
    views = []
    for image, (top, left), flip in zip(canvas, origins, flips, strict=True):
        view = image[top : top + side, left : left + side]
        views.append(view[:, ::-1] if flip else view)
    return np.stack(views)


def test_align_by_hand():
    # Canvas [[1, 2, 3], [4, 5, 6]]: view a holds its first two columns, view b its last two.
    view_b = jnp.array([[[2, 3], [5, 6]]])
    offset = jnp.array([[0, 1]])
    aligned, valid = align(view_b, offset, jnp.array([[False, False]]))
    np.testing.assert_array_equal(valid, [[[False, True], [False, True]]])
    np.testing.assert_array_equal(aligned[valid], [2, 5])
    aligned, valid = align(view_b, offset, jnp.array([[True, False]]))  # a is stored as [[2, 1], [5, 4]]
    np.testing.assert_array_equal(valid, [[[True, False], [True, False]]])
    np.testing.assert_array_equal(aligned[valid], [2, 5])
    aligned, valid = align(view_b[:, :, ::-1], offset, jnp.array([[False, True]]))
    np.testing.assert_array_equal(valid, [[[False, True], [False, True]]])
    np.testing.assert_array_equal(aligned[valid], [2, 5])


def test_align_finds_the_same_place_in_both_directions():
    rng = np.random.default_rng(0)
    images, side = 64, 5
    canvas = np.arange(images * 14 * 14).reshape(images, 14, 14)
    origin_a, origin_b = rng.integers(0, 10, size=(2, images, 2))
    flip = rng.random((images, 2)) < 0.5
    a, b = (views_of(canvas, origin, flip[:, i], side) for i, origin in enumerate((origin_a, origin_b)))
    offset = jnp.array(origin_b - origin_a, jnp.int32)
    for mine, other, shift, flips in ((a, b, offset, flip), (b, a, -offset, flip[:, ::-1])):
        aligned, valid = map(np.asarray, align(jnp.array(other), shift, jnp.array(flips)))
        for image in range(images):
            shared = np.isin(mine[image], other[image])
            np.testing.assert_array_equal(valid[image], shared)
            np.testing.assert_array_equal(aligned[image][shared], mine[image][shared])


def test_align_limits_and_gradient():
    values = jnp.arange(8.0).reshape(1, 2, 2, 2)
    none = jnp.zeros((1, 2), bool)
    aligned, valid = align(values, jnp.zeros((1, 2), jnp.int32), none)
    np.testing.assert_array_equal(aligned, values)
    assert valid.all()
    assert not align(values, jnp.array([[2, 0]]), none)[1].any()
    assert not align(values, jnp.array([[0, -2]]), none)[1].any()

    def total(values):
        aligned, valid = align(values, jnp.array([[0, 1]]), none)
        return jnp.sum(aligned * valid[..., None])

    np.testing.assert_array_equal(jax.grad(total)(values)[0, :, :, 0], [[1, 0], [1, 0]])


def test_filter_by_hand():
    anchor = jnp.array([[0.8, 0.8], [0.6, 0.8]])
    positive = jnp.array([[0.9, 0.7], [0.9, 0.8]])
    valid = jnp.ones((2, 2), bool)
    np.testing.assert_array_equal(positive_mask(anchor, positive, valid, 0.75, "paper"), [[1, 0], [0, 0]])
    np.testing.assert_array_equal(positive_mask(anchor, positive, valid, 0.75, "release"), [[1, 0], [1, 0]])
    assert not positive_mask(anchor, positive, ~valid, 0.75, "release").any()
    assert not positive_mask(anchor, positive, valid, 0.95, "release").any()
    with pytest.raises(UserError, match=r"contrastive.filter='both' is unknown: choose one of paper, release"):
        positive_mask(anchor, positive, valid, 0.75, "both")


def contrast_of_one(negatives, labels, positive=(0.0, 1.0), temperature=0.5):
    values = directional_contrast(
        jnp.array([[1.0, 0.0]]),
        jnp.array([positive]),
        jnp.array([0]),
        jnp.array(negatives),
        jnp.array(labels),
        temperature,
        chunk=2,
    )
    return float(values[0])


def test_contrast_by_hand():
    # Scores over 0.5: positive 0; negatives 2 (counted), -2 (same class), 0 (empty slot), 1.2 (counted).
    negatives = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
    assert contrast_of_one(negatives, [1, 0, -1, 3]) == pytest.approx(np.log(1 + np.exp(2) + np.exp(1.2)), rel=1e-6)
    assert contrast_of_one(negatives, [0, 0, -1, 0]) == 0  # nothing to tell apart
    assert contrast_of_one(negatives, [-1] * 4) == 0  # an empty bank
    perfect = contrast_of_one([[-1.0, 0.0]], [1], positive=(1.0, 0.0), temperature=0.1)
    assert perfect == pytest.approx(0, abs=1e-6)
    worst = contrast_of_one([[1.0, 0.0]], [1], positive=(-1.0, 0.0), temperature=0.1)
    assert worst == pytest.approx(20, rel=1e-6)
    assert contrast_of_one([[1.0, 0.0]], [1], positive=(-1.0, 0.0), temperature=0.001) == pytest.approx(2000)


def example(n=13, m=22, dimension=4, seed=0):
    rng = np.random.default_rng(seed)
    anchor, positive, negatives = unit(rng, n, dimension), unit(rng, n, dimension), unit(rng, m, dimension)
    labels = jnp.array(rng.integers(0, 3, n), jnp.int32)
    return anchor, positive, labels, negatives, jnp.array(rng.integers(-1, 3, m), jnp.int32)


@partial(jax.jit, static_argnames="temperature")
def unchunked(anchor, positive, anchor_label, negatives, negative_labels, temperature):
    own = jnp.sum(anchor * positive, axis=1, keepdims=True) / temperature
    scores = anchor @ negatives.T / temperature
    counts = (anchor_label[:, None] != negative_labels[None]) & (negative_labels[None] >= 0)
    scores = jnp.concatenate([own, jnp.where(counts, scores, -jnp.inf)], axis=1)
    return jax.nn.logsumexp(scores, axis=1) - own[:, 0]


@pytest.mark.parametrize("chunk", [1, 5, 22, 256])
def test_contrast_against_a_loop(chunk):
    values = jax.jit(directional_contrast, static_argnums=(5, 6))(*example(), 0.1, chunk)
    anchor, positive, labels, negatives, negative_labels = map(np.asarray, example())
    for i, value in enumerate(values):
        own = np.exp(float(np.dot(anchor[i], positive[i])) / 0.1)
        others = 0.0
        for j in range(len(negatives)):
            if negative_labels[j] >= 0 and negative_labels[j] != labels[i]:
                others += np.exp(float(np.dot(anchor[i], negatives[j])) / 0.1)
        assert float(value) == pytest.approx(-np.log(own / (own + others)), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("chunk", [1, 5, 256])
def test_gradient_is_that_of_the_unchunked_loss(chunk):
    inputs = example()
    weights = jnp.arange(13.0) - 4

    def total(loss, *inputs):
        return jnp.sum(weights * loss(*inputs))

    expected = jax.jit(jax.grad(partial(total, partial(unchunked, temperature=0.1))))(*inputs)
    streamed = partial(total, partial(directional_contrast, temperature=0.1, chunk=chunk))
    found = jax.jit(jax.grad(streamed, argnums=(0, 1, 3)))(*inputs)
    np.testing.assert_allclose(found[0], expected, atol=1e-5 * float(jnp.abs(expected).max()))
    assert not found[1].any() and not found[2].any()  # positives and negatives stay where they are


def test_contrast_under_vmap():
    inputs = jax.tree.map(lambda *x: jnp.stack(x), example(seed=1), example(seed=2))
    streamed = jax.jit(jax.value_and_grad(lambda *x: jnp.sum(directional_contrast(*x, 0.1, 5))))
    values, gradients = jax.jit(jax.vmap(streamed))(*inputs)
    for i, seed in enumerate((1, 2)):
        value, gradient = streamed(*example(seed=seed))
        np.testing.assert_allclose(values[i], value, rtol=1e-5)
        np.testing.assert_allclose(gradients[i], gradient, atol=1e-4)


def test_peak_memory_does_not_grow_with_the_negatives():
    def temporary_bytes(loss, m):
        step = jax.jit(jax.value_and_grad(lambda *x: jnp.mean(loss(*x))))
        return step.lower(*example(400, m, 16)).compile().memory_analysis().temp_size_in_bytes

    streamed = partial(directional_contrast, temperature=0.1, chunk=100)
    few, many = (temporary_bytes(streamed, m) for m in (400, 6400))
    assert many <= 1.01 * few
    assert temporary_bytes(partial(unchunked, temperature=0.1), 6400) > 8 * many  # what it is measured against


def batch(images=4, side=4, dimension=4):
    rng = np.random.default_rng(5)
    shape = (2, images, side, side)
    return (
        unit(rng, *shape, dimension),
        jnp.array(rng.random(shape), jnp.float32),
        jnp.array(rng.integers(0, 3, shape), jnp.int32),
        jnp.array(rng.integers(-1, 2, (images, 2)), jnp.int32),
        jnp.array(rng.random((images, 2)) < 0.5),
    )


@partial(jax.jit, static_argnames="axis_name")
def context_loss(scale, features, confidences, labels, offset, flip, negatives, negative_labels, axis_name=None):
    """The loss and its gradient with respect to a parameter that all features share."""

    def loss(scale):
        maps = (features * scale, confidences, labels)
        values, mask = context_contrast(*maps, offset, flip, negatives, negative_labels)
        return masked_mean(values, mask, axis_name)

    value, gradient = jax.value_and_grad(loss)(scale)
    return value, gradient if axis_name is None else jax.lax.pmean(gradient, axis_name)


def test_context_contrast_is_both_directions():
    features, confidences, labels, offset, flip = batch()
    _, _, _, negatives, negative_labels = example()
    values, mask = context_contrast(*batch(), negatives, negative_labels)
    assert mask.shape == values.shape == (2, 4, 4, 4)
    for mine, (shift, flips) in enumerate(((offset, flip), (-offset, flip[:, ::-1]))):
        positive, valid = align(features[1 - mine], shift, flips)
        positive_confidence, _ = align(confidences[1 - mine], shift, flips)
        expected = positive_mask(confidences[mine], positive_confidence, valid, 0.3, "paper")
        np.testing.assert_array_equal(mask[mine], expected)
        assert 3 < expected.sum() < valid.sum()
        flat = [features[mine].reshape(-1, 4), positive.reshape(-1, 4), labels[mine].reshape(-1)]
        expected = unchunked(*flat, negatives, negative_labels, temperature=0.1)
        np.testing.assert_allclose(values[mine].reshape(-1), expected, rtol=1e-4, atol=1e-5)


def test_no_confident_pair_gives_zero_and_zero_gradient():
    features, _, *rest = batch()
    _, _, _, negatives, negative_labels = example()
    equal = jnp.full((2, 4, 4, 4), 0.9)  # no view is surer than the other
    value, gradient = context_loss(jnp.ones((1,) * 4 + (4,)), features, equal, *rest, negatives, negative_labels)
    assert float(value) == 0
    assert not gradient.any()


@pytest.mark.parametrize("parallel", ["shard_map", "pmap"])
def test_four_replicas_agree_with_one(parallel):
    scale = jnp.array([1.0, 0.9, 1.1, 1.2]).reshape(1, 1, 1, 1, 4)
    _, _, _, negatives, negative_labels = example()
    expected = context_loss(scale, *batch(), negatives, negative_labels)
    step = partial(context_loss, axis_name="data")
    if parallel == "shard_map":
        mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
        specs = (P(), *[P(None, "data")] * 3, *[P("data")] * 2, P(), P())
        step = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P()))
        found = step(scale, *batch(), negatives, negative_labels)
    else:
        *maps, offset, flip = batch()
        maps = [x[:, :, None] for x in maps]
        axes = (None, 1, 1, 1, 0, 0, None, None)
        step = jax.pmap(step, axis_name="data", in_axes=axes, out_axes=None)
        found = step(scale, *maps, offset[:, None], flip[:, None], negatives, negative_labels)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
    assert float(expected[0]) > 0.1 and float(jnp.abs(expected[1]).max()) > 0.01
