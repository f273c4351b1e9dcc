"""Events are in time order whatever the order of the rows, and everything takes masks of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import events as module
from recsys.data.events import Events, build_sequences
from recsys.data.sequences import Sequences, offsets_from
from recsys.errors import DataError, DataWarning


def frame(rows, columns=("user_id", "item_id", "timestamp")):
    made = pd.DataFrame(rows, columns=list(columns))
    if "timestamp" in made:
        made["timestamp"] = pd.to_datetime(made["timestamp"], unit="s", utc=True).dt.as_unit("s")
    return made


def items_by_user(sequences: Sequences) -> dict:
    return {
        user_id: sequences.item_ids[sequences.items_of(row)].tolist()
        for row, user_id in enumerate(sequences.user_ids.tolist())
    }


def some_ratings(n, days=30):
    rng = np.random.default_rng(1)
    ratings = frame({"user_id": rng.integers(0, 9, n), "item_id": rng.integers(0, 40, n),
                     "timestamp": rng.integers(1, days, n)})  # fmt: skip
    ratings["rating"] = rng.integers(1, 6, n).astype("float32")
    return ratings.drop_duplicates(ignore_index=True)


def test_items_of_a_user_are_in_time_order_or_without_times_in_row_order():
    rows = [(1, 10, 300), (2, 30, 50), (1, 20, 100), (1, 30, 200), (2, 10, 40), (2, 30, 60)]
    assert items_by_user(build_sequences(frame(rows))) == {1: [20, 30, 10], 2: [10, 30, 30]}
    ratings = frame([("b", 3), ("a", 1), ("b", 1), ("a", 2), ("b", 2)], ("user_id", "item_id"))
    assert items_by_user(build_sequences(ratings)) == {"a": [1, 2], "b": [3, 1, 2]}


@pytest.mark.parametrize("ids", ["int64", "str"])
def test_any_row_order_gives_the_same_events_with_tied_times_too(ids):
    ratings = some_ratings(500, days=4).astype({"user_id": ids, "item_id": ids})
    before, events = ratings.copy(), Events.of(ratings)
    shuffled = Events.of(ratings.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(shuffled.to_frame(), events.to_frame())
    pd.testing.assert_frame_equal(ratings, before)
    assert shuffled.fingerprint() == events.fingerprint()
    if ids == "int64":  # ids far apart are coded in another way than those that are near
        near = ratings.drop(columns="timestamp")
        far = near.assign(user_id=near["user_id"] * 10**15, item_id=near["item_id"] * 10**15)
        apart = Events.of(far).sequences
        assert apart.codes.tolist() == Events.of(near).sequences.codes.tolist()
        assert apart.item_ids.tolist() == sorted(set(far["item_id"]))


def test_ties_are_broken_by_a_hash_that_is_the_same_in_every_version_and_process():
    ratings = frame([(user, item, 100) for user in range(200) for item in range(10)])
    sequences = build_sequences(ratings)
    first = [sequences.items_of(user)[0] for user in range(200)]
    # Were ties ordered by id or by row, item 0 would always come first; here it is 1 of 10.
    assert 0 < np.bincount(first, minlength=10).min() <= np.bincount(first).max() < 50
    ratings = frame([(7, item, 100) for item in range(6)])
    assert items_by_user(build_sequences(ratings)) == {7: [5, 2, 0, 1, 3, 4]}
    ratings = ratings.assign(item_id=list("abcdef"))
    assert items_by_user(build_sequences(ratings)) == {7: ["a", "c", "d", "b", "f", "e"]}


def test_the_order_is_by_user_time_hash_and_rating_however_few_bits_of_the_hash_fit(monkeypatch):
    ratings = some_ratings(3000)
    expected = Events.of(ratings).to_frame()
    # Times a second apart, but for one in the far future, which leaves few bits for the hash.
    late = ratings.copy()
    late.loc[600, "timestamp"] = pd.Timestamp("5138-01-01", tz="UTC")
    for rows in (ratings, late):
        users, items = (module._hash_ids(pd.Index(rows[name])) for name in ("user_id", "item_id"))
        keys = (rows["rating"], module._mix(users ^ module._mix(items)), rows["timestamp"],
                rows["user_id"])  # fmt: skip
        pd.testing.assert_frame_equal(
            Events.of(rows.sample(frac=1, random_state=2)).to_frame(),
            rows.iloc[np.lexsort(keys)].reset_index(drop=True)[list(expected.columns)],
        )
    # A hash cut down to its first few bits puts unequal hashes into one key: they are told apart.
    monkeypatch.setattr(module, "HASH_BITS", 0)
    monkeypatch.setattr(module, "BLOCK_BITS", 7)
    pd.testing.assert_frame_equal(Events.of(ratings).to_frame(), expected)


def test_compact_drops_who_and_what_has_no_event_and_changes_no_event():
    events = Events.of(some_ratings(300))
    keep = (events.sequences.user_rows != 3) & (events.sequences.codes % 7 != 2)
    part = events.where(keep)
    small = part.compact()
    pd.testing.assert_frame_equal(small.to_frame(), events.to_frame()[keep].reset_index(drop=True))
    assert (len(part.sequences), len(small.sequences)) == (9, 8)
    assert small.sequences.counts().min() > 0
    assert small.fingerprint() == part.fingerprint() == Events.of(small.to_frame()).fingerprint()


def test_the_fingerprint_tells_every_change():
    ratings = some_ratings(100)
    changed = [ratings, ratings[1:], *(ratings.drop(columns=c) for c in ("rating", "timestamp"))]
    for column in ratings:
        other = ratings.copy()
        other.loc[7, column] += pd.Timedelta(1, "s") if column == "timestamp" else 1
        changed.append(other)
    changed.append(ratings.astype({"item_id": "str"}))
    assert len({Events.of(rows).fingerprint() for rows in changed}) == len(changed)
    zeros = (Events.of(ratings.assign(rating=np.float32(zero))) for zero in (0.0, -0.0))
    assert len({events.fingerprint() for events in zeros}) == 1


def test_min_rating_marks_what_is_liked_and_needs_ratings_that_reach_it():
    events = Events.of(some_ratings(100))
    assert events.liked(None).all()
    assert (events.liked(4) == (events.ratings >= 4)).all()
    with pytest.raises(DataError, match=f"0 of {len(events)} ratings are left after min_rating=6"):
        events.liked(6)
    with pytest.raises(DataError, match="min_rating=4 needs a rating column and there is none"):
        Events(events.sequences, events.times).liked(4)


def test_recent_counts_and_staleness_are_in_days_before_a_second():
    day = module.DAY
    events = Events.of(frame([(1, 10, day), (1, 20, 3 * day), (2, 20, 5 * day), (2, 30, 7 * day)]))
    assert events.recent_counts(4, 7 * day).tolist() == [0, 2, 1]
    assert events.recent_counts(3.9, 7 * day).tolist() == [0, 1, 1]
    assert events.days_before(8 * day).tolist() == [5, 1]
    only_2 = events.where(events.sequences.user_rows == 1)
    assert only_2.days_before(8 * day).tolist() == [0, 1]
    timeless = Events(events.sequences)
    assert (timeless.now, timeless.days_before(None).tolist()) == (None, [0, 0])
    with pytest.raises(DataError, match="popularity of the last 7 days needs times"):
        timeless.recent_counts(7, 0)


def test_a_line_says_how_much_there_is():
    day = module.DAY
    ratings = frame([(1, 10, day), (1, 20, day), (2, 20, 3 * day), (2, 30, 40 * day)])
    line = Events.of(ratings).describe()
    assert line == ("4 ratings by 2 users on 3 items, 1970-01-02 to 1970-02-10; "
                    "50% share a timestamp with another rating of the same user")  # fmt: skip
    one = Events.of(ratings[:1].drop(columns="timestamp"))
    assert one.describe() == "1 rating by 1 user on 1 item, no times"


ragged = st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=6)


def sequences_of(lists) -> Sequences:
    codes = np.array([code for items in lists for code in items], dtype=np.int32)
    ids = np.arange(10, 80, 10)
    return Sequences(np.arange(len(lists)), ids, codes, offsets_from([len(x) for x in lists]))


def lists_of(sequences: Sequences):
    return [sequences.items_of(row).tolist() for row in range(len(sequences))]


@given(ragged, st.data())
def test_sequences_are_taken_filtered_and_recoded_as_lists_are(lists, data):
    sequences = sequences_of(lists)
    assert sequences.counts().tolist() == [sum(x.count(code) for x in lists) for code in range(7)]
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1)))
    taken = sequences.take_users(np.array(rows, dtype=np.int64))
    assert lists_of(taken) == [lists[row] for row in rows]
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(lists))] * 2)))
    assert lists_of(sequences.slice_users(start, stop)) == lists[start:stop]
    even = sequences.where(sequences.codes % 2 == 0)
    assert lists_of(even) == [[code for code in items if code % 2 == 0] for items in lists]
    ids = data.draw(st.sets(st.sampled_from([5, 10, 20, 40, 70, 99])))
    vocabulary = np.array(sorted(ids), dtype=np.int64)
    recoded = [vocabulary[codes].tolist() for codes in lists_of(sequences.recode(vocabulary))]
    assert recoded == [[10 * c + 10 for c in items if 10 * c + 10 in ids] for items in lists]


def test_too_little_to_learn_from_is_said():
    views = pd.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [7, 8, 7, 9, 7]})
    with pytest.warns(DataWarning, match="too little data to learn much: 2 users and 1 items have"):
        Events.of(views)
