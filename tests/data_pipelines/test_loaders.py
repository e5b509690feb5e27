import dataclasses
import functools
import hashlib
import json
import threading
import time
from types import SimpleNamespace

import cv2
import fake_tiles
import numpy as np
import pytest
from fake_tiles import OPTIONS, FakeDataSet, FakeSource, assert_equal, build_stored, loader, noise, take

from crcfp_jax.common.errors import UserError
from data_pipelines import examples, loaders

LABELLED_KEYS = {"image", "label"}
KEYS = LABELLED_KEYS | {"unlabelled", "view_a", "view_b", "offset", "flip"}


def test_a_batch_holds_the_arrays_of_the_contract():
    (batch,) = take(loader(noise(9), batch_size=2), 1)
    assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
        "image": ("uint8", (2, 32, 32, 3)),
        "label": ("uint8", (2, 32, 32)),
        "unlabelled": ("uint8", (4, 32, 32, 3)),
        "view_a": ("uint8", (4, 32, 32, 3)),
        "view_b": ("uint8", (4, 32, 32, 3)),
        "offset": ("int32", (4, 2)),
        "flip": ("bool", (4, 2)),
    }


def test_the_labelled_stream_does_not_depend_on_the_unlabelled_one():
    with_both = take(loader(noise(9)), 3)
    labelled_only = take(loader(noise(9), with_unlabelled=False), 3)
    assert set(labelled_only[0]) == LABELLED_KEYS
    assert_equal([{key: batch[key] for key in LABELLED_KEYS} for batch in with_both], labelled_only)


@pytest.mark.parametrize(("flips", "digest"), [("both", "69c4d07fe11c0532"), ("horizontal", "02de33164a6f4c5d")])
def test_the_pixels_are_as_recorded(flips, digest):
    """Of a seed: a run that goes on under another version of the loader sees what it would have seen."""
    found = hashlib.sha256()
    for batch in take(loader(noise(9, height=75, width=60), flips=flips), 6):
        for key in ("image", "label", "unlabelled", "view_a", "view_b", "offset", "flip"):
            found.update(batch[key].tobytes())
    assert found.hexdigest()[:16] == digest


@pytest.mark.parametrize("sources", [("view_a",), ("view_a", "view_b"), ("unlabelled",)])
def test_only_what_is_read_is_made_and_has_the_same_pixels(sources, monkeypatch):
    every = take(loader(noise(9), flips="both", threads=0), 3)
    sizes = []
    resize = examples.geometry.resize

    def counted(image, label, height, width):
        sizes.append((height, width))
        return resize(image, label, height, width)

    monkeypatch.setattr(examples.geometry, "resize", counted)
    options = dataclasses.replace(OPTIONS, flips="both", threads=0)
    data_set = noise(9)
    some = take(loaders.training_loader(data_set, data_set.split(3), options, sources=sources), 3)
    assert set(some[0]) == {"image", "label", "offset", "flip", *sources}
    assert_equal(some, [{key: batch[key] for key in some[0]} for batch in every])
    assert len(sizes) == 3 * (4 + 4)  # one of each labelled and one of each unlabelled image


@pytest.mark.parametrize("with_unlabelled", [True, False])
def test_the_state_continues_to_the_bit(with_unlabelled):
    data_set = noise(9)
    iterator = loader(data_set, with_unlabelled=with_unlabelled)
    first = take(iterator, 3)
    state = json.loads(json.dumps(iterator.get_state()))
    assert state == {"next_batch": 3}
    rest = take(iterator, 3)
    iterator.set_state(state)
    assert_equal(take(iterator, 3), rest)
    fresh = loader(data_set, with_unlabelled=with_unlabelled, threads=3, prefetch=30)  # threads change nothing
    fresh.set_state(state)
    assert_equal(take(fresh, 3), rest)
    fresh.set_state({"next_batch": 0})
    assert_equal(take(fresh, 3), first)


