"""Numbers as people read them."""

from crcfp_jax.common.words import duration


def test_durations():
    assert [duration(seconds) for seconds in (0.4, 12, 200, 7500)] == ["0 s", "12 s", "3 min 20 s", "2 h 05 min"]
