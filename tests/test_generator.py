"""The generated ratings have the patterns of MovieLens that tests and benchmarks rely on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from recsys import split_by_time
from recsys.data.datasets import sample_folder
from recsys.data.frames.ratings import check_ratings
from tests.benchmarks.generator import SAMPLE_RATINGS, SAMPLE_SEED, generate, write


@pytest.fixture(scope="module")
def larger():
    return generate(200_000, seed=SAMPLE_SEED)


def test_columns_types_and_values_are_those_of_the_package(larger):
    ratings, items = larger
    assert (len(ratings), ratings["user_id"].nunique(), len(items)) == (200_000, 1625, 2628)
    assert_frame_equal(check_ratings(ratings), ratings)
    assert items.columns.to_list() == ["item_id", "title", "genres", "year"]
    assert all(type(genres) is tuple and len(genres) in (1, 2) for genres in items["genres"])
    assert set(ratings["rating"]) == {step / 2 for step in range(1, 11)}
    assert ratings["timestamp"].between("2015-03-01", "2016-01-01").all()
    assert items["title"].is_unique
    year = ratings["item_id"].map(items.set_index("item_id")["year"])
    assert (ratings["timestamp"].dt.year >= year).all()  # nothing is rated before its release
    # Rows come by user and item, with ids that say nothing about time.
    assert_frame_equal(ratings, ratings.sort_values(["user_id", "item_id"], ignore_index=True))
    first = ratings.groupby("user_id")["timestamp"].min().astype("int64")
    for ids, meaning in [(first.index, first), (items["item_id"], items["year"])]:
        assert 1.5 < ids.max() / len(ids) < 2.5
        assert abs(np.corrcoef(ids, meaning)[0, 1]) < 0.08


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 3))
@settings(max_examples=60)
def test_any_size_up_to_half_of_all_pairs_is_met(n_users, n_items, fill, seed):
    n_ratings = n_users + int(fill * n_users * ((n_items + 1) // 2 - 1))
    ratings, items = generate(n_ratings, n_users=n_users, n_items=n_items, seed=seed)
    assert (len(ratings), ratings["user_id"].nunique(), len(items)) == (n_ratings, n_users, n_items)
    assert items["item_id"].is_unique
    assert not ratings.duplicated(["user_id", "item_id"]).any()

    with pytest.raises(ValueError, match='"n_ratings" is 26, but 5 users and 10 items'):
        generate(26, n_users=5, n_items=10)


def test_users_come_in_sittings_and_a_cut_by_time_leaves_warm_new_and_recent_favourites(sample):
    assert 0.7 < sample.duplicated(["user_id", "timestamp"], keep=False).mean() < 0.85
    times = sample.groupby("user_id")["timestamp"]
    span = times.max() - times.min()
    assert (span < pd.Timedelta("1h")).mean() > 0.5
    assert 0.25 < (span > pd.Timedelta("30D")).mean() < 0.45
    split = split_by_time(sample)
    past, future = split.train, split.validation
    warm = set(past["user_id"]) & set(future["user_id"])
    assert len(warm) >= 100
    assert len(set(future["user_id"]) - warm) >= 50
    assert 0.01 < (~future["item_id"].isin(past["item_id"])).mean() < 0.2
    counts = future["item_id"].value_counts()
    recent = past[past["timestamp"] >= split.cutoff - pd.Timedelta("30D")]
    tops = [part["item_id"].value_counts().index[:50] for part in (past, recent)]
    assert counts.reindex(tops[1]).sum() > 1.1 * counts.reindex(tops[0]).sum()


def test_users_keep_to_the_genres_of_their_taste(sample, sample_items):
    main = sample_items["genres"].str[0].set_axis(sample_items["item_id"])
    by_time = sample.assign(genre=sample["item_id"].map(main))
    by_time = by_time.sort_values(["user_id", "timestamp"], kind="stable")
    users = by_time.groupby("user_id")
    early = users.cumcount() < users["item_id"].transform("size") / 2
    favourite = by_time[early].groupby("user_id")["genre"].agg(lambda genres: genres.mode()[0])
    held = (by_time["genre"] == by_time["user_id"].map(favourite))[~early].mean()
    assert held > favourite.map(by_time["genre"].value_counts(normalize=True)).mean() + 0.1


def test_items_of_one_series_are_watched_together_and_in_order(larger):
    ratings, items = larger
    title = ratings["item_id"].map(items.set_index("item_id")["title"]).str.rsplit(" ", n=1)
    ratings = ratings.assign(series=title.str[0], part=title.str[1].astype("int64"))
    ratings = ratings.sort_values(["user_id", "timestamp"], kind="stable", ignore_index=True)
    after = ratings.shift(-1)
    # Ties have no order.
    steps = (after["user_id"] == ratings["user_id"]) & (after["timestamp"] > ratings["timestamp"])
    together = steps & (after["series"] == ratings["series"])
    by_chance = (ratings["series"].value_counts(normalize=True) ** 2).sum()
    assert together.sum() / steps.sum() > 10 * by_chance
    ahead = (after["part"] - ratings["part"])[together]
    assert (ahead == 1).mean() > 2 * (ahead == -1).mean()


def test_the_committed_sample_is_what_the_module_writes(tmp_path):
    """Byte for byte; so the same seed gives the same frames too."""
    write(tmp_path, *generate(SAMPLE_RATINGS, seed=SAMPLE_SEED), seed=SAMPLE_SEED)
    for name in ("ratings.csv", "movies.csv", "README.txt"):
        assert (tmp_path / name).read_bytes() == (sample_folder() / name).read_bytes()
    assert "SYNTHETIC" in (tmp_path / name).read_text()
