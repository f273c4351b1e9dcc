"""A user is the weighted average of what was watched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.sequences import Sequences, build_sequences, offsets_from
from recsys.errors import ColdUserError
from recsys.vectors.users import history_weights, user_vector, user_vectors

VECTORS = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)


def sequences_of(lists) -> Sequences:
    codes = np.array([code for items in lists for code in items], dtype=np.int32)
    return Sequences(np.arange(len(lists)), np.arange(7), codes, offsets_from([*map(len, lists)]))


def test_without_a_half_life_it_is_the_plain_mean():
    found = user_vectors(sequences_of([[0, 1, 5], [2]]), VECTORS)
    np.testing.assert_allclose(found, [VECTORS[[0, 1, 5]].mean(axis=0), VECTORS[2]], rtol=1e-5)


def test_an_item_one_half_life_back_weighs_half():
    weights = history_weights(np.array([0, 3]), half_life=1)
    np.testing.assert_allclose(weights, [1 / 7, 2 / 7, 4 / 7], rtol=1e-6)


def test_a_repeated_item_counts_each_time():
    found = user_vectors(sequences_of([[3, 1, 3]]), VECTORS, half_life=1)
    np.testing.assert_allclose(found[0], (5 * VECTORS[3] + 2 * VECTORS[1]) / 7, rtol=1e-5)


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=9), min_size=1, max_size=5),
    st.sampled_from([None, 0.01, 1, 3.5, 1e12]),
)
def test_all_users_at_once_agree_with_numpy_one_by_one_and_to_the_bit_with_user_vector(
    lists, half_life
):
    found = user_vectors(sequences_of(lists), VECTORS, half_life=half_life)
    for items, vector in zip(lists, found, strict=True):
        back = np.arange(len(items))[::-1]
        weights = 0.5 ** (back / (half_life or np.inf))
        np.testing.assert_allclose(
            vector, np.average(VECTORS[items], axis=0, weights=weights), rtol=1e-4, atol=1e-6
        )
        assert np.array_equal(vector, user_vector(np.array(items), VECTORS, half_life=half_life))


def test_weights_of_a_very_long_history_still_sum_to_one():
    weights = history_weights(np.array([0, 100_000]), half_life=3)
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)


def test_an_empty_history_is_an_error_and_never_zeros():
    with pytest.raises(ColdUserError, match="1 users have no item with a vector, the first is 1"):
        user_vectors(sequences_of([[0], []]), VECTORS)


def test_item_weights_multiply_the_weights_of_recency():
    weights = history_weights(
        np.array([0, 2, 2, 3]), half_life=1, item_weights=np.array([4.0, 1.0, 7.0])
    )
    np.testing.assert_allclose(weights, [2 / 3, 1 / 3, 1])  # (4 * 0.5, 1) / 3 and 1
    vectors = np.array([[3.0, 0], [0, 3.0]], np.float32)
    rows = np.array([0, 1])
    averaged = user_vector(rows, vectors, half_life=1, item_weights=np.array([4.0, 1.0]))
    np.testing.assert_allclose(averaged, [2, 1], rtol=1e-6)


def test_users_averaged_block_by_block_are_to_the_bit_those_averaged_at_once(sample, monkeypatch):
    histories = build_sequences(sample)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(histories.item_ids), 8)).astype(np.float32)
    options = {"half_life": 3, "item_weights": rng.random(len(vectors)) + 0.1}
    at_once = user_vectors(histories, vectors, **options)
    for size in (1, 100, 3000):
        monkeypatch.setattr("recsys.vectors.users.BLOCK", size)
        assert np.array_equal(user_vectors(histories, vectors, **options), at_once)
