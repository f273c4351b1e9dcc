"""Splits hide the future, and say who is asked for what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.sequences import sort_events
from recsys.data.splits import (
    Cases,
    calibration_split,
    curve_cases,
    last_out,
    liked,
    split_by_time,
    time_cases,
)
from recsys.errors import DataError


def frame(rows):
    made = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    made["timestamp"] = pd.to_datetime(made["timestamp"], unit="s", utc=True).dt.as_unit("s")
    return made


def seconds(moment: int) -> pd.Timestamp:
    return pd.Timestamp(moment, unit="s", tz="UTC")


def as_dict(cases: Cases) -> dict:
    """Lay cases out as user -> (history, watched, targets), in item ids."""

    def items(sequences, row):
        return sequences.item_ids[sequences.items_of(row)].tolist()

    return {
        user_id: (
            items(cases.histories, row),
            items(cases.watched, row),
            sorted(items(cases.targets, row)),  # a set
        )
        for row, user_id in enumerate(cases.targets.user_ids.tolist())
    }


# user 1: known, one new and one re-watched item later; user 2: known, nothing later;
# user 3: brand new with three events; user 4: brand new with one event; cutoff at 100.
RATINGS = frame(
    [
        (1, 10, 5, 10), (1, 20, 1, 20), (1, 10, 5, 110), (1, 30, 4, 120),
        (2, 10, 3, 30),
        (3, 20, 5, 100), (3, 40, 2, 130), (3, 10, 5, 140),
        (4, 20, 5, 150),
    ]
)  # fmt: skip


def test_warm_asks_known_users_for_items_new_to_them():
    assert as_dict(time_cases(RATINGS, seconds(100))["warm"]) == {1: ([10, 20], [10, 20], [30])}


def test_fold_in_knows_the_earlier_half_of_the_later_events_rounded_up():
    assert as_dict(time_cases(RATINGS, seconds(100))["fold-in"]) == {
        # 2 later events: the first (a re-watch) joins the history, the second is asked for.
        1: ([10, 20, 10], [10, 20, 10], [30]),
        # 3 later events: ceil(3 / 2) = 2 are known. User 4 has one event only and is left out.
        3: ([20, 40], [20, 40], [10]),
    }


def test_fold_in_drops_users_whose_rest_is_in_the_history():
    ratings = frame([(1, 10, 5, 100), (1, 10, 5, 110), (2, 10, 5, 10)])
    assert as_dict(time_cases(ratings, seconds(100))["fold-in"]) == {}


def test_a_target_that_comes_twice_is_asked_for_once():
    ratings = frame([(1, 10, 5, 10), (1, 20, 5, 100), (1, 20, 5, 110)])
    assert as_dict(time_cases(ratings, seconds(100))["warm"]) == {1: ([10], [10], [20])}


def test_min_rating_bounds_history_and_targets_but_not_what_is_watched():
    cases = time_cases(RATINGS, seconds(100), min_rating=4)
    assert as_dict(cases["warm"]) == {1: ([10], [10, 20], [30])}
    assert as_dict(cases["fold-in"]) == {
        1: ([10, 10], [10, 20, 10], [30]),
        3: ([20], [20, 40], [10]),
    }


def test_min_rating_leaves_out_warm_users_without_a_liked_history():
    ratings = frame([(1, 10, 1, 10), (1, 20, 5, 100), (2, 10, 5, 10), (2, 20, 5, 100)])
    assert list(as_dict(time_cases(ratings, seconds(100), min_rating=4)["warm"])) == [2]


def test_last_out_asks_for_the_last_event_and_trains_without_the_last_two():
    ratings = frame([(1, 10, 5, 1), (1, 20, 5, 2), (1, 30, 5, 3), (2, 10, 5, 1), (2, 20, 5, 2)])
    train, cases = last_out(ratings)
    assert train[["user_id", "item_id"]].to_numpy().tolist() == [[1, 10]]
    assert as_dict(cases) == {1: ([10, 20], [10, 20], [30]), 2: ([10], [10], [20])}


def test_last_out_keeps_a_repeated_last_item_as_a_sure_miss():
    _, cases = last_out(frame([(1, 10, 5, 1), (1, 20, 5, 2), (1, 10, 5, 3)]))
    assert as_dict(cases) == {1: ([10, 20], [10, 20], [10])}


def test_last_out_with_min_rating_looks_at_liked_events():
    rows = [(1, 10, 5, 1), (1, 20, 5, 2), (1, 30, 1, 3), (1, 40, 5, 4), (1, 50, 1, 5)]
    train, cases = last_out(frame(rows), min_rating=4)
    assert as_dict(cases) == {1: ([10, 20], [10, 20, 30], [40])}
    assert train["item_id"].tolist() == [10]


def test_last_out_takes_the_row_order_where_there_are_no_times():
    ratings = pd.DataFrame({"user_id": list("aabab"), "item_id": [3, 1, 7, 2, 8]})
    train, cases = last_out(ratings)
    assert as_dict(cases) == {"a": ([3, 1], [3, 1], [2]), "b": ([7], [7], [8])}
    assert train["item_id"].tolist() == [3]


def test_last_out_of_users_with_two_events_has_nothing_to_train_on():
    with pytest.raises(DataError, match="none of 1 users has three events"):
        last_out(frame([(1, 10, 5, 1), (1, 20, 5, 2)]))


def test_a_split_by_time_without_times_names_last_out():
    with pytest.raises(DataError, match="--split last-out"):
        split_by_time(RATINGS.drop(columns="timestamp"))


def test_a_single_second_cannot_be_split():
    with pytest.raises(DataError, match="too little data"):
        split_by_time(RATINGS.assign(timestamp=seconds(5)))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_the_fraction_must_leave_both_parts(fraction):
    with pytest.raises(ValueError, match="validation_fraction"):
        split_by_time(RATINGS, validation_fraction=fraction)


def test_min_rating_without_ratings_or_above_all_of_them_is_an_error():
    with pytest.raises(DataError, match="needs a rating column"):
        liked(RATINGS.drop(columns="rating"), 4)
    with pytest.raises(DataError, match="0 of 9 ratings are left after min_rating=6"):
        liked(RATINGS, 6)


events = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(1, 5), st.integers(1, 30)),
    min_size=2, max_size=60,
)  # fmt: skip


@given(events, st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_training_lies_before_the_cutoff_and_validation_from_it_on(rows, fraction):
    ratings = frame(rows)
    cutoff = np.quantile([row[3] for row in rows], 1 - fraction, method="lower")
    if (ratings["timestamp"] >= seconds(int(cutoff))).all():
        return
    split = split_by_time(ratings, validation_fraction=fraction)
    assert split.cutoff == seconds(int(cutoff))
    assert split.train["timestamp"].max() < split.cutoff <= split.validation["timestamp"].min()
    assert len(split.train) + len(split.validation) == len(ratings)


@given(events, st.sampled_from([None, 3]))
def test_cases_agree_with_a_plain_reading_of_their_definition(rows, min_rating):
    ratings = frame([*rows, (9, 9, 5, 31)])  # at least one that reaches min_rating
    cutoff = seconds(int(np.median([row[3] for row in rows])))
    ordered = sort_events(ratings)
    bar = min_rating or 0
    warm, fold_in = {}, {}
    for user, mine in ordered.groupby("user_id"):
        late = (mine["timestamp"] >= cutoff).tolist()
        seen = list(zip(mine["item_id"], mine["rating"] >= bar, strict=True))
        early = [pair for pair, is_late in zip(seen, late, strict=True) if not is_late]
        later = [pair for pair, is_late in zip(seen, late, strict=True) if is_late]
        half = (len(later) + 1) // 2
        for cases, known, asked in (
            (warm, early, later),
            (fold_in, early + later[:half], later[half:]),
        ):
            watched = [item for item, _ in known]
            targets = sorted({item for item, good in asked if good and item not in watched})
            history = [item for item, good in known if good]
            enough = history if cases is warm else len(later) >= 2
            if targets and enough:
                cases[user] = (history, watched, targets)
    found = time_cases(ratings, cutoff, min_rating=min_rating)
    assert as_dict(found["warm"]) == warm
    assert as_dict(found["fold-in"]) == fold_in


def test_real_ratings_have_the_known_numbers_of_users(ml_100k):
    cases = time_cases(ml_100k, split_by_time(ml_100k).cutoff)
    assert {name: len(found) for name, found in cases.items()} == {"warm": 109, "fold-in": 291}
    assert len(last_out(ml_100k)[1]) == 943


def test_staleness_is_the_days_from_the_last_event_of_the_history_to_the_end_of_training():
    day = 86_400
    days = [(1, 1, 5, 0), (1, 2, 1, 2), (2, 3, 5, 5), (1, 4, 5, 10), (1, 5, 5, 11), (2, 6, 5, 12),
            (2, 7, 5, 13)]  # fmt: skip
    ratings = frame([(user, item, rating, d * day) for user, item, rating, d in days])
    cutoff = seconds(10 * day)
    cases = time_cases(ratings, cutoff)
    assert cases["warm"].staleness.tolist() == [3, 0]
    assert cases["fold-in"].staleness.tolist() == [0, 0]
    assert cases["warm"].take_users(np.array([1])).staleness.tolist() == [0]
    assert time_cases(ratings, cutoff, min_rating=3)["warm"].staleness.tolist() == [5, 0]


def test_calibration_takes_both_protocols_where_each_has_enough_users(sample):
    train, cases, cutoff = calibration_split(sample)
    assert list(cases) == ["warm", "fold-in"]
    assert train["timestamp"].max() < cutoff
    few = sample[sample["user_id"].isin(sample["user_id"].unique()[:40])]
    for ratings in (few, sample.drop(columns="timestamp")):
        train, cases, cutoff = calibration_split(ratings)
        assert (list(cases), cutoff) == (["last-out"], None)
        assert len(train) == len(ratings) - 2 * ratings["user_id"].nunique()


def test_the_curve_asks_new_users_for_the_same_after_more_and_more_items():
    ratings = frame(
        [
            # user 1 was here before, user 2 has nothing left to be asked for.
            (1, 10, 5, 10), *((1, item, 5, 100 + item) for item in (11, 12, 13, 14)),
            *((2, item, 5, 100 + item) for item in (11, 12, 13)), (2, 11, 5, 190),
            # user 3 comes back to an item, and is asked for one twice.
            *((3, item, 5, 200 + place) for place, item in enumerate([20, 10, 20, 30, 10, 40, 30])),
        ]
    )  # fmt: skip
    curve = curve_cases(ratings, seconds(100), sizes=(1, 2, 3))
    assert {n: as_dict(cases) for n, cases in curve.items()} == {
        1: {3: ([20], [20, 10, 20], [30, 40])},
        2: {3: ([20, 10], [20, 10, 20], [30, 40])},
        3: {3: ([20, 10, 20], [20, 10, 20], [30, 40])},
    }
    assert curve[1].staleness.tolist() == [0]


def test_the_curve_counts_liked_items_and_never_ranks_what_was_watched_among_them():
    ratings = frame(
        [(1, 10, 5, 1), *((2, item, stars, 100 + item) for item, stars in
         [(10, 1), (20, 4), (30, 1), (40, 5), (50, 1), (60, 4), (70, 1)])]
    )  # fmt: skip
    curve = curve_cases(ratings, seconds(50), min_rating=4, sizes=(1, 2))
    # What is disliked after the second liked item is already part of the rest, and no target.
    assert {n: as_dict(cases) for n, cases in curve.items()} == {
        1: {2: ([20], [10, 20, 30, 40], [60])},
        2: {2: ([20, 40], [10, 20, 30, 40], [60])},
    }


def test_the_curve_on_real_ratings_has_the_known_number_of_users(ml_100k):
    cutoff = split_by_time(ml_100k).cutoff
    curve = curve_cases(ml_100k, cutoff)
    late = ml_100k["timestamp"] >= cutoff
    new = ml_100k[late & ~ml_100k["user_id"].isin(ml_100k.loc[~late, "user_id"])]
    events = new.groupby("user_id").size()
    for n, cases in curve.items():
        assert cases.targets.user_ids.tolist() == events.index[events > 20].tolist()
        assert set(cases.histories.lengths) == {n}
        assert (cases.targets.lengths + 20 == events[events > 20].to_numpy()).all()
