"""Sequences are in time order, whatever the order of the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import sequences as sequences_module
from recsys.data.sequences import (
    Sequences,
    build_sequences,
    offsets_from,
    sort_events,
    training_pairs,
)


def frame(rows, columns=("user_id", "item_id", "timestamp")):
    made = pd.DataFrame(rows, columns=list(columns))
    if "timestamp" in made:
        made["timestamp"] = pd.to_datetime(made["timestamp"], unit="s", utc=True).dt.as_unit("s")
    return made


def as_dict(sequences: Sequences) -> dict:
    return {
        user_id: sequences.item_ids[sequences.items_of(row)].tolist()
        for row, user_id in enumerate(sequences.user_ids.tolist())
    }


def test_items_of_a_user_are_in_time_order():
    ratings = frame([(1, 10, 300), (2, 30, 50), (1, 20, 100), (1, 30, 200), (2, 10, 40)])
    assert as_dict(build_sequences(ratings)) == {1: [20, 30, 10], 2: [10, 30]}


def test_without_times_the_row_order_within_a_user_is_kept():
    ratings = frame([("b", 3), ("a", 1), ("b", 1), ("a", 2), ("b", 2)], ("user_id", "item_id"))
    assert as_dict(build_sequences(ratings)) == {"a": [1, 2], "b": [3, 1, 2]}


def test_the_same_item_at_two_times_is_two_events():
    assert as_dict(build_sequences(frame([(1, 5, 10), (1, 6, 20), (1, 5, 30)]))) == {1: [5, 6, 5]}


@pytest.mark.parametrize("as_text", [False, True])
def test_any_row_order_gives_the_same_sequences_with_tied_times_too(as_text):
    rng = np.random.default_rng(0)
    ratings = frame({"user_id": rng.integers(0, 20, 500), "item_id": rng.integers(0, 50, 500),
                     "timestamp": rng.integers(1, 4, 500)}).drop_duplicates()  # fmt: skip
    if as_text:
        ratings = ratings.astype({"user_id": "str", "item_id": "str"})
    sequences = build_sequences(ratings)
    shuffled = build_sequences(ratings.sample(frac=1, random_state=1))
    assert np.array_equal(sequences.codes, shuffled.codes)
    assert np.array_equal(sequences.offsets, shuffled.offsets)


def test_ties_are_broken_by_neither_item_id_nor_file_order():
    ratings = frame([(user, item, 100) for user in range(200) for item in range(10)])
    sequences = build_sequences(ratings)
    first = np.array([sequences.items_of(user)[0] for user in range(200)])
    # Were ties ordered by id or by row, item 0 would always come first; here it is 1 of 10.
    assert set(first) == set(range(10))
    assert np.bincount(first).max() < 50


def test_the_order_is_by_user_time_hash_and_rating_however_few_bits_of_the_hash_are_in_the_key(
    monkeypatch,
):
    rng = np.random.default_rng(1)
    n = 3000
    ratings = frame({"user_id": rng.integers(0, 9, n), "item_id": rng.integers(0, 40, n),
                     "timestamp": rng.integers(1, 30, n)})  # fmt: skip
    ratings["rating"] = rng.integers(1, 6, n).astype("float32")
    ratings = ratings.drop_duplicates(ignore_index=True)
    expected = sort_events(ratings)
    # Times a second apart, but for one in the far future, which leaves few bits for the hash.
    late = ratings.copy()
    late.loc[n // 5, "timestamp"] = pd.Timestamp("5138-01-01", tz="UTC")
    for events in (ratings, late):
        hashed = sequences_module._hash_ids(pd.Index(events["user_id"]))
        hashed = hashed ^ sequences_module._mix(
            sequences_module._hash_ids(pd.Index(events["item_id"]))
        )
        keys = (events["rating"], sequences_module._mix(hashed), events["timestamp"],
                events["user_id"])  # fmt: skip
        pd.testing.assert_frame_equal(
            sort_events(events.sample(frac=1, random_state=2)),
            events.iloc[np.lexsort(keys)].reset_index(drop=True),
        )
    # A hash cut down to its first 3 bits puts unequal hashes into one key: they are told apart.
    monkeypatch.setattr(sequences_module, "KEY_BITS", 5 + 4 + 3)
    pd.testing.assert_frame_equal(sort_events(ratings), expected)


def test_ids_far_apart_are_coded_as_those_that_are_near():
    near = frame([(3, 1, 9), (1, 2, 3), (3, 0, 4), (2, 2, 1)])
    far = near.assign(user_id=near["user_id"] * 10**15, item_id=near["item_id"] * -(10**15))
    expected, found = build_sequences(near), build_sequences(far)
    assert found.user_ids.tolist() == [10**15, 2 * 10**15, 3 * 10**15]
    assert found.item_ids.tolist() == [-2 * 10**15, -(10**15), 0]
    assert as_dict(found) == {
        user * 10**15: [item * -(10**15) for item in items]
        for user, items in as_dict(expected).items()
    }


def test_the_tie_break_is_the_same_in_every_version_and_process():
    ratings = frame([(7, item, 100) for item in range(6)])
    assert as_dict(build_sequences(ratings)) == {7: [5, 2, 0, 1, 3, 4]}
    ratings = ratings.assign(item_id=list("abcdef"))
    assert as_dict(build_sequences(ratings)) == {7: ["a", "c", "d", "b", "f", "e"]}


def test_building_changes_no_frame_it_was_given():
    ratings = frame([(1, 10, 300), (1, 20, 100)])
    before = ratings.copy()
    build_sequences(ratings)
    sort_events(ratings)
    pd.testing.assert_frame_equal(ratings, before)


ragged = st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=6)


def sequences_of(lists) -> Sequences:
    codes = np.array([code for items in lists for code in items], dtype=np.int32)
    ids = np.arange(10, 80, 10)
    return Sequences(np.arange(len(lists)), ids, codes, offsets_from([len(x) for x in lists]))


def lists_of(sequences: Sequences):
    return [sequences.items_of(row).tolist() for row in range(len(sequences))]


@given(ragged, st.data())
def test_taking_users_is_taking_their_lists(lists, data):
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1)))
    taken = sequences_of(lists).take_users(np.array(rows, dtype=np.int64))
    assert lists_of(taken) == [lists[row] for row in rows]


@given(ragged)
def test_keeping_some_events_keeps_their_order_and_users(lists):
    sequences = sequences_of(lists)
    kept = sequences.where(sequences.codes % 2 == 0)
    assert lists_of(kept) == [[code for code in items if code % 2 == 0] for items in lists]


@given(ragged, st.sets(st.sampled_from([5, 10, 20, 40, 70, 99])))
def test_recoding_drops_what_the_new_vocabulary_lacks(lists, ids):
    vocabulary = np.array(sorted(ids), dtype=np.int64)
    recoded = sequences_of(lists).recode(vocabulary)
    expected = [[10 * (code + 1) for code in items if 10 * (code + 1) in ids] for items in lists]
    assert [vocabulary[codes].tolist() for codes in lists_of(recoded)] == expected


def test_counts_count_events_of_each_item():
    assert sequences_of([[0, 0, 3], [], [3, 6]]).counts().tolist() == [2, 0, 0, 2, 0, 0, 1]


def test_a_wide_window_pairs_every_token_with_every_other():
    assert training_pairs("abc", window=9) == [
        ("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b"),
    ]  # fmt: skip


def test_real_ratings_come_out_in_time_order(ml_100k):
    events = sort_events(ml_100k)
    same_user = events["user_id"].diff().eq(0)
    gaps = events["timestamp"].diff()[same_user]
    assert (gaps >= pd.Timedelta(0)).all()
    assert len(build_sequences(ml_100k).codes) == 100_000
