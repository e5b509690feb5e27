"""Blending on the devices against plain NumPy: weighted means, other pixel sizes, classes, what no window touches."""

import jax
import numpy as np
import pytest

from crcfp_jax.blending import blender as module
from crcfp_jax.blending.batches import Batches
from crcfp_jax.blending.blender import Blender, rounded_up
from crcfp_jax.blending.programs import UNSEEN, window_mesh
from data_pipelines.reading.axis import Axis
from data_pipelines.reading.resample import resample
from data_pipelines.tiling import Tiling, Window, blending_weight, choose_windows

ALL = ("classes", "probabilities", "probabilities8", "uncertainty16")


class Canvas:
    """Results of windows drawn at random, sent through a blender in batches; what it handed on."""

    def __init__(self, tiling, output=None, *, wanted=lambda top, left: True, classes=3, devices=1, batch=4, seed=0):
        self.tiling, self.output = tiling, output or (tiling.height, tiling.width)
        self.windows = choose_windows(tiling, wanted)
        self.mesh, self.batch = window_mesh(jax.local_devices()[:devices]), batch
        generator = np.random.default_rng(seed)
        places = [window for row in self.windows for window in row]
        shape = (len(places), tiling.side, tiling.side)
        scores = generator.random((*shape, classes)).astype(np.float32) ** 3
        self.results = {"probabilities": scores / scores.sum(-1, keepdims=True)}
        self.results["uncertainty"] = generator.random(shape).astype(np.float32)
        self.parts, self.untouched = [], 0
        self.channels = {"probabilities": classes, "uncertainty": 1}

    def hand_on(self, rows):
        if rows.arrays is None:
            self.untouched += rows.count
            size = (rows.count, self.output[1])
            nothing = np.zeros((*size, self.channels["probabilities"]), np.float32)
            part = {"classes": np.full(size, UNSEEN, np.uint8), "uncertainty16": np.zeros(size, np.uint16)}
            self.parts.append(part | {"probabilities": nothing, "probabilities8": nothing.astype(np.uint8)})
        else:
            arrays = {name: np.asarray(array) for name, array in rows.arrays.items()}
            self.parts.append({name: array[: rows.count, : self.output[1]] for name, array in arrays.items()})

    def blended(self):
        """What is handed on, by its name."""
        blender = Blender(
            self.tiling, self.output, self.channels, ALL, self.hand_on,
            mesh=self.mesh, batch=self.batch, windows=self.windows,
        )  # fmt: skip
        padding = {name: np.full_like(values[:1], 9) for name, values in self.results.items()}
        known = {name: np.concatenate([padding[name], values]) for name, values in self.results.items()}

        def forward(windows):
            numbers = windows[:, 0, 0].astype(np.int64) @ (1, 256, 65536)  # 0: none
            return {name: values[numbers] for name, values in known.items()}

        side = self.tiling.side
        batches = Batches(forward, side=side, size=self.batch, least=self.batch, started=lambda *_: None)
        for number, window in enumerate((window for row in self.windows for window in row), start=1):
            digits = (number % 256, number // 256, 0)
            batches.push(blender, window, np.full((side, side, 3), digits, np.uint8))
        batches.end(blender)
        batches.flush()
        return {name: np.concatenate([part[name] for part in self.parts]) for name in ALL}

    def expected(self):
        """Float32 [h, w, classes + 1]: probabilities and uncertainty, 0 where no window is; and where one is."""
        tiling, side = self.tiling, self.tiling.side
        size = max(tiling.height, side), max(tiling.width, side)
        values = np.concatenate([self.results["probabilities"], self.results["uncertainty"][..., None]], -1)
        total, weights = np.zeros((*size, values.shape[-1])), np.zeros((*size, 1))
        weight = blending_weight(side)[..., None]
        for window, found in zip((window for row in self.windows for window in row), values, strict=True):
            place = np.s_[window.top : window.top + side, window.left : window.left + side]
            total[place] += weight * found
            weights[place] += weight
        canvas = (total / np.where(weights > 0, weights, 1))[: tiling.height, : tiling.width].astype(np.float32)
        axes = (Axis(*pair) for pair in zip(canvas.shape[:2], self.output, strict=True))
        brought = resample(canvas, *axes, (0, self.output[0]), (0, self.output[1]))
        sums = brought[..., :-1].sum(-1, keepdims=True)
        return brought / np.where(sums > 0, sums, 1), sums[..., 0] > 0


def check(canvas):
    """Asserts that all that is handed on is right."""
    found, (expected, seen) = canvas.blended(), canvas.expected()
    assert found["classes"].shape == canvas.output and found["classes"].dtype == np.uint8
    np.testing.assert_allclose(found["probabilities"], expected[..., :-1], atol=2e-6)
    np.testing.assert_allclose(found["probabilities8"], 255 * expected[..., :-1], atol=0.501)
    np.testing.assert_allclose(found["uncertainty16"], 65535 * expected[..., -1], atol=0.6)
    best = np.sort(expected[..., :-1], -1)
    clear = best[..., -1] - best[..., -2] > 1e-5
    np.testing.assert_array_equal(
        np.where(clear, found["classes"], 0), np.where(clear, np.where(seen, expected[..., :-1].argmax(-1), UNSEEN), 0)
    )
    np.testing.assert_array_equal(found["classes"] == UNSEEN, ~seen)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("output", [None, (230, 175), (61, 40), (301, 301)])
def test_it_is_the_weighted_mean_at_any_output_size(output, devices):
    check(Canvas(Tiling(150, 100, side=32, step=24), output, devices=devices))


@pytest.mark.parametrize("size", [(20, 25), (1, 1), (20, 75), (75, 20), (32, 32)])
def test_canvases_smaller_than_a_window(size):
    check(Canvas(Tiling(*size, side=32, step=24), (33, 50)))


def sparse(top, left):
    return 200 <= top < 300 or (top > 700 and left > 100)


@pytest.mark.parametrize("output", [None, (1200, 260), (457, 97)])
@pytest.mark.parametrize("batch", [2, 16])
def test_parts_that_no_window_touches_cost_nothing(output, batch):
    canvas = Canvas(Tiling(990, 200, side=32, step=24), output, wanted=sparse, batch=batch)
    check(canvas)
    assert canvas.untouched > 0.4 * canvas.output[0]


def test_no_window_at_all():
    canvas = Canvas(Tiling(100, 50, side=32, step=24), wanted=lambda top, left: False)
    assert (canvas.blended()["classes"] == UNSEEN).all() and canvas.untouched == 100


@pytest.mark.parametrize("limit", [1, 2**29])
def test_a_band_holds_few_rows_where_memory_is_short(limit, monkeypatch):
    monkeypatch.setattr(module, "BAND_BYTES", limit)
    canvas = Canvas(Tiling(400, 60, side=32, step=24), batch=12)
    check(canvas)
    assert (max(len(part["classes"]) for part in canvas.parts) == 24) == (limit == 1)


def test_by_hand():
    """Two windows of four columns that share two: 0.5² and 1.5² of the distance to the border weigh 1 and 9."""
    canvas = Canvas(Tiling(4, 6, side=4, step=2), classes=2)
    first = np.array([1, 0], np.float32)[:, None, None]
    canvas.results["probabilities"] = np.stack([first, 1 - first], -1) * np.ones((2, 4, 4, 1), np.float32)
    found = canvas.blended()
    assert found["classes"].tolist() == [[0, 0, 0, 1, 1, 1]] * 4
    np.testing.assert_allclose(found["probabilities"][..., 0], [[1, 1, 0.9, 0.1, 0, 0]] * 4, atol=1e-6)
    assert found["probabilities8"][0, :, 0].tolist() == [255, 255, 230, 26, 0, 0]  # 229.5 and 25.5 to the even number


def test_of_equal_probabilities_the_first_class_counts():
    canvas = Canvas(Tiling(8, 8, side=8, step=6), classes=4)
    canvas.results["probabilities"] = np.full((1, 8, 8, 4), 0.25, np.float32)
    assert not canvas.blended()["classes"].any()


def test_canvases_share_batches_and_keep_apart():
    parts, batches_seen = {}, []

    def forward(windows):
        batches_seen.append(windows.shape)
        first = windows[:, :, :, 0] / np.float32(255)
        return {"probabilities": np.stack([first, 1 - first], -1)}

    mesh = window_mesh(jax.local_devices()[:1])
    batches = Batches(forward, side=8, size=4, least=1, started=lambda *_: None)
    for number in range(5):
        parts[number] = []
        tiling = Tiling(8, 8 if number % 2 else 14, side=8, step=6)
        blender = Blender(
            tiling, (8, tiling.width), {"probabilities": 2}, ("probabilities8",), parts[number].append,
            mesh=mesh, batch=4,
        )  # fmt: skip
        for left in tiling.lefts:
            batches.push(blender, Window(0, left), np.full((8, 8, 3), 40 * number, np.uint8))
        batches.end(blender)
    batches.flush()
    assert [shape[0] for shape in batches_seen] == [4, 4]  # 2 + 1 + 2 + 1 + 2 windows
    for number, rows in parts.items():
        (only,) = rows
        assert (np.asarray(only.arrays["probabilities8"])[:8, :8, 0] == 40 * number).all()


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (3, [4]), (5, [8]), (11, [8, 8]), (8, [8])])
def test_a_batch_is_no_larger_than_need_be_unless_a_larger_one_is_compiled(count, sizes):
    shapes = []

    def forward(windows):
        shapes.append(len(windows))
        return {"probabilities": np.full((*windows.shape[:3], 2), 0.5, np.float32)}

    tiling = Tiling(8, 8 * count, side=8, step=8)
    blender = Blender(
        tiling, (8, 8 * count), {"probabilities": 2}, ("classes",), lambda rows: None,
        mesh=window_mesh(jax.local_devices()[:1]), batch=8,
    )  # fmt: skip
    batches = Batches(forward, side=8, size=8, least=1, started=lambda *_: None)
    for left in tiling.lefts:
        batches.push(blender, Window(0, left), np.zeros((8, 8, 3), np.uint8))
    batches.end(blender)
    batches.flush()
    assert shapes == sizes


def test_sizes_are_rounded_up_by_a_quarter_at_most():
    assert [rounded_up(count) for count in (1, 4, 7, 8, 9, 13, 17, 100, 1025)] == [1, 4, 7, 8, 10, 14, 20, 112, 1280]
    assert all(count <= rounded_up(count) <= 1.25 * count for count in range(1, 3000))
