"""Items that nobody has watched get vectors from their metadata; items come and go."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from recsys import ColdUserError, DataError, Recommender, UnknownItemError
from recsys.data.events import Events
from recsys.data.frames.items import check_items
from recsys.data.frames.ratings import check_ratings
from recsys.model.cold import (
    PENALTY,
    early_popularity,
    feature_matrices,
    item_features,
    regress,
)
from recsys.recommender import fitted
from tests.conftest import BRIEF
from tests.test_changes import copy_of
from tests.test_storage import snapshot

TINY = {"vector_size": 8, "epochs": 5, "calibrate": False}
NEW = [8, 16, 20]  # items of the sample that the model of `without` has never seen
ONE_OF_EACH = pd.DataFrame(
    {"item_id": [1000, 7000], "title": ["Red film", "Blue film"], "genres": [("Red",), ("Blue",)],
     "year": [1975, 1995]}
)  # fmt: skip


def grid(n_items=60, n_users=200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two groups of users, each with its own films, which differ in genre, decade and title."""
    rng, half = np.random.default_rng(0), n_items // 2
    views = [(u, half * (u % 2) + i) for u in range(n_users) for i in rng.permutation(half)[:12]]
    colours = np.repeat(["Red", "Blue"], half)
    items = pd.DataFrame(
        {"item_id": range(n_items), "year": np.where(colours == "Red", 1975, 1995)}
    )
    items["title"] = [f"{colour} film {i}" for i, colour in enumerate(colours)]
    items["genres"] = [(colour,) for colour in colours]
    return pd.DataFrame(views, columns=["user_id", "item_id"]), items


@pytest.fixture(scope="module")
def without(sample, sample_items):
    """A model of the sample without the ratings of some items, whose metadata are known."""
    return Recommender(**BRIEF).fit(sample[~sample["item_id"].isin(NEW)], sample_items)


@pytest.fixture
def fresh(without):
    return copy_of(without)


@pytest.fixture(scope="module")
def newcomers(sample_items):
    return sample_items[sample_items["item_id"].isin(NEW)]


def cold_items(model):
    return model.about["cold_items"].tolist()


# ---- features and regression


def test_features_are_genres_words_further_texts_and_lists_and_a_year_between_decades():
    items = check_items(pd.DataFrame(
        {"item_id": [1, 2], "title": ["Star Wars: Star", None], "genres": ["War|Space", ""],
         "year": [1977, None], "tags": [["droids", "far away"], []], "director": ["Lucas", ""],
         "minutes": [121, 90]}
    ))  # fmt: skip
    full, empty = item_features(items)
    assert empty == {}
    assert full == {
        "title=star": 1, "title=wars": 1, "genres=War": 1, "genres=Space": 1,
        "year=1970": pytest.approx(0.3), "year=1980": 0.7, "tags=droids": 1, "tags=far away": 1,
        "director=lucas": 1,
    }  # fmt: skip


def test_a_feature_counts_only_where_two_watched_items_have_it():
    items = check_items(pd.DataFrame({"item_id": range(4), "title": ["a b", "a c", "a d", "c e"]}))
    watched, new = feature_matrices(items.iloc[:3], items.iloc[3:])
    assert watched.toarray().tolist() == [[1], [1], [1]]
    assert new.getnnz() == 0


def test_the_regression_is_scikit_learns_weighted_one_but_for_a_hardly_penalised_intercept():
    rng, items = np.random.default_rng(0), grid(2000)[1]
    features, _ = feature_matrices(items, items)
    counts, targets = rng.integers(1, 50, len(items)), rng.normal(3, 1, (len(items), 2))
    targets[:, 0] += items["year"] / 10
    oracle = Ridge(alpha=PENALTY).fit(
        features.toarray(), targets, sample_weight=np.sqrt(counts) / np.sqrt(counts).mean()
    )
    found = regress(features, counts, targets, features[[0, 1999]])
    assert_allclose(found, oracle.predict(features.toarray()[[0, 1999]]), rtol=1e-3)
    assert found[1, 0] - found[0, 0] == pytest.approx(2, abs=0.3)


# ---- added items


