"""How long the devices stand idle for want of a batch: by hand, and with loaders that sleep."""

import threading
import time

import jax
import jax.numpy as jnp
import pytest

from crcfp_jax.runs.input_wait import InputWait


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


class Step:
    """What a step gives; it ends when the test says so. JAX waits for it as for an array."""

    def __init__(self):
        self._ended = threading.Event()

    def block_until_ready(self):
        assert self._ended.wait(10)
        return self

    def end(self, clock, seconds, waits=None):
        """Lets it end, at `seconds` on the clock, which `waits` has seen before this returns."""
        clock.now = seconds
        self._ended.set()
        if waits is not None:
            waits._running.result(10)


def batches(clock, *seconds):
    """Batches of which number i is there at seconds[i]."""
    for number, second in enumerate(seconds):
        clock.now = second
        yield number


def test_only_time_after_the_end_of_the_step_is_waited_for():
    clock = Clock()
    waits, loader, steps = InputWait(clock), batches(clock, 1.0, 4.0, 6.0, 7.0), [Step() for _ in range(3)]
    assert waits.take(loader) == 0
    assert waits.share() is None  # nothing was under way that could have ended
    waits.started(steps[0])
    steps[0].end(clock, 2.0, waits)
    clock.now = 3.0  # of the host, which is no fault of the input
    assert waits.take(loader) == 1
    assert waits.share() == pytest.approx(1 / 3)  # idle from 2 to 4, in `next` from 3 on, of 3 seconds
    waits.started(steps[1])
    assert waits.take(loader) == 2  # it takes 2 seconds, in all of which the step goes on
    assert waits.share() == 0.0
    steps[1].end(clock, 6.0, waits)
    waits.started(steps[2])
    waits.pause()
    assert waits.take(loader) == 3
    assert waits.share() is None
    steps[2].end(clock, 7.0)


def measured(steps_per_batch, count=6):
    """The share for a loader that takes as long for a batch as so many steps."""
    product = jnp.ones((400, 400))
    step = jax.jit(lambda x, batch: jax.lax.fori_loop(0, 12, lambda _, y: jnp.tanh(y @ product), x) + batch)
    state = jax.block_until_ready(step(product, 0.0))
    start = time.perf_counter()
    jax.block_until_ready(step(product, 0.0))
    seconds = steps_per_batch * (time.perf_counter() - start)

    def loader():
        while True:
            time.sleep(seconds)
            yield 0.0

    waits, source = InputWait(), loader()
    for _ in range(count):
        state = step(state, waits.take(source))
        waits.started(state)
    return waits.share()


def test_a_slow_loader_is_waited_for_and_a_fast_one_is_not():
    assert measured(steps_per_batch=4) > 0.4  # 3/4 on an idle machine
    assert measured(steps_per_batch=0) < 0.05