def test_without_threads_the_batches_are_the_same():
    assert_equal(take(loader(noise(9), threads=0, prefetch=0), 2), take(loader(noise(9)), 2))


@pytest.mark.parametrize("processes", [2, 4])
def test_batches_of_all_processes_make_up_the_batch_of_one(processes):
    data_set = noise(9)
    shares = [
        take(loader(data_set, process_index=index, process_count=processes, unlabelled_batch_size=8), 3)
        for index in range(processes)
    ]
    joined = [
        {key: np.concatenate([part[key] for part in parts]) for key in KEYS} for parts in zip(*shares, strict=True)
    ]
    assert len(shares[0][0]["image"]) == 4 // processes
    assert_equal(joined, take(loader(data_set, unlabelled_batch_size=8), 3))


def test_a_state_moves_to_another_number_of_processes():
    data_set = noise(9)
    whole = loader(data_set)
    take(whole, 2)
    half = loader(data_set, process_index=1, process_count=2)
    half.set_state(whole.get_state())
    assert_equal([{key: value[2:] for key, value in next(whole).items()}], take(half, 1))


def test_seeds_and_streams_differ():
    one, other = (take(loader(noise(6), labelled=6, seed=seed, with_unlabelled=False), 1)[0] for seed in (1, 2))
    assert (one["image"] != other["image"]).any()
    images = noise(1).images
    same = FakeDataSet([images[0]] * 4)
    (batch,) = take(loader(same, labelled=2), 1)
    assert len(np.unique(batch["offset"], axis=0)) > 1


