"""A user is the weighted average of what was watched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.events import build_sequences
from recsys.errors import ColdUserError
from recsys.vectors.users import averages_before, history_weights, user_vectors
from tests.test_events import sequences_of

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((7, 4)).astype(np.float32)
WEIGHTS = (RNG.random(7) + 0.1).astype(np.float32)


def average(items, half_life, item_weights=None):
    """The definition, in numpy."""
    weights = 0.5 ** (np.arange(len(items))[::-1] / (half_life or np.inf))
    if item_weights is not None:
        weights = weights * item_weights[items]
    return np.average(VECTORS[items], axis=0, weights=weights)


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=9), min_size=1, max_size=5),
    st.sampled_from([None, 0.01, 1, 3.5, 1e12]),
    st.sampled_from([None, WEIGHTS]),
)
def test_all_users_at_once_agree_with_numpy_one_by_one(lists, half_life, item_weights):
    options = {"half_life": half_life, "item_weights": item_weights}
    found = user_vectors(sequences_of(lists), VECTORS, **options)
    expected = [average(items, half_life, item_weights) for items in lists]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@given(st.lists(st.lists(st.integers(0, 6), max_size=9), min_size=1, max_size=5))
def test_before_each_event_the_average_is_that_of_the_shorter_history(lists):
    for half_life in (None, 2.0):
        options = {"half_life": half_life, "item_weights": WEIGHTS}
        found, steps = averages_before(sequences_of(lists), VECTORS, **options)
        expected = [average(items[:step], half_life, WEIGHTS)
                    for items in lists for step in range(1, len(items))]  # fmt: skip
        np.testing.assert_allclose(found, np.reshape(expected, (-1, 4)), rtol=1e-4, atol=1e-6)
        firsts = np.cumsum([0, *map(len, lists)])
        assert steps.tolist() == sorted(set(range(firsts[-1])) - set(firsts.tolist()))


def test_an_item_one_half_life_back_weighs_half_and_a_repeat_counts_each_time():
    weights = history_weights(np.array([0, 3]), half_life=1)
    np.testing.assert_allclose(weights, [1 / 7, 2 / 7, 4 / 7], rtol=1e-6)
    found = user_vectors(sequences_of([[3, 1, 3]]), VECTORS, half_life=1)
    np.testing.assert_allclose(found[0], (5 * VECTORS[3] + 2 * VECTORS[1]) / 7, rtol=1e-5)
    factors = np.array([4.0, 1.0, 7.0])
    weights = history_weights(np.array([0, 2, 2, 3]), half_life=1, item_weights=factors)
    np.testing.assert_allclose(weights, [2 / 3, 1 / 3, 1])  # (4 * 0.5, 1) / 3 and 1


def test_a_very_long_history_has_weights_and_an_empty_one_is_an_error_never_zeros():
    assert history_weights(np.array([0, 100_000]), half_life=3).sum() == pytest.approx(1)
    with pytest.raises(ColdUserError, match="1 users have no item with a vector, the first is 1"):
        user_vectors(sequences_of([[0], []]), VECTORS)


def test_users_averaged_block_by_block_are_to_the_bit_those_averaged_at_once(sample, monkeypatch):
    histories = build_sequences(sample)
    vectors = RNG.standard_normal((len(histories.item_ids), 8)).astype(np.float32)
    options = {"half_life": 3, "item_weights": RNG.random(len(vectors)) + 0.1}
    at_once = user_vectors(histories, vectors, **options)
    for size, width in ((1, 8), (100, 5), (3000, 1)):
        monkeypatch.setattr("recsys.vectors.users.BLOCK", size)
        monkeypatch.setattr("recsys.vectors.users.WIDTH", width)
        assert np.array_equal(user_vectors(histories, vectors, **options), at_once)
