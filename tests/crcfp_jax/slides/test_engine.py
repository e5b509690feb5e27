"""Windows, blending and the pipeline, against a plain reference that takes one window after another."""

import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import jax
import numpy as np
import pytest

from crcfp_jax.blending.programs import window_mesh
from crcfp_jax.slides import strips
from crcfp_jax.slides.engine import Engine, Job
from data_pipelines.geometry import pad_to
from data_pipelines.tiling import Tiling, Window, choose_windows

HALF = 0.5 / 65535 + 1e-6  # an uncertainty comes as one of 65,536 numbers


class Picture:
    """A canvas in memory that remembers what was read of it."""

    def __init__(self, height, width, seed=0):
        self.pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        self.size = (height, width)
        self.reads = []

    def read(self, top, left, height, width):
        assert top >= 0 and top + height <= self.size[0] and left >= 0 and left + width <= self.size[1]
        self.reads.append((top, left, height, width))
        return self.pixels[top : top + height, left : left + width]


def classify(window):
    """Two 'probabilities' and an uncertainty that depend on the pixel, on the window's mean and on the place in it."""
    values = window.astype(np.float32) / 255
    place = np.linspace(0, 1, window.shape[0], dtype=np.float32)[:, None]
    first = (values[..., 0] + values.mean() + place) / 3
    return np.stack([first, 1 - first], -1), values[..., 1] * place


class Network:
    """Computes at once; remembers the batches' shapes."""

    def __init__(self, uncertainty=True):
        self.uncertainty, self.shapes = uncertainty, []

    def __call__(self, batch):
        self.shapes.append(batch.shape)
        results = [classify(window) for window in batch]
        outputs = {"probabilities": np.stack([r[0] for r in results])}
        if self.uncertainty:
            outputs["uncertainty"] = np.stack([r[1] for r in results])
        return outputs


class Rows:
    """Puts what comes together: probabilities and, of a network that has it, the uncertainty."""

    def __init__(self, width, channels):
        self.width, self.channels, self.parts = width, channels, []

    def __call__(self, count, arrays):
        if arrays is None:
            self.parts.append(np.zeros((count, self.width, self.channels), np.float32))
            return
        parts = [arrays["probabilities"]]
        if "uncertainty16" in arrays:
            parts.append((arrays["uncertainty16"] / np.float32(65535))[..., None])
        assert all(len(part) == count for part in parts)
        self.parts.append(np.concatenate(parts, -1))


def job(picture, tiling, sink, wanted=lambda top, left: True, *, uncertainty=True, slab_height=64):
    return Job(
        canvas=picture,
        tiling=tiling,
        windows=choose_windows(tiling, wanted),
        output=picture.size,
        channels={"probabilities": 2} | ({"uncertainty": 1} if uncertainty else {}),
        gives=("probabilities", *["uncertainty16"] * uncertainty),
        sink=sink,
        slab_height=slab_height,
    )


def run(picture, tiling, wanted=lambda top, left: True, *, network=None, devices=1, batch_size=4, slab_height=64):
    network = network or Network()
    rows = Rows(picture.size[1], 3 if network.uncertainty else 2)
    mesh = window_mesh(jax.local_devices()[:devices])
    with (
        ThreadPoolExecutor(2) as pool,
        Engine(network, mesh=mesh, side=tiling.side, batch_size=batch_size, pool=pool) as engine,
    ):
        timing = engine.send(
            job(picture, tiling, rows, wanted, uncertainty=network.uncertainty, slab_height=slab_height)
        )
        engine.flush()
        timing = timing.result()
    return np.concatenate(rows.parts), timing


def reference(picture, tiling, wanted=lambda top, left: True):
    """The same windows one by one, blended with the same weights in double precision."""
    height, width, side = *picture.size, tiling.side
    padded, _ = pad_to(picture.pixels, None, side, side)
    total = np.zeros((*padded.shape[:2], 3))
    weights = np.zeros((*padded.shape[:2], 1))
    ramp = [min(place + 0.5, side - place - 0.5) ** 2 for place in range(side)]
    weight = np.outer(ramp, ramp)[..., None]
    for top in tiling.tops:
        for left in tiling.lefts:
            if wanted(top, left):
                probabilities, uncertainty = classify(padded[top : top + side, left : left + side])
                total[top : top + side, left : left + side] += weight * np.dstack([probabilities, uncertainty])
                weights[top : top + side, left : left + side] += weight
    return (total / np.where(weights > 0, weights, 1))[:height, :width]