def test_the_popularity_of_an_item_that_was_new_is_its_share_of_its_first_days():
    rows = [("a", 1, 0), ("b", 1, 1), ("a", 2, 20), ("b", 2, 21), ("c", 2, 40), ("c", 1, 22)]
    views = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    views["timestamp"] = pd.to_datetime(views["timestamp"] + 1, unit="D", utc=True)
    events, ids = Events.of(check_ratings(views)), np.array([1, 2, 3])
    found = early_popularity(events, ids, None)
    # In the week from day 20 on, 2 of 3 events were of item 2; item 1 was there from the start.
    assert found[1] == pytest.approx(np.log(2 / 3) - np.log(1 / 2))
    assert np.isnan(found[[0, 2]]).all()
    recent = np.log([0.01 + 0, 1 + 0.01])  # on the last 5 days there was only item 2
    assert early_popularity(events, ids, 5)[1] == pytest.approx(np.log(2 / 3) - recent.mean())
    untimed = Events.of(check_ratings(views.drop(columns="timestamp")))
    assert np.isnan(early_popularity(untimed, ids, 5)).all()


@pytest.mark.parametrize("scoring", ["input-output", "cosine"])
def test_an_item_lands_in_the_cluster_that_its_metadata_are_of(scoring):
    model = Recommender(**TINY, scoring=scoring).fit(*grid(240, 400)).add_items(ONE_OF_EACH)
    assert cold_items(model) == [1000, 7000]
    for item, first in ((1000, 0), (7000, 120)):
        near = model.similar_items(item, k=20).item_ids
        assert np.isin(near, range(first, first + 120)).mean() >= 0.9
    for user in range(10):
        ranked = model.recommend(user, allow=cold_items(model))
        assert ranked.item_ids.tolist() == ([7000, 1000] if user % 2 else [1000, 7000])
        assert ranked.cold.all()


def test_what_was_there_stays_as_it_was(without, fresh, newcomers):
    fresh.add_items(newcomers)
    assert fresh.items.tolist() == sorted([*without.items.tolist(), *NEW])
    for item in without.items[::50]:
        for space in ("input", "output"):
            assert np.array_equal(fresh.item_vector(item, space), without.item_vector(item, space))
    for user in without.users[::25]:
        assert list(fresh.recommend(user, k=30, block=NEW)) == list(without.recommend(user, k=30))


def test_a_cold_item_is_served_explained_marked_and_part_of_a_history(fresh, newcomers):
    user = fresh.users[3]
    assert "cold" not in fresh.recommend(user).to_frame()
    fresh.add_items(newcomers)
    everything = fresh.recommend(user, k=len(fresh.items))
    assert set(everything.item_ids[everything.cold]) == set(NEW)
    assert fresh.popular(len(fresh.items))[-1].score == 0
    (score,) = everything.scores[everything.item_ids == NEW[0]]
    assert fresh.explain(user, NEW[0])["contribution"].sum() == pytest.approx(score, abs=1e-4)
    by_history = fresh.recommend_for(NEW, k=5)
    assert not by_history.cold.any()
    mixed = fresh.recommend(user, allow=[NEW[0], *by_history.item_ids.tolist()], watched=True)
    assert mixed.to_frame()["cold"].tolist() == [r.item_id == NEW[0] for r in mixed]
    (marked,) = [line for line in repr(mixed).splitlines() if line.endswith("  cold")]
    assert f" {NEW[0]} " in marked
    assert mixed._repr_html_().count("<td>cold</td>") == 1


def test_any_order_gives_the_same_bytes(without, fresh, newcomers, tmp_path):
    turns = copy_of(without)
    fresh.add_items(newcomers).save(tmp_path / "one")
    loaded = Recommender.load(tmp_path / "one")
    assert cold_items(loaded) == NEW
    assert list(loaded.recommend(loaded.users[0])) == list(fresh.recommend(loaded.users[0]))
    loaded.remove_items(NEW).add_items(newcomers[::-1]).save(tmp_path / "two")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    for row in range(3):  # cold items are not learned from
        turns.add_items(newcomers.iloc[[row]])
    for item in NEW:
        assert_allclose(fresh.item_vector(item), turns.item_vector(item), rtol=1e-5)


def test_text_ids_and_further_columns_of_either_frame_are_taken():
    views, items = grid()
    views, items = views.astype("str"), items.astype({"item_id": "str"}).assign(studio=3.5)
    more = ONE_OF_EACH.assign(item_id=["x", "1b"], tags=[("warm",), ()], studio="Ealing")
    model = Recommender(**TINY, index="exact").fit(views, items).add_items(more)
    assert cold_items(model) == ["1b", "x"]
    assert model.recommend("0", allow=["x", "1b"]).item_ids.tolist() == ["x", "1b"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"title": ["A"]}), "item_id"),
        (ONE_OF_EACH.assign(item_id=5), "item '5'"),
        (ONE_OF_EACH.assign(item_id=["a", "b"]), "item ids are numbers, those of the new items te"),
        (ONE_OF_EACH.assign(item_id=[100, 2**63]), "9223372036854775808 does not fit the model's"),
        (ONE_OF_EACH.assign(item_id=[3, 4]), "items 3, 4 are already in the model"),
        (pd.DataFrame({"item_id": [100, 101], "title": ["Red", "?"]}), "item 101 cannot be added"),
        (pd.DataFrame({"item_id": [100], "colour": ["Red"]}), "item 100 cannot be added"),
    ],
)
def test_bad_items_are_an_error_of_one_line_and_change_nothing(frame, message):
    model = Recommender(**TINY, index="exact").fit(*grid(20, 20))
    before = fitted(model)
    with pytest.raises(DataError, match=message) as error:
        model.add_items(frame)
    assert "\n" not in str(error.value)
    assert fitted(model) is before


