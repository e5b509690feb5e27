"""How a run is asked to stop: SIGTERM, in one process or in several."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils


class Interrupted(Exception):
    """The run was asked to stop (SIGTERM), and has saved a checkpoint."""


@contextmanager
def stop_requests() -> Iterator[Callable[[int], bool]]:
    """Gives a function that says, after each step, whether to save and stop there.

    In a run of several processes JAX's own preemption service listens for the signal, and all agree on the step; every
    process has to ask after every step.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: False  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield lambda step: event.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