@pytest.mark.parametrize("labelled", [1, 3, 7])
def test_each_epoch_shows_every_record_once_in_a_new_order(labelled):
    data_set = FakeDataSet([np.full((40, 40, 3), number, np.uint8) for number in range(10)])
    batches = take(loader(data_set, labelled), 42)
    seen = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
    epochs = seen[: len(seen) // labelled * labelled].reshape(-1, labelled)
    np.testing.assert_array_equal(np.sort(epochs), np.broadcast_to(np.arange(labelled), epochs.shape))
    seen = np.concatenate([batch["unlabelled"][:, 0, 0, 0] for batch in batches])
    epochs_unlabelled = seen[: len(seen) // (10 - labelled) * (10 - labelled)].reshape(-1, 10 - labelled)
    np.testing.assert_array_equal(
        np.sort(epochs_unlabelled), np.broadcast_to(np.arange(labelled, 10), epochs_unlabelled.shape)
    )
    if labelled > 1:
        assert len(np.unique(epochs, axis=0)) > 1
    assert len(np.unique(epochs_unlabelled, axis=0)) > 1


def test_masks_of_unlabelled_tiles_are_never_read():
    data_set = noise(9)
    kept = FakeDataSet(data_set.images, data_set.labels, secret=range(3, 9))
    garbage = FakeDataSet(data_set.images, data_set.labels[:3] + [np.full((1, 7), 99, np.uint8)] * 6)
    expected = take(loader(data_set), 3)
    assert_equal(take(loader(kept), 3), expected)
    assert_equal(take(loader(garbage), 3), expected)


@pytest.mark.parametrize("flips", ["horizontal", "both"])
def test_image_and_label_are_cropped_and_flipped_alike(flips):
    generator = np.random.default_rng(1)
    labels = list(generator.integers(0, 5, (4, 48, 40), dtype=np.uint8))
    data_set = FakeDataSet([np.repeat(label[..., None] * 50, 3, -1) for label in labels], labels)
    unscaled = {"labelled_scale": (1.0, 1.0), "flips": flips, "with_unlabelled": False}
    for batch in take(loader(data_set, 4, **unscaled), 5):
        np.testing.assert_array_equal(batch["image"], np.repeat(batch["label"][..., None] * 50, 3, -1))
    for batch in take(loader(data_set, 4, **(unscaled | {"labelled_scale": (2.0, 2.0)})), 5):
        # Enlarged twice: the mean of the four pixels around a label's corner stays within the neighbours' colours.
        difference = np.abs(batch["image"][..., 0].astype(float) - batch["label"] * 50.0)
        assert difference.mean() < 40  # 80 for labels out of register


def ramp(height=48, width=48):
    row, column = np.mgrid[:height, :width]
    return np.stack([40 + 3 * row, 40 + 3 * column, np.zeros_like(row)], -1).astype(np.uint8)


def directions(images):
    """Signs of the slope down and to the right of each picture of a ramp."""
    values = images.astype(float)
    down = np.sign(values[:, -1, 0, 0] - values[:, 0, 0, 0])
    right = np.sign(values[:, 0, -1, 1] - values[:, 0, 0, 1])
    return down, right


def test_flips_are_the_ones_reported():
    data_set = FakeDataSet([ramp()] * 4)
    for flips in ("horizontal", "both"):
        batches = take(loader(data_set, 2, labelled_scale=(1.0, 1.0), flips=flips), 10)
        batch = {key: np.concatenate([batch[key] for batch in batches]) for key in KEYS}
        down, right = directions(batch["unlabelled"])
        for direction in (down, right):
            assert set(direction) == ({1.0} if flips == "horizontal" else {-1.0, 1.0})
        for number, view in enumerate(("view_a", "view_b")):
            view_down, view_right = directions(batch[view])
            np.testing.assert_array_equal(view_down, down)
            np.testing.assert_array_equal(view_right == -1, batch["flip"][:, number])
            assert 0 < (view_right == -1).sum() < 40
        down, right = directions(batch["image"])
        assert set(right) == {-1.0, 1.0}
        assert set(down) == ({1.0} if flips == "horizontal" else {-1.0, 1.0})


def test_a_tile_is_scaled_by_its_pixel_size():
    data_set = FakeDataSet([ramp(48, 24)] * 2)
    # At factor 2/3 the long side is 32 pixels, the short one 16; the slope of a pixel grows by 3/2.
    (batch,) = take(loader(data_set, 1, labelled_scale=(2 / 3, 2 / 3), with_unlabelled=False), 1)
    slopes = np.diff(batch["image"][..., 0].astype(float), axis=1)
    np.testing.assert_allclose(slopes, 4.5, atol=0.51)
    assert ((batch["label"] != 255).sum(axis=(1, 2)) == 32 * 16).all()


def test_a_scaled_image_smaller_than_the_crop_is_surrounded_by_ignored_labels():
    data_set = FakeDataSet([np.full((20, 20, 3), 77, np.uint8)] * 2)
    batches = take(loader(data_set, 1, labelled_scale=(0.8, 0.8)), 5)  # 16 of 32 pixels
    image, label = (np.concatenate([batch[key] for batch in batches]) for key in ("image", "label"))
    assert (image == 77).all()
    np.testing.assert_array_equal((label == 0).sum(axis=(1, 2)), 16 * 16)
    assert ((label == 0) | (label == 255)).all()
    assert len({tuple(np.argwhere(one == 0)[0]) for one in label}) > 5  # at random places


def test_the_whole_view_is_a_window_at_its_scale():
    data_set = FakeDataSet([ramp(56, 64)] * 4)
    corners = set()
    for batch in take(loader(data_set, 2), 5):
        # At 0.8, 32 pixels show 40 of the tile's, both ways: a slope of 3 a pixel.
        first, last = (batch["unlabelled"][:, edge].astype(int) for edge in (0, -1))
        np.testing.assert_allclose(last[:, 0, 0] - first[:, 0, 0], 3 * 39, atol=2)
        np.testing.assert_allclose(first[:, -1, 1] - first[:, 0, 1], 3 * 39, atol=2)
        corners |= {tuple(corner) for corner in first[:, 0, :2].tolist()}
    assert len(corners) > 10
    assert {corner[0] > 40 + 3 * 8 for corner in corners} == {True, False}


def test_a_whole_view_of_more_than_the_tile_is_reflected():
    data_set = FakeDataSet([ramp(48, 64)] * 4)
    for batch in take(loader(data_set, 2, whole_view_scale=0.5), 3):  # 64 x 64 pixels of 48 x 64
        down = batch["unlabelled"][:, :, 0, 0].astype(int)
        assert (down.max(1) - down.min(1) <= 3 * 47).all() and (np.diff(down, axis=1) < 0).any(1).all()
        right = batch["unlabelled"][:, 0, :, 1].astype(int)
        np.testing.assert_allclose(right[:, -1] - right[:, 0], 3 * 62, atol=2)  # all of the long side


def whole_window(monkeypatch, length, side, base_size):
    """Stored pixels along both sides of the whole view of a square tile."""
    monkeypatch.setattr(examples.geometry, "crop", lambda image, label, top, left, height, width: (height, width))
    monkeypatch.setattr(examples.geometry, "resize", lambda height, width, *side: (height, width))
    scale = 0.25 / (0.25 * length / base_size) * 0.8
    return examples.random_window(np.zeros((length, length)), None, np.random.default_rng(0), side=side, scale=scale)


# Tile, side and base_size of each shipped config, and the share of the tile's sides that its whole view was.
@pytest.mark.parametrize(
    ("length", "side", "base_size", "share"),
    [
        (512, 320, 400, 1.0), (250, 320, 400, 1.0), (256, 320, 400, 1.0),  # bcss, monuseg, quickstart:full
        (512, 96, 192, 0.625), (250, 96, 192, 0.625), (256, 96, 256, 0.47),  # small
        (250, 64, 192, 0.417), (256, 64, 256, 0.3125),  # tiny
    ],
)  # fmt: skip
def test_the_whole_view_of_shipped_configs_is_what_it_was_as_a_share(monkeypatch, length, side, base_size, share):
    assert whole_window(monkeypatch, length, side, base_size) == (round(length * share),) * 2


def test_the_whole_view_of_bcss_tiny_is_a_pixel_smaller_than_by_its_rounded_share(monkeypatch):
    assert whole_window(monkeypatch, 512, 64, 192) == (213, 213)  # 213.3; by the share of 0.417 it was 213.5, so 214


def test_a_tile_is_decoded_once_and_the_batches_stay_the_same(monkeypatch):
    read = []

    class Counting(FakeSource):
        def __getitem__(self, position):
            read.append(position)
            return super().__getitem__(position)

    monkeypatch.setattr(fake_tiles, "FakeSource", Counting)
    kept = take(loader(noise(9), threads=0), 6)
    assert sorted(read) == list(range(9))
    monkeypatch.setattr(loaders, "DecodedTiles", Forgetful)
    assert_equal(take(loader(noise(9), threads=0), 6), kept)
    assert len(read) == 9 + 6 * (4 + 4)


class Forgetful:
    """Keeps no tile."""

    def get(self, _, decode):
        return decode()


def test_decoded_tiles_are_kept_up_to_a_number_of_bytes_and_not_written_to():
    decoded, asked = loaders.DecodedTiles(most=100), []

    def decode(key):
        asked.append(key)
        return {"image": np.full(40, key, np.uint8)}

    for key in (1, 2, 3, 1, 2, 3):
        assert decoded.get(key, functools.partial(decode, key))["image"][0] == key
    assert asked == [1, 2, 3, 3]  # 120 bytes: the third doesn't fit
    with pytest.raises(ValueError, match="read-only"):
        decoded.get(1, lambda: None)["image"][0] = 9


def test_an_unreadable_tile_ends_the_iteration_with_its_error():
    data_set = FakeDataSet(noise(6).images, broken=(4,))
    iterator = loader(data_set)
    with pytest.raises(UserError, match="tile 4 can't be read"):
        take(iterator, 5)
    iterator.close()


def grain_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain")]


def wait_for_threads_to_end():
    end = time.monotonic() + 10
    while grain_threads() and time.monotonic() < end:
        time.sleep(0.01)
    return not grain_threads()


def test_closing_and_forgetting_end_the_threads():
    assert wait_for_threads_to_end()
    iterator = loader(noise(9), threads=4)
    next(iterator)
    assert grain_threads()
    iterator.close()
    assert wait_for_threads_to_end()
    iterator = loader(noise(9))
    next(iterator)
    del iterator
    assert wait_for_threads_to_end()
    evaluation = loaders.evaluation_examples(noise(9), noise(9).records, threads=2)
    next(evaluation)
    del evaluation
    assert wait_for_threads_to_end()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process_count": 3}, r"train\.batch_size 4 cannot be shared out to 3 process"),
        ({"batch_size": 0}, r"train\.batch_size 0"),
        ({"unlabelled_batch_size": 3, "process_count": 2}, r"train\.unlabelled_batch_size 3"),
    ],
)
def test_options_that_cannot_work_are_errors(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(OPTIONS, **changes)


def test_a_process_index_outside_the_processes_is_a_defect():
    with pytest.raises(ValueError, match="process_index 2 is not one of 2 processes"):
        dataclasses.replace(OPTIONS, process_index=2, process_count=2)


def test_empty_streams_are_errors():
    with pytest.raises(UserError, match="fake has no labelled records"):
        loader(noise(3), 0)
    with pytest.raises(UserError, match="fake has no unlabelled records"):
        loader(noise(3), 3)
    assert set(next(loader(noise(3), 3, with_unlabelled=False))) == LABELLED_KEYS


def test_views_that_cannot_be_are_told_before_the_first_batch():
    with pytest.raises(UserError, match=r"data\.overlap 0\.9 to 0\.95"):
        loader(noise(9), overlap=(0.9, 0.95))
    with pytest.raises(UserError, match=r"data\.side 36 must be a multiple of the feature stride, 8"):
        loader(noise(9), side=36)
    assert next(loader(noise(9), side=36, with_unlabelled=False))["image"].shape == (4, 36, 36, 3)


@pytest.mark.parametrize(("count", "processes"), [(10, 1), (10, 3), (2, 4), (0, 1)])
def test_every_record_is_evaluated_once_as_stored(count, processes):
    data_set = noise(10)
    records = data_set.records[:count]
    seen = []
    for index in range(processes):
        for record, image, label in loaders.evaluation_examples(
            data_set, records, process_index=index, process_count=processes, threads=2
        ):
            np.testing.assert_array_equal(image, data_set.images[record.position])
            np.testing.assert_array_equal(label, data_set.labels[record.position])
            seen.append(record)
    assert len(seen) == count
    assert set(seen) == set(records)
    if processes == 1:
        assert seen == list(records)


def test_a_stored_data_set_gives_the_same_batches_and_decodes_no_unlabelled_mask(tmp_path, monkeypatch):
    data_set = noise(9)
    stored = build_stored(tmp_path, data_set)
    split = SimpleNamespace(labelled=stored.records[:3], unlabelled=stored.records[3:])
    expected = take(loader(data_set), 3)
    channels = []
    decode = cv2.imdecode

    def counted(*arguments):
        image = decode(*arguments)
        channels.append(image.ndim)
        return image

    monkeypatch.setattr(cv2, "imdecode", counted)
    one_by_one = dataclasses.replace(OPTIONS, threads=0)
    assert_equal(take(loaders.training_loader(stored, split, one_by_one, sources=examples.SOURCES), 3), expected)
    assert (channels.count(3), channels.count(2)) == (9, 3)  # once each: images of both streams, masks of the labelled
    assert_equal(take(loaders.training_loader(stored, split, OPTIONS, sources=examples.SOURCES), 3), expected)
    for record, image, label in loaders.evaluation_examples(stored, stored.records, threads=4):
        np.testing.assert_array_equal(image, data_set.images[record.position])
        np.testing.assert_array_equal(label, data_set.labels[record.position])