# ---- removed items


def test_removed_items_never_come_back_and_speak_for_nothing(fresh, sample, tmp_path):
    user = fresh.users[3]
    gone = [*fresh.recommend(user, k=3).item_ids, *sample.loc[sample["user_id"] == user, "item_id"]]
    gone = [item for item in gone[:8] if item in fresh.items]
    n_items, history = len(fresh.items), fresh.explain(user, fresh.items[-1])["item_id"]
    fresh.remove_items(gone).save(tmp_path / "left")
    assert len(fresh.items) == n_items - len(set(gone))
    for model in (fresh, Recommender.load(tmp_path / "left")):
        for someone in model.users[:20]:
            everything = model.recommend(someone, k=n_items, watched=True)
            assert sorted(everything.item_ids) == fresh.items.tolist()
        assert not np.isin(model.popular(n_items).item_ids, gone).any()
        left = model.explain(user, model.items[-1])["item_id"].tolist()
        assert set(left) == set(history) - set(gone)
        with pytest.raises(UnknownItemError):
            model.item_vector(gone[0])


def test_users_with_nothing_left_are_cold():
    views = pd.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [10, 20, 20, 30, 30]})
    model = Recommender(**TINY, index="exact").fit(views).remove_items([30])
    assert_allclose(model.user_vector(2), model.item_vector(20), rtol=1e-6)
    with pytest.raises(ColdUserError):
        model.recommend(3)
    assert model.recommend(3, fallback="popularity").item_ids.tolist() == [20, 10]


def test_an_unknown_item_or_the_last_one_cannot_be_removed_and_none_need_be(fresh, sample):
    before = fitted(fresh)
    with pytest.raises(UnknownItemError, match="unknown item 10000000"):
        fresh.remove_items([50, 10_000_000])
    with pytest.raises(ValueError, match="at least one item"):
        fresh.remove_items(fresh.items)
    assert fitted(fresh.remove_items([])) is before
    views, items = grid(20, 20)
    model = Recommender(**TINY).fit(views, items).add_items(ONE_OF_EACH).remove_items(range(20))
    assert model.recommend_for([1000]).item_ids.tolist() == [7000]
    with pytest.raises(DataError, match="no trained item is left to continue from"):
        model.update(views)
    model = Recommender(**TINY, index="exact").fit(sample)
    with pytest.raises(DataError, match=r"fit\(ratings, items\)"):
        model.add_items(ONE_OF_EACH)
    assert cold_items(model) == []


def test_cold_and_removed_items_stay_so_until_somebody_watches_them(sample, sample_items, tmp_path):
    first, second, gone = sample_items["item_id"].iloc[[3, 40, 70]].tolist()
    late = sample["timestamp"].max() + pd.Timedelta(days=1)
    known = sample.drop(columns="rating")[~sample["item_id"].isin([first, second])]
    model = Recommender(**TINY, index="exact").fit(known, sample_items)
    model.add_items(sample_items[sample_items["item_id"].isin([first, second])])
    model.remove_items([gone, first]).add_items(sample_items[sample_items["item_id"] == first])
    model.save(tmp_path / "model")
    model = Recommender.load(tmp_path / "model")
    assert cold_items(model) == [first, second]
    user = model.users[0]
    news = pd.DataFrame({"user_id": [user, -5], "item_id": [first, first], "timestamp": late})
    model.update(news)
    assert cold_items(model) == [second]
    assert gone not in model.items
    assert model.recommend(user, 10, allow=[second]).item_ids.tolist() == [second]
    model.update(news.assign(item_id=gone))
    again = Recommender(**model.params).fit(
        pd.concat([known[known["item_id"] != gone], news, news.assign(item_id=gone)]), sample_items
    )
    ours = [(row.item_id, row.score) for row in model.popular(10**6) if row.item_id != second]
    assert ours == [(row.item_id, row.score) for row in again.popular(10**6)]
