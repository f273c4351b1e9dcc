import numpy as np
import pandas as pd
import pytest

from recsys import split_by_time
from recsys.evaluation import run as trial


def items_of(sequences):
    """User id -> ids of a user's items, oldest first."""
    return {
        int(user): sequences.item_ids[sequences.items_of(row)].tolist()
        for row, user in enumerate(sequences.user_ids)
    }


@pytest.mark.parametrize("share", [0.7, 0.8, 0.9])
def test_a_share_to_train_on_is_the_counterpart_of_a_validation_fraction(sample, share):
    split = trial.by_time(sample, share, None)
    expected = split_by_time(sample, validation_fraction=round(1 - share, 1))
    assert split.cutoff == expected.cutoff
    pd.testing.assert_frame_equal(split.train, expected.train)


def test_a_random_split_asks_for_what_it_holds_out(sample):
    split = trial.at_random(sample, 4_000, None)
    held = sample.merge(split.train, how="left", indicator=True)
    held = held[held["_merge"] == "left_only"]
    assert (len(split.train), len(held)) == (16_000, 4_000)
    assert split.cutoff is None
    # all times are held out alike, and not the latest
    assert held["timestamp"].median() < sample["timestamp"].quantile(0.6)
    warm = split.protocols["warm"]
    watched, later = (frame.groupby("user_id")["item_id"].agg(set) for frame in (split.train, held))
    targets = {user: later[user] - watched[user] for user in later.index if user in watched.index}
    assert {user: set(items) for user, items in items_of(warm.targets).items()} == {
        user: items for user, items in targets.items() if items
    }
    by_time = split.train.sort_values("timestamp", kind="stable")
    for user, items in list(items_of(warm.histories).items())[:20]:
        assert sorted(items) == sorted(by_time.loc[by_time["user_id"] == user, "item_id"])
        times = by_time[by_time["user_id"] == user].groupby("item_id")["timestamp"].max()
        assert times[items].is_monotonic_increasing
    assert not warm.staleness.any()


def test_a_random_split_is_seeded_and_does_not_depend_on_the_order_of_rows(sample):
    split = trial.at_random(sample, 4_000, None, seed=1)
    shuffled = sample.sample(frac=1, random_state=0)
    before = shuffled.copy()
    again = trial.at_random(shuffled, 4_000, None, seed=1)
    other = trial.at_random(sample, 4_000, None, seed=2)
    pd.testing.assert_frame_equal(split.train, again.train)
    pd.testing.assert_frame_equal(shuffled, before)
    assert items_of(split.protocols["warm"].targets) != items_of(other.protocols["warm"].targets)


def test_a_random_split_asks_for_liked_ratings_only(sample):
    warm = trial.at_random(sample, 4_000, 4.0).protocols["warm"]
    liked = sample[sample["rating"] >= 4].groupby("user_id")["item_id"].agg(set)
    for user, items in items_of(warm.targets).items():
        assert set(items) <= liked[user]
    assert len(warm.watched.codes) > len(warm.histories.codes)
    assert np.isin(warm.histories.codes, warm.watched.codes).all()
