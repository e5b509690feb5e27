"""Complementary channel dropout."""

import jax
import jax.numpy as jnp
import numpy as np

from crcfp_jax.models.layers.channel_dropout import ALL, HALF, OTHER_HALF, ChannelDropout


def factors(place, count=400, channels=64):
    """[all, half, other half][image, channel] of ones."""
    keys = jnp.broadcast_to(jax.random.split(jax.random.key(1), count), (3, count))
    modes = jnp.broadcast_to(jnp.asarray([ALL, HALF, OTHER_HALF])[:, None], (3, count))
    found = np.asarray(ChannelDropout(keys, modes)(jnp.ones((3, count, 2, 1, channels)), place))
    assert (found[:, :, 0] == found[:, :, 1]).all()  # the same at every place of an image
    return found[:, :, 0, 0]


def test_what_one_stream_lacks_the_other_has():
    plain, half, other = factors(4)
    assert (plain == 1).all()
    kept = (half == 1).all(1)
    assert 0.42 < kept.mean() < 0.58 and (other[kept] == 1).all()  # one image in two keeps all
    assert set(np.unique(half[~kept])) == {0.0, 2.0} and (half[~kept] + other[~kept] == 2).all()
    assert 0.48 < (half[~kept] == 0).mean() < 0.52


def test_every_place_and_image_draws_anew():
    (_, here, _), (_, there, _) = factors(4), factors(16)
    assert (here != there).any()
    dropped = here[(here != 1).any(1)]
    assert len({tuple(row) for row in dropped}) == len(dropped)