def greatest_steps(plane, tiling):
    """Greatest step between neighbouring rows: across the borders of windows, and elsewhere."""
    steps = np.abs(np.diff(plane, axis=0)).max(1)
    borders = {edge for top in tiling.tops for edge in (top, top + tiling.side)}
    at_border = np.isin(np.arange(1, len(plane)), list(borders))
    return steps[at_border].max(), steps[~at_border].max()


def test_one_window_is_the_bare_network():
    picture = Picture(32, 32)
    ours, timing = run(picture, Tiling(32, 32, side=32, step=24))
    np.testing.assert_allclose(ours, np.dstack(classify(picture.pixels)), rtol=1e-6, atol=HALF)
    assert timing.windows == 1 and timing.seconds > 0 and 0 < timing.busy <= 1


@pytest.mark.parametrize("size", [(70, 101), (20, 75), (75, 20), (20, 25), (1, 1)])
def test_larger_and_smaller_pictures_equal_the_reference(size):
    picture, tiling = Picture(*size), Tiling(*size, side=32, step=24)
    ours, _ = run(picture, tiling)
    assert ours.shape == (*size, 3)
    np.testing.assert_allclose(ours, reference(picture, tiling), atol=HALF)


def test_batches_devices_and_bands_change_nothing():
    tiling = Tiling(150, 170, side=32, step=20)
    expected, _ = run(Picture(150, 170), tiling, batch_size=1, slab_height=1000)
    for devices, batch_size, slab_height in [(1, 7, 1), (3, 4, 13), (2, 64, 32), (4, 1, 149)]:
        network = Network()
        options = {"devices": devices, "batch_size": batch_size, "slab_height": slab_height}
        ours, timing = run(Picture(150, 170), tiling, network=network, **options)
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=2 * HALF)
        assert timing.windows == 7 * 8
        assert {shape[0] for shape in network.shapes[:-1]} <= {batch_size * devices}
        assert all(shape[0] % devices == 0 for shape in network.shapes)


@pytest.mark.parametrize(
    ("windows", "batch_size", "devices", "shapes"),
    [
        (5, 8, 1, [8]),  # the next power of two
        (3, 8, 1, [4]),
        (11, 8, 1, [8, 8]),  # the last one is padded: another shape would have to be compiled
        (5, 5, 1, [5]),
        (11, 2, 3, [6, 6]),
        (7, 16, 3, [12]),  # four on each device
    ],
)
def test_batches_are_full_or_no_larger_than_need_be(windows, batch_size, devices, shapes):
    network = Network()
    picture, tiling = Picture(32, 32 * windows), Tiling(32, 32 * windows, side=32, step=32)
    run(picture, tiling, network=network, batch_size=batch_size, devices=devices)
    assert [shape[0] for shape in network.shapes] == shapes


def test_unwanted_windows_are_neither_read_nor_computed(monkeypatch):
    monkeypatch.setattr(strips, "BLOCK", 40)
    picture, tiling = Picture(300, 200), Tiling(300, 200, side=32, step=24)

    def wanted(top, left):
        return 100 <= top <= 130 and left >= 140

    network = Network(uncertainty=False)
    ours, timing = run(picture, tiling, wanted, network=network, slab_height=20)
    expected = reference(picture, tiling, wanted)[..., :2]
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert timing.windows == sum(wanted(top, left) for top in tiling.tops for left in tiling.lefts) == 2
    assert min(left for _, left, _, _ in picture.reads) >= 120
    assert all(100 <= top < 180 for top, _, _, _ in picture.reads)
    assert (ours[0] == 0).all()


def test_no_window_at_all():
    picture = Picture(50, 40)
    ours, timing = run(picture, Tiling(50, 40, side=32, step=24), lambda top, left: False)
    assert ours.shape == (50, 40, 3) and not ours.any()
    assert timing.windows == 0 and picture.reads == []


def test_a_picture_shifted_by_a_step_gives_the_shifted_result():
    picture, moved = Picture(160, 160), Picture(160, 160)
    moved.pixels = np.roll(picture.pixels, (-24, -24), axis=(0, 1))
    tiling = Tiling(160, 160, side=32, step=24)
    ours, _ = run(picture, tiling)
    shifted, _ = run(moved, tiling)
    inside = slice(32, 160 - 2 * 32)
    np.testing.assert_allclose(shifted[inside, inside], ours[56:120, 56:120], atol=2 * HALF)


