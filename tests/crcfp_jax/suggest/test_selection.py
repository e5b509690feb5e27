import numpy as np
import pytest

from crcfp_jax.suggest.selection import choose, normalised_entropy, unit_length

EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)


def chosen(uncertainty, embedding, known=(), count=10):
    known = np.array(known, float).reshape(-1, 2)
    return [each.candidate for each in choose(np.array(uncertainty, float), np.array(embedding), known, count)]


def test_entropy():
    assert normalised_entropy(np.array([[0.5, 0.5]])) == pytest.approx([1])
    assert normalised_entropy(np.array([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3]])) == pytest.approx([0, 1], abs=1e-9)
    assert normalised_entropy(np.array([[0.5, 0.5, 0, 0]])) == pytest.approx([0.5])


def test_the_same_place_of_two_slides_is_suggested_once_before_others():
    # The first two are alike; once one is chosen the other is worth 0.
    assert chosen([0.9, 0.9, 0.2], [EAST, EAST, NORTH], count=2) == [0, 2]
    assert chosen([0.9, 0.9, 0.2], [EAST, EAST, NORTH]) == [0, 2, 1]


def test_what_is_known_is_worth_nothing():
    assert chosen([0.9, 0.3], [EAST, NORTH], known=[EAST], count=1) == [1]


def test_worth_is_uncertainty_times_distance():
    # From EAST it is 2 to WEST and sqrt 2 to NORTH: 0.5 * 2 > 0.7 * 1.41, and less than 0.75 * 1.41.
    assert chosen([0.5, 0.7], [WEST, NORTH], known=[EAST], count=1) == [0]
    assert chosen([0.5, 0.75], [WEST, NORTH], known=[EAST], count=1) == [1]
    (first,) = choose(np.array([0.5]), np.array([NORTH]), np.array([EAST]), 1)
    assert first.novelty == pytest.approx(2**0.5)


def test_without_anything_known_the_most_uncertain_comes_first():
    assert chosen([0.2, 0.8, 0.8], [EAST, NORTH, WEST], count=1) == [1]
    assert chosen([], np.zeros((0, 2))) == []


def test_unit_length():
    np.testing.assert_allclose(unit_length(np.array([[3.0, 4.0], [0, 0]])), [[0.6, 0.8], [0, 0]])
