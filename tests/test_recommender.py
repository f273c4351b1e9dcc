"""The recommender answers in full, exactly, and the same after saving and loading."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import (
    ColdUserError,
    DataError,
    ModelError,
    NotFittedError,
    Recommender,
    UnknownItemError,
    UnknownUserError,
    recommend,
)
from recsys.settings import TEXTBOOK
from recsys.vectors.calibrate import DEFAULTS
from tests.conftest import BRIEF

QUICK = {"vector_size": 8, "epochs": 2, "calibrate": False}


def watched_by(ratings, user_id):
    return set(ratings.loc[ratings["user_id"] == user_id, "item_id"])


@pytest.fixture(scope="module")
def exact(sample, sample_items):
    return Recommender(**BRIEF, index="exact").fit(sample, sample_items)


@pytest.fixture(scope="module")
def cosine(sample):
    return Recommender(scoring="cosine", **QUICK).fit(sample)


# ---- the checkerboard: two groups of users, each with its own films


def checkerboard() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    views = [
        (f"user {u}", f"film {10 * (u % 2) + i}")
        for u in range(120)
        for i in rng.permutation(10)[:6]
    ]
    return pd.DataFrame(views, columns=["user_id", "item_id"])


@pytest.mark.parametrize(
    "params",
    [{}, {"scoring": "cosine"}, {"sg": 1}, {"ridge": 0, "discount": 0}, {"calibrate": True},
     {"hs": 1, "sg": 1, "scoring": "cosine"}, {"index": "exact"}],
)  # fmt: skip
def test_on_a_checkerboard_everybody_gets_the_rest_of_his_own_colour(params):
    views = checkerboard()
    model = Recommender(**{"vector_size": 16, "sample": 0, "calibrate": False, **params}).fit(views)
    right = 0
    for u in range(120):
        own = {f"film {10 * (u % 2) + i}" for i in range(10)}
        found = set(model.recommend(f"user {u}", k=4).item_ids)
        right += found == own - watched_by(views, f"user {u}")
    assert right >= 115


# ---- lists


def test_a_list_is_the_brute_force_ranking_by_the_textbook_cosine(cosine, sample):
    targets = np.array([cosine.item_vector(i) for i in cosine.items])
    targets = targets / np.linalg.norm(targets, axis=1, keepdims=True)
    for user_id in cosine.users[:40]:
        query = cosine.user_vector(user_id)
        scores = pd.Series(targets @ query / np.linalg.norm(query), index=cosine.items)
        best = scores.drop(list(watched_by(sample, user_id))).nlargest(12)
        found = cosine.recommend(user_id, k=12)
        np.testing.assert_allclose(found.scores, best, rtol=1e-5, atol=1e-6)
        assert set(found.item_ids) == set(best.index)


def test_without_ridge_and_popularity_scores_are_input_output_products_up_to_scale(sample):
    model = Recommender(ridge=0, half_life=2.0, **QUICK).fit(sample)
    outputs = np.array([model.item_vector(i, "output") for i in model.items])
    for user_id in model.users[:20]:
        scores = pd.Series(outputs @ model.user_vector(user_id), index=model.items)
        found = model.recommend(user_id, k=12)
        best = scores.drop(list(watched_by(sample, user_id))).nlargest(12)
        assert set(found.item_ids) == set(best.index)
        scale = found.scores / scores[found.item_ids].to_numpy()
        np.testing.assert_allclose(scale, scale[0], rtol=1e-4)


@pytest.mark.parametrize("kind", ["model", "exact"])
def test_a_list_is_the_brute_force_ranking_of_what_was_not_watched(kind, request, sample):
    model = request.getfixturevalue(kind)
    now = sample["timestamp"].max()
    last = sample.groupby("user_id")["timestamp"].max()
    for user_id in model.users[:40]:
        days = (now - last[user_id]).total_seconds() / 86_400
        weight = 2.0 + (0.5 - 2.0) * 0.5**days
        query = np.append(model.user_vector(user_id).astype(float), [1, weight])
        scores = pd.Series(model._tables.readout.astype(float) @ query, index=model.items)
        best = scores.drop(list(watched_by(sample, user_id))).nlargest(12)
        found = model.recommend(user_id, k=12)
        np.testing.assert_allclose(found.scores, best, rtol=1e-5, atol=1e-5)
        assert set(found.item_ids) == set(best.index)


def test_who_was_away_for_long_gets_more_of_what_is_popular_now(exact):
    stale = int(np.argmax(exact._tables.staleness))
    user_id, history = exact.users[stale], exact._tables.histories.items_of(stale)
    popular = exact._tables.readout[:, -1]
    away = np.searchsorted(exact.items, exact.recommend(user_id, k=20).item_ids)
    here = np.searchsorted(exact.items, exact.recommend_for(exact.items[history], k=20).item_ids)
    assert popular[away].mean() > popular[here].mean() + 0.3


def test_annoy_and_exact_search_agree(model, exact):
    same = [
        np.isin(model.recommend(u, k=20).item_ids, exact.recommend(u, k=20).item_ids).mean()
        for u in model.users[:100]
    ]
    assert np.mean(same) > 0.98


def test_watched_items_come_only_when_asked_for(model, sample):
    user_id = model.users[0]
    seen = watched_by(sample, user_id)
    assert not seen & set(model.recommend(user_id, k=50).item_ids)
    assert seen & set(model.recommend(user_id, k=50, watched=True).item_ids)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_filters_leave_exactly_what_brute_force_leaves(data, model, exact):
    user_id = data.draw(st.sampled_from(model.users.tolist()))
    some_items = st.lists(st.sampled_from([*model.items.tolist(), -5, "no id"]), max_size=80)
    block = data.draw(some_items)
    allow = data.draw(st.none() | some_items)
    watched = data.draw(st.booleans())
    k = data.draw(st.sampled_from([1, 5, 40, 10_000]))
    everything = exact.recommend(user_id, k=len(exact.items), watched=watched).item_ids
    left = [i for i in everything if i not in block and (allow is None or i in allow)]
    for each in (model, exact):
        found = each.recommend(user_id, k, watched=watched, block=block, allow=allow)
        assert len(found) == len(set(found.item_ids.tolist())) == min(k, len(left))
    assert found.item_ids.tolist() == left[:k]


def test_watched_items_stay_out_even_if_allowed(model, sample):
    user_id = model.users[0]
    seen = sorted(watched_by(sample, user_id))
    assert len(model.recommend(user_id, allow=seen)) == 0
    assert len(model.recommend(user_id, k=3, allow=seen, watched=True)) == 3


def test_k_above_the_catalogue_gives_all_that_is_left_once(model, sample):
    user_id = model.users[0]
    found = model.recommend(user_id, k=10**6).item_ids.tolist()
    assert sorted([*found, *watched_by(sample, user_id)]) == model.items.tolist()


@pytest.mark.parametrize("k", [0, -1, 2.5, "10", None, float("nan")])
def test_k_that_is_no_whole_number_above_0_is_refused(k, model):
    for ask in (
        lambda: model.recommend(model.users[0], k),
        lambda: model.recommend_for([model.items[0]], k),
        lambda: model.recommend_many(k),
        lambda: model.similar_items(model.items[0], k),
        lambda: model.popular(k),
    ):
        with pytest.raises(ValueError, match="k must be a whole number above 0"):
            ask()


def test_a_history_at_hand_gets_what_the_same_user_gets_who_is_here_now(model):
    fresh = int(np.argmin(model._tables.staleness))  # the latest event of all is this user's
    assert model._tables.staleness[fresh] == 0
    history = model.items[model._tables.histories.items_of(fresh)].tolist()
    known, folded_in = model.recommend(model.users[fresh]), model.recommend_for(history)
    assert folded_in.item_ids.tolist() == known.item_ids.tolist()
    assert folded_in.scores.tolist() == known.scores.tolist()


def test_items_without_a_vector_are_skipped_in_a_history(model):
    some = model.items[:3].tolist()
    with_unknown = model.recommend_for([-1, *some, "nothing"])
    assert with_unknown.scores.tolist() == model.recommend_for(some).scores.tolist()
    with pytest.raises(ColdUserError, match="none of the items"):
        model.recommend_for([-1, "nothing"])
    with pytest.raises(ColdUserError):
        model.recommend_for([])


def test_recommend_many_is_recommend_for_everybody(exact):
    table = exact.recommend_many(k=7)
    assert list(table.columns) == ["user_id", "rank", "item_id", "score"]
    assert len(table) == 7 * len(exact.users)
    for user_id, rows in list(table.groupby("user_id"))[:30]:
        alone = exact.recommend(user_id, k=7)
        assert rows["item_id"].tolist() == alone.item_ids.tolist()
        assert rows["score"].tolist() == alone.scores.tolist()
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_threads_change_no_list(exact):
    one = exact.recommend_many(k=7)
    pd.testing.assert_frame_equal(exact.recommend_many(k=7, threads=3), one)
    with pytest.raises(ValueError, match="threads must be a whole number above 0, got 0"):
        exact.recommend_many(threads=0)


def test_with_another_weight_of_popularity_the_search_is_exact(model, exact):
    """The index is chosen for the weight that was learned."""
    for user_id in model.users[:20]:
        found, best = (m.recommend(user_id, popularity=0.3) for m in (model, exact))
        assert list(found) == list(best)


def test_recommend_many_answers_for_the_users_asked_for_in_their_order(model):
    users = model.users[[5, 2]].tolist()
    assert (
        model.recommend_many(k=2, users=users)["user_id"].tolist()
        == [users[0]] * 2 + [users[1]] * 2
    )
    with pytest.raises(UnknownUserError):
        model.recommend_many(users=[users[0], "nobody"])


def test_recommendations_carry_rank_title_and_score(model, sample_items):
    titles = dict(zip(sample_items["item_id"], sample_items["title"], strict=True))
    found = model.recommend(model.users[0], k=5)
    assert [row.rank for row in found] == [1, 2, 3, 4, 5]
    assert [row.title for row in found] == [titles[row.item_id] for row in found]
    assert all(type(row.item_id) is int and row.reason is None for row in found)
    assert (np.diff(found.scores) <= 0).all()


def test_titles_are_none_without_items(cosine):
    assert cosine.recommend(cosine.users[0], k=1)[0].title is None


# ---- who and what is unknown


@pytest.mark.parametrize("user_id", [-1, "42", 2**70, 1.5, None, float("nan"), (1, 2)])
def test_an_unknown_user_is_a_key_error_that_says_what_to_do(user_id, model):
    with pytest.raises(UnknownUserError, match=r"unknown user .* recommend_for") as error:
        model.recommend(user_id)
    assert isinstance(error.value, KeyError)


def test_the_fallback_serves_unknown_users_with_what_is_popular(model, sample):
    counts = sample["item_id"].value_counts()
    found = model.recommend("nobody", k=3, fallback="popularity")
    assert found.scores.tolist() == counts.nlargest(3).tolist()
    assert found.item_ids.tolist() == model.popular(3).item_ids.tolist()
    blocked = model.recommend("nobody", k=2, fallback="popularity", block=[found.item_ids[0]])
    assert blocked.item_ids.tolist() == found.item_ids[1:].tolist()
    with pytest.raises(ValueError, match="fallback"):
        model.recommend("nobody", fallback="random")


def test_a_known_user_with_rare_items_only_is_cold():
    views = pd.DataFrame({"user_id": [1, 2, 3, 1, 2, 4], "item_id": [7, 7, 7, 8, 8, 9]})
    model = Recommender(min_count=2, **QUICK).fit(views)
    with pytest.raises(ColdUserError, match="none of the items of user 4 has a vector"):
        model.recommend(4)
    assert model.recommend(4, fallback="popularity").item_ids.tolist() == [7, 8]
    assert 4 in model.users
    assert model.recommend_many(k=1)["user_id"].tolist() == [3]


def test_similar_items_takes_ids_and_exact_titles(model, sample_items):
    row = sample_items.iloc[10]
    by_id, by_title = model.similar_items(row["item_id"], 5), model.similar_items(row["title"], 5)
    assert by_id.item_ids.tolist() == by_title.item_ids.tolist()
    assert row["item_id"] not in by_id.item_ids
    vector, other = model.item_vector(row["item_id"]), model.item_vector(by_id.item_ids[0])
    cosine = vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)
    assert by_id.scores[0] == pytest.approx(cosine, rel=1e-5)


def test_similar_users_are_the_nearest_by_the_cosine_of_user_vectors(model):
    user_id = model.users[7]
    found = model.similar_users(user_id, k=5)
    assert list(found.columns) == ["rank", "user_id", "score"]
    assert found["rank"].tolist() == [1, 2, 3, 4, 5]
    vectors = np.array([model.user_vector(other) for other in model.users], np.float64)
    cosines = vectors @ vectors[7] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[7])
    expected = [other for other in np.argsort(-cosines) if other != 7][:5]
    assert found["user_id"].tolist() == model.users[expected].tolist()
    assert found["score"].tolist() == pytest.approx(cosines[expected].tolist(), rel=1e-5)
    everybody = model.similar_users(user_id, k=10_000)
    assert sorted(everybody["user_id"]) == [other for other in model.users if other != user_id]


def test_users_without_a_vector_are_similar_to_nobody():
    views = pd.DataFrame({"user_id": [1, 2, 3, 1, 2, 4], "item_id": [7, 7, 7, 8, 8, 9]})
    model = Recommender(min_count=2, **QUICK).fit(views)
    assert sorted(model.similar_users(3)["user_id"]) == [1, 2]
    with pytest.raises(ColdUserError, match="user 4"):
        model.similar_users(4)
    with pytest.raises(UnknownUserError, match="unknown user 5"):
        model.similar_users(5)
    with pytest.raises(ValueError, match="k must be"):
        model.similar_users(3, k=0)
    alone = Recommender(**QUICK).fit(views[views["user_id"] == 1])
    assert alone.similar_users(1).empty


def test_similar_users_are_those_of_the_latest_fit(sample):
    model = Recommender(**QUICK).fit(sample.head(2000))
    first = model.similar_users(sample["user_id"][0])
    second = model.fit(sample).similar_users(sample["user_id"][0], k=10_000)
    assert len(second) == 499 > len(first)


def test_an_unknown_title_is_an_error_with_the_closest_titles(model, sample_items):
    title = sample_items["title"].iloc[0]
    with pytest.raises(UnknownItemError, match="close titles") as error:
        model.similar_items(title[:-1] + "z")
    assert title in str(error.value)


def test_vectors_of_unknown_items_and_spaces_are_errors(model, cosine):
    with pytest.raises(UnknownItemError, match="unknown item 'x'"):
        model.item_vector("x")
    with pytest.raises(ValueError, match="'middle' vectors"):
        model.item_vector(model.items[0], space="middle")
    assert cosine.item_vector(cosine.items[0], space="output").shape == (8,)


# ---- explain


@pytest.mark.parametrize("kind", ["model", "cosine"])
def test_explain_splits_the_score_into_a_share_per_watched_item_and_one_for_popularity(
    kind, request, sample
):
    model = request.getfixturevalue(kind)
    user_id = model.users[1]
    top = model.recommend(user_id, k=1)[0]
    parts = model.explain(user_id, top.item_id)
    assert parts["contribution"].sum() == pytest.approx(top.score, rel=1e-4, abs=1e-5)
    assert parts["share"].abs().sum() == pytest.approx(1)
    assert (np.sign(parts["share"]) == np.sign(parts["contribution"])).all()
    assert set(parts["item_id"].dropna()) == watched_by(sample, user_id)
    (popularity,) = parts[parts["item_id"].isna()].itertuples()
    assert popularity.title == "(popularity)"
    assert popularity.item_id is None
    assert (popularity.share != 0) == (kind == "model")
    assert (parts["share"].abs().diff().dropna() <= 0).all()


# ---- parameters


def test_params_round_trip_to_the_same_model(sample):
    first = Recommender(half_life=2, sg=1, **QUICK).fit(sample)
    again = Recommender(**json.loads(json.dumps(first.params))).fit(sample)
    assert again.params == first.params
    assert np.array_equal(again.item_vector(again.items[0]), first.item_vector(first.items[0]))


@pytest.mark.parametrize(
    "params",
    [{"scoring": "dot"}, {"index": "faiss"}, {"half_life": 0}, {"half_life": "long"},
     {"min_rating": -1}, {"hs": 1}, {"window": 0}, {"negative": 0}, {"epochs": 0},
     {"popularity_days": 0}, {"popularity_weight": float("nan")}, {"ridge": None},
     {"stale_popularity_weight": "much"}, {"calibrate": "yes"}, {"half_life": 1e-320},
     {"discount": None}, {"discount": 200}],
)  # fmt: skip
def test_parameters_out_of_range_are_refused_at_once(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        Recommender(**params)


def test_a_second_fit_chooses_anew_and_keeps_nothing_of_the_first(sample, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "recsys.vectors.calibrate.calibrate",
        lambda ratings, params: (
            calls.append(dict(params)) or {"chosen": {"half_life": 1.0 + len(calls)}}
        ),
    )
    model = Recommender(vector_size=4, epochs=np.int64(1))
    assert [model.fit(sample).params["half_life"] for _ in range(2)] == [2.0, 3.0]
    assert [params["half_life"] for params in calls] == [None, None]
    assert type(model.params["epochs"]) is int


def test_popularity_of_the_last_days_needs_times(sample):
    with pytest.raises(DataError, match="popularity_days=7 needs a timestamp column"):
        Recommender(popularity_days=7, **QUICK).fit(sample.drop(columns="timestamp"))


def test_unknown_parameters_are_refused():
    with pytest.raises(TypeError, match="windw"):
        Recommender(windw=3)


def test_the_defaults_of_word2vec_are_written_alike_in_both_places():
    from inspect import signature

    from recsys.vectors.item2vec import train_item2vec

    theirs = dict(signature(train_item2vec).parameters)
    ours = signature(Recommender).parameters
    del theirs["sequences"]  # there the sequences themselves, here what they are made of
    assert list(theirs) == [n for n in ours if n in theirs]
    alike = [n for n in theirs if n != "epochs"]
    assert all(ours[n].default == theirs[n].default for n in alike)
    assert (ours["epochs"].default, theirs["epochs"].default) == (None, DEFAULTS["epochs"])


def test_the_textbook_recipe_is_gensims_own_defaults(sample):
    from gensim.models import Word2Vec

    bare = Word2Vec()
    gensims = {name: getattr(bare, name) for name in TEXTBOOK if hasattr(bare, name)}
    assert {**TEXTBOOK, **gensims, "sg": 1} == TEXTBOOK
    assert {"negative", "window", "epochs", "min_count", "sample"} <= set(gensims)
    assert Recommender(**TEXTBOOK).fit(sample).recommend(sample["user_id"][0])


def test_min_rating_keeps_disliked_items_out_of_histories_and_out_of_lists(sample):
    model = Recommender(min_rating=4, **QUICK).fit(sample)
    user_id = model.users[0]
    mine = sample[sample["user_id"] == user_id]
    liked = mine.loc[mine["rating"] >= 4, "item_id"]
    assert set(model.explain(user_id, model.items[0])["item_id"].dropna()) == set(liked)
    assert not set(mine["item_id"]) & set(model.recommend(user_id, k=10_000).item_ids)


def test_asking_before_fitting_says_so():
    for ask in (lambda m: m.recommend(1), lambda m: m.users, lambda m: m.save("x"),
                lambda m: m.popular(), lambda m: m.recommend_many()):  # fmt: skip
        with pytest.raises(NotFittedError, match="call fit"):
            ask(Recommender())


# ---- ids of any kind


@pytest.mark.parametrize(
    "ids",
    [
        ["a b", 'quote"', "comma,", "naïve", "日本", "x" * 10_000, "NA", "null"],
        [2**31 + 1, 2**40, -7, 0, 1, 2, 3, 4],
        [2**63 + 5, 2**64 - 1, 1, 2, 3, 4, 5, 6],
    ],
)
def test_ids_come_back_as_they_came_through_saving_too(ids, tmp_path):
    rng = np.random.default_rng(0)
    views = pd.DataFrame(
        {
            "user_id": [ids[i] for i in rng.integers(0, 8, 100)],
            "item_id": [ids[i] for i in rng.integers(0, 8, 100)],
        }
    )
    fitted = Recommender(**QUICK).fit(views)
    fitted.save(tmp_path / "model")
    for model in (fitted, Recommender.load(tmp_path / "model")):
        assert sorted(model.users.tolist()) == sorted(views["user_id"].unique().tolist())
        found = model.recommend(ids[0], k=8, watched=True)
        assert sorted(row.item_id for row in found) == sorted(ids)
        assert {type(row.item_id) for row in found} == {type(ids[0])}


def test_catalogues_of_one_and_of_five_items_work():
    for n in (1, 5):
        views = pd.DataFrame({"user_id": [1] * n, "item_id": range(n)})
        model = Recommender(**QUICK).fit(views)
        assert len(model.recommend(1)) == 0
        assert len(model.recommend(1, watched=True)) == n
        assert len(model.similar_items(0)) == n - 1


# ---- saving, loading, and the free function


def test_a_loaded_model_answers_as_the_fitted_one(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.params == model.params
    for user_id in model.users[:20]:
        assert list(loaded.recommend(user_id)) == list(model.recommend(user_id))
    pd.testing.assert_frame_equal(loaded.recommend_many(3), model.recommend_many(3))
    assert list(loaded.similar_items(model.items[0])) == list(model.similar_items(model.items[0]))
    assert list(loaded.popular()) == list(model.popular())


def test_a_model_with_min_rating_and_hierarchical_softmax_survives_saving(sample, tmp_path):
    model = Recommender(min_rating=4, hs=1, scoring="cosine", **QUICK).fit(sample)
    model.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model", verify=False)
    assert list(loaded.recommend(model.users[0])) == list(model.recommend(model.users[0]))
    with pytest.raises(ValueError, match="no 'output' vectors"):
        loaded.item_vector(model.items[0], space="output")


FIT_AND_SAVE = """
import sys
from recsys import Recommender, load_ratings
ratings = load_ratings("sample").sample(frac=1, random_state=int(sys.argv[1]))
Recommender(epochs=2, vector_size=16, popularity_days=30).fit(ratings).save(sys.argv[2])
"""


def test_two_processes_save_the_same_bytes_from_shuffled_rows(tmp_path):
    folders = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": seed}
        command = [sys.executable, "-c", FIT_AND_SAVE, seed, folder]
        subprocess.run(command, env=environment, check=True)
        folders.append(
            {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        )
    assert folders[0].keys() == folders[1].keys()
    assert {str(name) for name in folders[0] if folders[0][name] != folders[1][name]} == set()
    assert any(name.name == "index.ann" for name in folders[0])


def test_the_free_function_opens_once_and_again_after_a_save(sample, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    with pytest.raises(ModelError, match="recsys train"):
        recommend(1, model=folder)
    Recommender(**QUICK).fit(sample).save(folder)
    user_id = int(sample["user_id"][0])
    before = recommend(user_id, k=5, model=folder)
    opened = []
    load = Recommender.load
    monkeypatch.setattr(Recommender, "load", lambda *a, **k: opened.append(a) or load(*a, **k))
    assert list(recommend(user_id, k=5, model=str(folder))) == list(before)
    assert not opened
    Recommender(seed=7, **QUICK).fit(sample).save(folder)
    assert list(recommend(user_id, k=5, model=folder)) != list(before)
    assert len(opened) == 1


RECOMMEND_LIGHTLY = """
import sys
from recsys import Recommender, recommend
recommend(int(sys.argv[2]), model=sys.argv[1])
heavy = {"pandas", "gensim", "scipy", "sklearn", "pyarrow"} & set(sys.modules)
print(sorted(heavy))
"""


def test_a_script_that_only_recommends_imports_nothing_heavy(model, tmp_path):
    model.save(tmp_path / "model")
    command = [sys.executable, "-c", RECOMMEND_LIGHTLY, tmp_path / "model", str(model.users[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


WITHOUT_ANNOY = """
import sys
sys.modules["annoy"] = None  # as if it were not installed
import logging; logging.basicConfig(format="%(message)s")
from recsys import Recommender, load_ratings
ratings = load_ratings("sample")
model = Recommender(epochs=1, vector_size=8, calibrate=False).fit(ratings)
model.save(sys.argv[1] + "/new")
loaded = Recommender.load(sys.argv[1] + "/new")
user = model.users[0]
assert list(loaded.recommend(user)) == list(model.recommend(user))
assert model.params["index"] == "exact"
old = Recommender.load(sys.argv[1] + "/with_annoy")
assert len(old.recommend(user)) == 10
"""


def test_without_annoy_everything_works_on_the_exact_index_with_one_notice(sample, tmp_path):
    Recommender(**QUICK).fit(sample).save(tmp_path / "with_annoy")
    command = [sys.executable, "-c", WITHOUT_ANNOY, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    notices = [line for line in done.stderr.splitlines() if "annoy" in line]
    assert len(notices) == 1
    assert "searching exactly" in notices[0]


def test_loading_from_what_is_no_model_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ModelError, match="recsys train"):
        Recommender.load(tmp_path / "nothing")
    with pytest.raises(ModelError, match="recsys train"):
        Recommender.load(Path(tmp_path))


def test_fitting_changes_no_frame_it_was_given(sample, sample_items):
    ratings, items = sample.copy(), sample_items.copy()
    Recommender(**QUICK).fit(ratings, items)
    pd.testing.assert_frame_equal(ratings, sample)
    pd.testing.assert_frame_equal(items, sample_items)
