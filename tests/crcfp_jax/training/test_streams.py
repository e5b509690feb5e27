"""What the streams are normalised by, and what they leave in the running statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from tiny import tiny_config, tiny_parts, tiny_state

from crcfp_jax.common.errors import UserError
from crcfp_jax.models.encoders.pixels import IMAGENET, normalise
from crcfp_jax.models.layers.normalisation import pool_statistics
from crcfp_jax.training.streams import check_statistics, encode_streams

RNG = np.random.default_rng(5)
LABELLED = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
STREAMS = {
    name: RNG.integers(0, low, (2, 32, 32, 3), dtype=np.uint8) for name, low in (("view_a", 128), ("view_b", 64))
}


@pytest.fixture(scope="module")
def state():
    return tiny_state(tiny_config())


def encoded(state, labelled=LABELLED, streams=STREAMS, **changes):
    config = tiny_config(**{f"model__{key}": value for key, value in changes.items()})
    network, _, _ = tiny_parts(config)
    images = {name: normalise(jnp.asarray(own), IMAGENET) for name, own in {"labelled": labelled, **streams}.items()}
    joint, kept = config.model.statistics == "joint", "labelled" if config.model.running_streams == "labelled" else None
    return jax.jit(functools.partial(encode_streams, network, joint=joint, kept=kept))(state.variables, images)


def first_mean(batch_stats):
    """Running mean of the stem: 0.9 of nothing, and a tenth of what the batch had."""
    return first(batch_stats, "mean")


def first(batch_stats, name):
    """A running statistic of the stem."""
    leaves = traverse_util.flatten_dict(batch_stats["backbone"])
    return np.asarray(next(leaf for path, leaf in leaves.items() if path[-1] == name))


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_per_stream_normalises_every_stream_by_itself(state):
    alone = encoded(state, streams={})
    together = encoded(state)
    close(together.features["labelled"], alone.features["labelled"])
    close(together.features["view_b"], encoded(state, labelled=STREAMS["view_b"], streams={}).features["labelled"])
    means = [first_mean(alone.batch_stats)]
    means += [first_mean(encoded(state, labelled=images, streams={}).batch_stats) for images in STREAMS.values()]
    close(first_mean(together.batch_stats), np.mean(means, axis=0))


@pytest.mark.parametrize("labelled", [LABELLED, np.concatenate([LABELLED, LABELLED])])
def test_running_statistics_of_all_streams_are_those_of_one_batch_of_them(state, labelled):
    # The stem's inputs are the images themselves, and all streams weigh the same whatever their size: its statistics
    # are those of a single batch. Deeper layers see what each stream was normalised to.
    whole = encoded(state, labelled=np.concatenate([LABELLED, *STREAMS.values()]), streams={})
    together = encoded(state, labelled=labelled)
    for name in ("mean", "var"):
        close(first(together.batch_stats, name), first(whole.batch_stats, name))
    alone = [encoded(state, labelled=images, streams={}) for images in (LABELLED, *STREAMS.values())]
    within = np.mean([first(each.batch_stats, "var") for each in alone], axis=0)
    assert (first(together.batch_stats, "var") > 1.05 * within).any()  # what the streams' means differ by counts


def test_pooled_statistics_by_hand():
    # Two streams with means 1 and 3 and variances 2 and 4: together mean 2, variance 3 + 1. After an update that keeps
    # 0.75 of a mean of 0 and a variance of 1 the means are 0.25 and 0.75, the variances 1.25 and 1.75.
    stats = {"norm": {"mean": jnp.asarray([[1.0], [3.0]]), "var": jnp.asarray([[2.0], [4.0]])}}
    pooled = pool_statistics(stats)["norm"]
    np.testing.assert_allclose([pooled["mean"][0], pooled["var"][0]], [2, 4])
    stats = {"norm": {"mean": jnp.asarray([[0.25], [0.75]]), "var": jnp.asarray([[1.25], [1.75]])}}
    pooled = pool_statistics(stats, momentum=0.75)["norm"]
    np.testing.assert_allclose([pooled["mean"][0], pooled["var"][0]], [0.75 * 0 + 0.25 * 2, 0.75 * 1 + 0.25 * 4])


def test_running_statistics_of_the_labelled_stream_alone(state):
    alone = encoded(state, streams={})
    jax.tree.map(close, encoded(state, running_streams="labelled").batch_stats, alone.batch_stats)


def test_joint_is_one_batch(state):
    joint = encoded(state, statistics="joint")
    whole = encoded(state, labelled=np.concatenate([LABELLED, *STREAMS.values()]), streams={})
    close(
        np.concatenate([joint.features["labelled"], joint.features["view_a"], joint.features["view_b"]]),
        whole.features["labelled"],
    )
    jax.tree.map(close, joint.batch_stats, whole.batch_stats)


def test_streams_of_another_size_than_the_labelled_crops(state):
    together = encoded(state, labelled=np.concatenate([LABELLED, LABELLED[:1]]))
    close(together.features["view_a"], encoded(state).features["view_a"])
    assert together.features["labelled"].shape[0] == 3


def test_policies_that_contradict_one_another_are_named():
    config = tiny_config(model__statistics="joint", model__running_streams="labelled")
    with pytest.raises(UserError, match=r"^config\.model\.running_streams='labelled' needs"):
        check_statistics(config.model)