@pytest.mark.parametrize("where", ["read", "network", "file"])
def test_an_error_anywhere_ends_the_run_with_it_and_no_read_goes_on(where):
    class Fault(Exception):
        pass

    class Slow(Picture):
        """Takes its time, so that reads are under way when something else fails."""

        active = 0

        def read(self, top, left, height, width):
            self.active += 1
            try:
                time.sleep(0.02)
                if where == "read" and top > 0:
                    raise Fault
                return super().read(top, left, height, width)
            finally:
                self.active -= 1

    def fail(*_):
        raise Fault

    picture, network, calls = Slow(400, 200), Network(), []
    if where == "network":
        network = fail

    def hand_on(count, arrays):
        calls.append(count)
        if where == "file":
            raise Fault

    tiling = Tiling(400, 200, side=32, step=24)
    with ThreadPoolExecutor(2) as pool, pytest.raises(Fault):
        try:
            mesh = window_mesh(jax.local_devices()[:1])
            with Engine(network, mesh=mesh, side=32, batch_size=4, pool=pool) as engine:
                timing = engine.send(job(picture, tiling, hand_on, slab_height=50))
                engine.flush()
                timing.result()
        finally:
            assert picture.active == 0
    assert where != "file" or len(calls) == 1


def test_canvases_share_batches_and_one_that_fails_harms_no_other():
    class Fault(Exception):
        pass

    def fail(count, arrays):
        raise Fault

    network, mesh = Network(), window_mesh(jax.local_devices()[:1])
    pictures = [Picture(40, 50, seed) for seed in range(4)]
    found = [Rows(50, 3) for _ in pictures]
    with (
        ThreadPoolExecutor(2) as pool,
        Engine(network, mesh=mesh, side=32, batch_size=5, pool=pool) as engine,
    ):
        timings = [
            engine.send(job(picture, Tiling(40, 50, 32, 24), fail if number == 1 else rows))
            for number, (picture, rows) in enumerate(zip(pictures, found, strict=True))
        ]
        assert not timings[3].done()  # its last window waits for others
        engine.flush()
        for number, (picture, rows, timing) in enumerate(zip(pictures, found, timings, strict=True)):
            if number == 1:
                with pytest.raises(Fault):
                    timing.result()
                continue
            assert timing.result().windows == 4
            np.testing.assert_allclose(
                np.concatenate(rows.parts), reference(picture, Tiling(40, 50, 32, 24)), atol=HALF
            )
    assert [shape[0] for shape in network.shapes] == [5, 5, 5, 5]  # 16 windows; the last is padded to a known shape


def test_what_has_not_ended_is_given_up_with_the_engine():
    mesh = window_mesh(jax.local_devices()[:1])
    with ThreadPoolExecutor(2) as pool, Engine(Network(), mesh=mesh, side=32, batch_size=9, pool=pool) as engine:
        timing = engine.send(job(Picture(40, 50), Tiling(40, 50, 32, 24), lambda *_: None))
    with pytest.raises(CancelledError):
        timing.result()


def test_a_strip_is_that_part_of_the_canvas():
    picture, tiling = Picture(90, 70), Tiling(90, 70, side=40, step=30)
    windows = [[Window(top, left) for left in tiling.lefts] for top in tiling.tops]
    with ThreadPoolExecutor(2) as pool:
        for height in (1, 7, 40, 500):
            found = list(strips.read_strips(picture, tiling, windows, pool, height=height))
            assert len(found) == len(tiling.tops)
            for top, strip in zip(tiling.tops, found, strict=True):
                np.testing.assert_array_equal(strip, picture.pixels[top : top + 40])


def test_bands_keep_to_their_bytes():
    assert strips.slab_height(100) == 1024
    assert strips.slab_height(50_000) == 2**27 // 150_000
    assert strips.slab_height(10**7) == 128


def test_no_seam_shows_where_windows_disagree():
    """Each window gives another constant: every step in the result is the blending's."""
    picture = Picture(400, 400, seed=3)

    def network(batch):
        value = (batch.astype(np.float32).mean((1, 2, 3)) % 1)[:, None, None]
        first = np.broadcast_to(value, batch.shape[:3])
        return {"probabilities": np.stack([first, 1 - first], -1)}

    network.uncertainty = False
    tiling = Tiling(400, 400, side=64, step=48)
    ours, _ = run(picture, tiling, network=network)
    across, elsewhere = greatest_steps(ours[..., 0], tiling)
    assert across < 0.02 * elsewhere
    assert elsewhere <= 2 / 16  # at the middle twice as steep as all of it evenly over the 16 shared pixels
