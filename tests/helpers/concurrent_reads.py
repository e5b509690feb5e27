"""A check that every reader of slides has to pass."""

import threading

import numpy as np


def assert_threads_read(slide, pixels, *, rounds, most, side):
    """Four threads at once read squares of `side` pixels, their corners below `most`, as `pixels` has them."""
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(rounds):
            top, left = (int(n) for n in rng.integers(0, most, 2))
            expected = pixels[top : top + side, left : left + side]
            if not np.array_equal(slide.read(0, top, left, side, side), expected):
                wrong.append((top, left))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
