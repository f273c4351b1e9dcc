"""Splits hide the future, and say who is asked for what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.events import Events
from recsys.data.splits import (
    Cases,
    calibration_split,
    draw,
    draw_users,
    last_out,
    new_user_cases,
    split_by_time,
    time_cases,
)
from recsys.errors import DataError
from tests import test_events

DAY = 86_400


def frame(rows):
    return test_events.frame(rows, ("user_id", "item_id", "rating", "timestamp"))


def events_of(rows):
    return Events.of(frame(rows))


def as_dict(cases: Cases) -> dict:
    """Lay cases out as user -> (history, watched, targets), in item ids."""
    parts = (cases.histories, cases.watched, cases.targets)
    known, watched, asked = map(test_events.items_by_user, parts)
    return {user: (known[user], watched[user], sorted(asked[user])) for user in asked}


# user 1: known, one new and one re-watched item later; user 2: known, nothing later;
# user 3: brand new with three events; user 4: brand new with one event; cutoff at 100.
ROWS = [
    (1, 10, 5, 10), (1, 20, 1, 20), (1, 10, 5, 110), (1, 30, 4, 120),
    (2, 10, 3, 30),
    (3, 20, 5, 100), (3, 40, 2, 130), (3, 10, 5, 140),
    (4, 20, 5, 150),
]  # fmt: skip
RATINGS = frame(ROWS)


def test_warm_asks_for_what_is_new_and_fold_in_knows_the_earlier_half_rounded_up():
    cases = time_cases(events_of(ROWS), 100)
    assert as_dict(cases["warm"]) == {1: ([10, 20], [10, 20], [30])}
    assert as_dict(cases["fold-in"]) == {
        # 2 later events: the first (a re-watch) joins the history, the second is asked for.
        1: ([10, 20, 10], [10, 20, 10], [30]),
        # 3 later events: ceil(3 / 2) = 2 are known. User 4 has one event only and is left out.
        3: ([20, 40], [20, 40], [10]),
    }
    again = time_cases(events_of(ROWS), pd.Timestamp(100, unit="s", tz="UTC"))
    assert as_dict(again["warm"]) == as_dict(cases["warm"])


def test_who_has_nothing_left_is_dropped_and_no_target_is_asked_for_twice():
    only_repeats = events_of([(1, 10, 5, 100), (1, 10, 5, 110), (2, 10, 5, 10)])
    assert as_dict(time_cases(only_repeats, 100)["fold-in"]) == {}
    twice = events_of([(1, 10, 5, 10), (1, 20, 5, 100), (1, 20, 5, 110), (1, 30, 5, 120)])
    cases = time_cases(twice, 100)["warm"]
    assert as_dict(cases) == {1: ([10], [10], [20, 30])}
    known = cases.recode(np.array([10, 30]))  # targets that no model knows are counted
    assert as_dict(known) == {1: ([10], [10], [30])}
    assert known.n_targets.tolist() == known.take_users(np.array([0])).n_targets.tolist() == [2]


def test_min_rating_bounds_history_and_targets_but_not_what_is_watched():
    cases = time_cases(events_of(ROWS), 100, min_rating=4)
    assert as_dict(cases["warm"]) == {1: ([10], [10, 20], [30])}
    fold_in = {1: ([10, 10], [10, 20, 10], [30]), 3: ([20], [20, 40], [10])}
    assert as_dict(cases["fold-in"]) == fold_in
    no_liked_history = [(1, 10, 1, 10), (1, 20, 5, 100), (2, 10, 5, 10), (2, 20, 5, 100)]
    assert list(as_dict(time_cases(events_of(no_liked_history), 100, min_rating=4)["warm"])) == [2]


def test_last_out_asks_for_the_last_event_and_trains_without_the_last_two():
    rows = [(1, 10, 5, 1), (1, 20, 5, 2), (1, 30, 5, 3), (2, 10, 5, 1), (2, 20, 5, 2)]
    split = last_out(events_of(rows))
    assert split.train.to_frame()[["user_id", "item_id"]].to_numpy().tolist() == [[1, 10]]
    cases = as_dict(split.protocols["last-out"])
    assert cases == {1: ([10, 20], [10, 20], [30]), 2: ([10], [10], [20])}
    timeless = last_out(Events.of(frame(rows).drop(columns="timestamp")))
    assert as_dict(timeless.protocols["last-out"]) == cases
    repeated = last_out(events_of([(1, 10, 5, 1), (1, 20, 5, 2), (1, 10, 5, 3)]))
    assert as_dict(repeated.protocols["last-out"]) == {1: ([10, 20], [10, 20], [10])}  # a miss

    rows = [(1, 10, 5, 1), (1, 20, 5, 2), (1, 30, 1, 3), (1, 40, 5, 4), (1, 50, 1, 5)]
    split = last_out(events_of(rows), min_rating=4)  # which looks at liked events
    assert as_dict(split.protocols["last-out"]) == {1: ([10, 20], [10, 20, 30], [40])}
    assert split.train.to_frame()["item_id"].tolist() == [10]


def test_what_cannot_be_split_is_refused():
    with pytest.raises(DataError, match="none of 1 users has three events"):
        last_out(events_of(ROWS[:2]))
    with pytest.raises(DataError, match="--split last-out"):
        split_by_time(RATINGS.drop(columns="timestamp"))
    with pytest.raises(DataError, match="too little data"):
        split_by_time(RATINGS.assign(timestamp=RATINGS["timestamp"].iloc[0]))
    for fraction in (0, 1, -0.1, 2):
        with pytest.raises(ValueError, match="validation_fraction"):
            split_by_time(RATINGS, validation_fraction=fraction)


one_rating = st.tuples(*(st.integers(*ends) for ends in ((0, 4), (0, 6), (1, 5), (1, 30))))
rows_of_ratings = st.lists(one_rating, min_size=2, max_size=60)


@given(rows_of_ratings, st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_training_lies_before_the_cutoff_and_validation_from_it_on(rows, fraction):
    ratings = frame(rows)
    second = np.quantile([row[3] for row in rows], 1 - fraction, method="lower")
    cutoff = pd.Timestamp(int(second), unit="s", tz="UTC")
    if (ratings["timestamp"] >= cutoff).all():
        return
    split = split_by_time(ratings, validation_fraction=fraction)
    assert split.cutoff == cutoff
    assert split.train["timestamp"].max() < split.cutoff <= split.validation["timestamp"].min()
    assert len(split.train) + len(split.validation) == len(ratings)


@given(rows_of_ratings, st.sampled_from([None, 3]))
def test_cases_agree_with_a_plain_reading_of_their_definition(rows, min_rating):
    events = events_of([*rows, (9, 9, 5, 31)])  # at least one that reaches min_rating
    cutoff = int(np.median([row[3] for row in rows]))
    bar = min_rating or 0
    warm, fold_in = {}, {}
    for user, mine in events.to_frame().groupby("user_id"):
        late = (mine["timestamp"] >= pd.Timestamp(cutoff, unit="s", tz="UTC")).tolist()
        seen = list(zip(mine["item_id"], mine["rating"] >= bar, strict=True))
        early = [pair for pair, is_late in zip(seen, late, strict=True) if not is_late]
        later = [pair for pair, is_late in zip(seen, late, strict=True) if is_late]
        half = (len(later) + 1) // 2
        parts = (warm, early, later), (fold_in, early + later[:half], later[half:])
        for cases, known, asked in parts:
            watched = [item for item, _ in known]
            targets = sorted({item for item, good in asked if good and item not in watched})
            history = [item for item, good in known if good]
            enough = history if cases is warm else len(later) >= 2
            if targets and enough:
                cases[user] = (history, watched, targets)
    found = time_cases(events, cutoff, min_rating=min_rating)
    assert as_dict(found["warm"]) == warm
    assert as_dict(found["fold-in"]) == fold_in


def test_real_ratings_have_the_known_numbers_of_users(ml_100k):
    events = Events.of(ml_100k)
    cutoff = int(split_by_time(ml_100k).cutoff.timestamp())
    cases = time_cases(events, cutoff)
    assert {name: len(found) for name, found in cases.items()} == {"warm": 109, "fold-in": 291}
    assert len(last_out(events).protocols["last-out"]) == 943


def test_staleness_is_the_days_from_the_last_event_of_the_history_to_the_end_of_training():
    days = [(1, 1, 5, 0), (1, 2, 1, 2), (2, 3, 5, 5), (1, 4, 5, 10), (1, 5, 5, 11), (2, 6, 5, 12),
            (2, 7, 5, 13)]  # fmt: skip
    events = events_of([(user, item, rating, d * DAY) for user, item, rating, d in days])
    cases = time_cases(events, 10 * DAY)
    assert cases["warm"].staleness.tolist() == [3, 0]
    assert cases["fold-in"].staleness.tolist() == [0, 0]
    assert cases["warm"].take_users(np.array([1])).staleness.tolist() == [0]
    assert time_cases(events, 10 * DAY, min_rating=3)["warm"].staleness.tolist() == [5, 0]


def test_calibration_takes_both_protocols_where_each_has_enough_users(sample):
    split = calibration_split(Events.of(sample))
    assert list(split.protocols) == ["warm", "fold-in"]
    assert split.train.now < split.cutoff
    few = sample[sample["user_id"].isin(sample["user_id"].unique()[:40])]
    for ratings in (few, sample.drop(columns="timestamp")):
        split = calibration_split(Events.of(ratings))
        assert (list(split.protocols), split.cutoff) == (["last-out"], None)
        assert len(split.train) == len(ratings) - 2 * ratings["user_id"].nunique()


def test_users_are_drawn_at_random_and_always_the_same(sample):
    rows, sequences = np.arange(5000), Events.of(sample).sequences
    assert draw(rows[:9], 9).tolist() == rows[:9].tolist()
    drawn, users = draw(rows, 2000), draw_users(sequences, 6000)
    assert drawn.tolist() == np.unique(draw(rows, 2000)).tolist()
    assert (len(drawn), drawn[-1] > 4900) == (2000, True)
    assert users.tolist() == np.unique(draw_users(sequences, 6000)).tolist()
    assert 5500 < sequences.lengths[users].sum() <= 6000
    assert len(draw_users(sequences, 1)) == 1  # at least one, however many events they have


def test_new_users_are_asked_for_the_same_after_more_and_more_items():
    rows = [
        # user 1 was here before, user 2 has nothing left to be asked for.
        (1, 10, 5, 10), *((1, item, 5, 100 + item) for item in (11, 12, 13, 14)),
        *((2, item, 5, 100 + item) for item in (11, 12, 13)), (2, 11, 5, 190),
        # user 3 comes back to an item, and is asked for one twice.
        *((3, item, 5, 200 + place) for place, item in enumerate([20, 10, 20, 30, 10, 40, 30])),
    ]  # fmt: skip
    found = new_user_cases(events_of(rows), 100, (1, 2, 3))
    for n, cases in found.items():
        assert as_dict(cases) == {3: ([20, 10, 20][:n], [20, 10, 20], [30, 40])}
        assert cases.staleness.tolist() == [0]
    # Items are counted if liked and excluded if watched.
    items = [(10, 1), (20, 4), (30, 1), (40, 5), (50, 1), (60, 4), (70, 1)]
    rows = [(1, 10, 5, 1), *((2, item, stars, 100 + item) for item, stars in items)]
    # What is disliked after the second liked item is already part of the rest, and no target.
    found = new_user_cases(events_of(rows), 50, (1, 2), min_rating=4)
    for n, cases in found.items():
        assert as_dict(cases) == {2: ([20, 40][:n], [10, 20, 30, 40], [60])}
