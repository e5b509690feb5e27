"""Crops by class: which class, tile and pixel is drawn, how often, and the same for any number of processes."""

import json

import numpy as np
import pytest
from fake_tiles import FakeDataSet, assert_equal, build_stored, loader, noise, take

from data_pipelines.sampling import ClassSampling, count_pixels, draw_pixel, draw_start


def test_shares_are_of_the_square_roots_of_the_areas():
    # Totals 9, 1 and 0: roots 3, 1 and 0.
    sampling = ClassSampling(np.array([[4, 0, 0], [5, 0, 0], [0, 1, 0]]))
    np.testing.assert_allclose(sampling.shares, [0.75, 0.25, 0])
    areas = np.array([[90, 9.9, 0.1]])
    np.testing.assert_allclose(ClassSampling(areas).shares, [0.733, 0.243, 0.024], atol=5e-4)


def test_classes_tiles_and_pixels_come_as_often_as_stated():
    sampling, generator = ClassSampling(np.array([[4, 0], [5, 0], [0, 1]])), np.random.default_rng(0)
    draws = np.array([sampling.draw(generator) for _ in range(4000)])
    pairs, counts = np.unique(draws, axis=0, return_counts=True)
    assert pairs.tolist() == [[0, 0], [1, 0], [2, 1]]  # never a tile without the class
    np.testing.assert_allclose(counts / 4000, [0.75 * 4 / 9, 0.75 * 5 / 9, 0.25], atol=0.03)  # 4 standard errors
    labels = np.array([[255, 1, 0], [1, 255, 255]], np.uint8)
    assert {draw_pixel(labels, 1, generator) for _ in range(50)} == {(0, 1), (1, 0)}
    assert draw_pixel(labels, 0, generator) == (0, 2)


def test_nothing_annotated_cannot_be_sampled():
    with pytest.raises(ValueError, match="no tile has an annotated pixel"):
        ClassSampling(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("length", "window", "pixel", "starts"),
    [
        (10, 4, None, range(7)),
        (10, 4, 5, range(2, 6)),  # windows 2-5 to 5-8 hold pixel 5
        (10, 4, 0, [0]),
        (10, 4, 9, [6]),  # not over the border
        (10, 4, 8, [5, 6]),
        (3, 5, None, range(-2, 1)),
        (3, 5, 1, range(-2, 1)),  # all of the side is in the window, wherever it is
        (4, 4, 2, [0]),
    ],
)
def test_a_window_that_holds_a_pixel_stays_inside(length, window, pixel, starts):
    generator = np.random.default_rng(0)
    assert {draw_start(length, window, generator, pixel) for _ in range(200)} == set(starts)


def strokes():
    """Four tiles: a stroke of class 0 in the first two, one pixel of class 1 in the third, nothing in the last."""
    labels = [np.full((48, 40), 255, np.uint8) for _ in range(4)]
    labels[0][10, 5:35] = 0
    labels[1][30:33, 5:35] = 0
    labels[2][47, 0] = 1
    images = [np.full((48, 40, 3), 60 * number, np.uint8) for number in range(4)]
    return FakeDataSet(images, labels)


def by_class(data_set, labelled=3, **changes):
    pixels = np.array([[np.sum(label == number) for number in range(2)] for label in data_set.labels[:labelled]])
    return loader(data_set, labelled, sampling=ClassSampling(pixels), **changes)


def test_every_crop_shows_the_class_that_it_was_drawn_around():
    batches = take(by_class(strokes(), labelled_scale=(1.0, 1.3)), 60)  # shrunk, a single pixel may be lost
    label, image = (np.concatenate([batch[key] for batch in batches]) for key in ("label", "image"))
    seen = [set(np.unique(one)) - {255} for one in label]
    assert all(len(one) == 1 for one in seen)
    share = np.mean([1 in one for one in seen])
    assert share == pytest.approx(1 / (1 + 120**0.5), abs=0.08)  # 120 pixels and one: 8.4 %, 4 standard errors
    tiles = np.array([one[0, 0, 0] // 60 for one in image])
    of_0 = tiles[tiles < 2]
    assert np.mean(of_0 == 0) == pytest.approx(0.25, abs=0.12)  # 30 of 120 pixels lie in the first tile
    columns = {int(np.argwhere(one == 1)[0, 1]) for one in label if (one == 1).any()}
    assert columns == {0, 31}  # at the left border, mirrored or not


def test_a_pixel_lies_anywhere_in_its_crop():
    labels = [np.full((96, 96), 255, np.uint8)]
    labels[0][48, 48] = 0
    data_set = FakeDataSet([np.zeros((96, 96, 3), np.uint8)] * 2, labels * 2)
    iterator = loader(data_set, 1, sampling=ClassSampling(np.array([[1]])), labelled_scale=(1.0, 1.0))
    places = np.concatenate([np.argwhere(batch["label"] == 0)[:, 1:] for batch in take(iterator, 64)])
    assert len(places) == 256
    assert (places.min(0) < 4).all() and (places.max(0) >= 28).all()
    np.testing.assert_allclose(places.mean(0), 15.5, atol=2.4)  # 9.2 / 16: 4 standard errors


def test_tiles_are_drawn_as_before_without_sampling():
    assert_equal(take(loader(noise(9)), 2), take(loader(noise(9), sampling=None), 2))


def test_the_unlabelled_stream_is_the_same():
    keys = ("unlabelled", "view_a", "view_b", "offset", "flip")
    one, other = (
        [{key: batch[key] for key in keys} for batch in take(made, 3)]
        for made in (by_class(strokes()), loader(strokes()))
    )
    assert_equal(one, other)


def test_the_state_continues_to_the_bit():
    iterator = by_class(strokes())
    take(iterator, 3)
    state = json.loads(json.dumps(iterator.get_state()))
    rest = take(iterator, 3)
    fresh = by_class(strokes(), threads=3, prefetch=30)
    fresh.set_state(state)
    assert_equal(take(fresh, 3), rest)


def test_batches_of_all_processes_make_up_the_batch_of_one():
    shares = [take(by_class(strokes(), process_index=index, process_count=2), 3) for index in range(2)]
    joined = [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} for parts in zip(*shares, strict=True)
    ]
    assert_equal(joined, take(by_class(strokes()), 3))


def test_pixels_are_counted_from_labels_alone(tmp_path, monkeypatch):
    data_set = noise(4)
    data_set.labels[1][:] = 255
    stored = build_stored(tmp_path, data_set)
    records = [stored.records[number] for number in (2, 1)]
    counts = count_pixels(stored, records, threads=2)
    by_hand = [[int((data_set.labels[number] == label).sum()) for label in range(5)] for number in (2, 1)]
    assert counts.dtype == np.int64 and counts.tolist() == by_hand
    assert counts[1].sum() == 0
    assert count_pixels(stored, [], threads=2).shape == (0, 5)
    assert set(stored.source("train", labels=True, images=False)[0]) == {"label"}
