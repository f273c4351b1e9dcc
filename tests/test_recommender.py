"""The recommender answers in full, exactly, and the same after saving and loading."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from recsys import ColdUserError, ModelError, NotFittedError, Recommender, recommend
from recsys.data.columns import find
from recsys.errors import DataWarning, UnknownItemError, UnknownUserError
from recsys.model import ask as asking
from recsys.model import storage
from recsys.recommender import fitted
from tests.conftest import BRIEF

QUICK = {"vector_size": 8, "epochs": 2, "calibrate": False}
RARE = pd.DataFrame({"user_id": [1, 2, 3, 1, 2, 4], "item_id": [7, 7, 7, 8, 8, 9]})


def watched_by(ratings, user_id):
    return set(ratings.loc[ratings["user_id"] == user_id, "item_id"])


@pytest.fixture(scope="module")
def cosine(sample):
    return Recommender(scoring="cosine", **QUICK).fit(sample)


# ---- the checkerboard: two groups of users, each with its own films


@pytest.mark.parametrize(
    "params",
    [{}, {"scoring": "cosine", "alpha": 0.05}, {"sg": 1}, {"ridge": 0, "discount": 0},
     {"calibrate": True}, {"hs": 1, "sg": 1, "scoring": "cosine"}, {"index": "exact"}],
)  # fmt: skip
def test_on_a_checkerboard_everybody_gets_the_rest_of_their_own_colour(params):
    rng = np.random.default_rng(0)
    rows = [(f"user {u}", f"film {10 * (u % 2) + i}")
            for u in range(120) for i in rng.permutation(10)[:6]]  # fmt: skip
    views = pd.DataFrame(rows, columns=["user_id", "item_id"])
    model = Recommender(**{"vector_size": 16, "sample": 0, "calibrate": False, **params}).fit(views)
    right = 0
    for u in range(120):
        own = {f"film {10 * (u % 2) + i}" for i in range(10)}
        found = set(model.recommend(f"user {u}", k=4).item_ids)
        right += found == own - watched_by(views, f"user {u}")
    assert right >= 115


# ---- lists


@pytest.mark.parametrize("kind", ["model", "cosine"])
def test_a_list_is_the_brute_force_ranking_of_what_was_not_watched(kind, request, sample):
    model = request.getfixturevalue(kind)
    now, last = sample["timestamp"].max(), sample.groupby("user_id")["timestamp"].max()
    targets = fitted(model).tables.readout.astype(float)
    if kind == "cosine":  # the textbook's
        vectors = np.array([model.item_vector(i) for i in model.items])
        targets = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for row, user_id in enumerate(model.users[:40]):
        query = model.user_vector(user_id).astype(float)
        days = (now - last[user_id]).total_seconds() / 86_400
        weight = 2.0 + (0.5 - 2.0) * 0.5**days
        watched = model.items[fitted(model).tables.histories.items_of(row)]
        rare = sample["item_id"].value_counts()[watched] ** -0.25
        seen = np.array([model.item_vector(item, "audience")[:32] for item in watched], float)
        share = (model.params["audience_weight"] or 0.0) / len(watched)
        ours = [query, [1], share * np.average(seen, axis=0, weights=rare), [weight]]
        query = query / np.linalg.norm(query) if kind == "cosine" else np.concatenate(ours)
        scores = pd.Series(targets @ query, index=model.items)
        best = scores.drop(list(watched_by(sample, user_id))).nlargest(12)
        found = model.recommend(user_id, k=12)
        np.testing.assert_allclose(found.scores, best, rtol=1e-5, atol=1e-5)
        assert set(found.item_ids) == set(best.index)


def test_a_history_at_hand_gets_what_the_same_user_gets_who_is_here_now(model):
    tables = fitted(model).tables
    fresh = int(np.argmin(tables.staleness))  # the latest event of all is this user's
    history = model.items[tables.histories.items_of(fresh)].tolist()
    known, folded_in = model.recommend(model.users[fresh]), model.recommend_for(history)
    assert list(folded_in) == list(known)
    said = "skipped 2 of .* items without a vector, such as -1, 'nothing'$"
    with pytest.warns(DataWarning, match=said):
        assert list(model.recommend_for([-1, *history, "nothing"])) == list(known)
    with pytest.warns(
        DataWarning, match=r"such as '5' \(the model's item ids are numbers, this is a"
    ):
        model.recommend_for(history, liked=["5"])
    with pytest.warns(DataWarning), pytest.raises(ColdUserError, match="none of the items"):
        model.recommend_for([-1, "nothing"])
    with pytest.raises(ColdUserError, match="none of the items"):
        model.recommend_for([])


def test_a_history_of_a_million_events_is_answered_like_a_short_one(model, monkeypatch):
    """Each item once, with its whole weight: 2 s and 900 MB a list otherwise."""
    rng = np.random.default_rng(0)
    history = rng.choice(model.items[::2], 20_000).tolist()
    for half_life in (None, 5.0):
        other = Recommender(**model.params)
        other._model = replace(fitted(model), params={**model.params, "half_life": half_life})
        fast = other.recommend_for(history, reasons=True)
        with monkeypatch.context() as patch:
            patch.setattr(asking, "LONG", 10**9)
            slow = other.recommend_for(history, reasons=True)
        assert fast.item_ids.tolist() == slow.item_ids.tolist()
        assert len(fast) == 10
        assert [row.reason for row in fast] == [row.reason for row in slow]
        np.testing.assert_allclose(fast.scores, slow.scores, rtol=1e-3, atol=1e-3)


def test_a_list_longer_than_the_catalogue_ends_with_it_however_diverse(model, monkeypatch):
    user, n = model.users[0], len(model.items)
    for k in (10**9, 10**400):
        found = model.recommend(user, k, diversity=0.5, watched=True)
        assert sorted(found.item_ids) == model.items.tolist()
    assert found.item_ids[:50].tolist() == model.recommend(user, 200, diversity=0.5, watched=True
                                                          ).item_ids[:50].tolist()  # fmt: skip
    assert (np.diff(found.scores[300:]) <= 0).all()
    many = model.recommend_many(10**9, users=[user], diversity=0.5, watched=True, threads=10**9)
    assert many["item_id"].tolist() == found.item_ids.tolist()
    assert len(many) == n
    monkeypatch.setattr(asking, "MANY", 1000)
    with pytest.raises(ValueError, match="500 users times 645 items are too many rows"):
        model.recommend_many(10**9, watched=True)


def test_recommend_many_is_recommend_for_everybody(sample, model):
    exact = Recommender(**BRIEF, index="exact").fit(sample)
    table = exact.recommend_many(k=7)
    assert list(table.columns) == ["user_id", "rank", "item_id", "score"]
    titled = model.recommend_many(3, users=model.users[:2])
    assert list(titled.columns) == ["user_id", "rank", "item_id", "title", "score"]
    assert titled["title"][:3].tolist() == [row.title for row in model.recommend(model.users[0], 3)]
    assert len(table) == 7 * len(exact.users)
    for user_id, rows in list(table.groupby("user_id"))[:30]:
        alone = exact.recommend(user_id, k=7)
        assert rows["item_id"].tolist() == alone.item_ids.tolist()
        assert rows["score"].tolist() == alone.scores.tolist()
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    pd.testing.assert_frame_equal(exact.recommend_many(k=7, threads=3), table)
    users = exact.users[[5, 2]].tolist()
    some = exact.recommend_many(k=2, users=users)
    assert some["user_id"].tolist() == [users[0]] * 2 + [users[1]] * 2
    with pytest.raises(UnknownUserError):
        exact.recommend_many(users=[users[0], "nobody"])
    with pytest.raises(ValueError, match="threads must be a whole number above 0, got 0"):
        exact.recommend_many(threads=0)


@pytest.mark.parametrize("half_life", [None, 0.5, 7.0])
def test_one_query_is_that_of_many_to_the_bit(model, half_life):
    held = replace(fitted(model), params={**model.params, "half_life": half_life})
    histories, days = held.tables.histories, held.tables.staleness
    for row, query in enumerate(held.queries(histories, days)):
        one = held.query(held.taste(histories.items_of(row)), held.popularity_weight(row))
        assert one.tobytes() == query.tobytes()
    rows = np.tile(histories.codes, 2)  # a longer one than any that the model knows
    many = replace(histories.slice_users(0, 1), codes=rows, offsets=np.array([0, len(rows)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "LONG", len(rows))
        one = held.query(held.taste(rows), held.popularity_weight(None))
    assert one.tobytes() == held.queries(many)[0].tobytes()


def test_a_user_is_looked_up_once(model, monkeypatch):
    found = []
    for module in ("recsys.recommender", "recsys.model.tables"):
        monkeypatch.setattr(
            f"{module}.find", lambda *given: found.append(find(*given)) or found[-1]
        )
    model.recommend(model.users[3])
    assert found == [3]


# ---- who and what is unknown


def test_unknown_users_are_a_key_error_or_served_with_what_is_popular(model, sample):
    for user_id in (-1, "42", 2**70, 1.5, None, float("nan"), (1, 2)):
        with pytest.raises(UnknownUserError, match=r"unknown user .* recommend_for"):
            model.recommend(user_id)
    with pytest.raises(
        UnknownUserError, match=r"unknown user '42' \(the model's user ids are numbers"
    ):
        model.recommend("42")
    late = sample["timestamp"] >= sample["timestamp"].max() - pd.Timedelta(days=30)
    for days in (30.0, None):  # of which no number was chosen
        other = Recommender(**model.params)
        other._model = replace(fitted(model), params={**model.params, "popularity_days": days})
        found = other.recommend("nobody", k=3, fallback="popularity")
        counts = sample[late]["item_id"].value_counts()
        assert found.scores.tolist() == counts.nlargest(3).tolist()
        assert counts[found.item_ids].tolist() == found.scores.tolist()
    assert found.item_ids.tolist() != model.popular(3).item_ids.tolist()
    blocked = model.recommend("nobody", k=2, fallback="popularity", block=[found.item_ids[0]])
    assert blocked.item_ids.tolist() == found.item_ids[1:].tolist()
    with pytest.raises(ValueError, match="fallback"):
        model.recommend("nobody", fallback="random")


def test_a_known_user_with_rare_items_only_is_cold_and_similar_to_nobody():
    model = Recommender(min_count=2, **QUICK).fit(RARE)
    assert model.users.tolist() == [1, 2, 3, 4]
    for method in (model.recommend, model.similar_users, model.user_vector):
        with pytest.raises(ColdUserError, match="none of the items of user 4 has a vector"):
            method(4)
    assert model.recommend(4, fallback="popularity").item_ids.tolist() == [7, 8]
    assert model.recommend_many(k=1)["user_id"].tolist() == [3]
    assert sorted(model.similar_users(3)["user_id"]) == [1, 2]
    assert Recommender(**QUICK).fit(RARE[RARE["user_id"] == 1]).similar_users(1).empty


@pytest.mark.parametrize("k", [0, float("nan")])
def test_k_that_is_no_whole_number_above_0_is_refused_by_all(k, model):
    first = model.items[0]
    for ask, *given in ((model.recommend, model.users[0]), (model.recommend_for, [first]),
                        (model.recommend_many,), (model.similar_items, first), (model.popular,),
                        (model.similar_users, model.users[0])):  # fmt: skip
        with pytest.raises(ValueError, match="k must be a whole number above 0"):
            ask(*given, k)


# ---- inside


def nearest(vector_of, ids, k=5):
    """The k ids whose vectors have the largest cosine to that of ids[7], and these."""
    vectors = np.array([vector_of(one) for one in ids], float)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return pd.Series(unit @ unit[7], ids).drop(ids[7]).nlargest(k)


def test_one_text_where_several_ids_are_wanted_is_refused(model):
    for ask in (model.recommend_for, model.remove_items,
                lambda text: model.recommend_many(users=text)):  # fmt: skip
        with pytest.raises(TypeError, match="several ids"):
            ask("ab")


def test_similar_users_and_items_are_the_nearest_by_cosine(model, sample_items):
    users, items = model.users, model.items
    found = model.similar_users(users[7], k=5)
    assert list(found.columns) == ["rank", "user_id", "score"]
    assert found["rank"].tolist() == [1, 2, 3, 4, 5]
    best = nearest(model.user_vector, users)
    assert found["user_id"].tolist() == best.index.tolist()
    np.testing.assert_allclose(found["score"], best, rtol=1e-5)
    assert len(model.similar_users(users[7], k=10_000)) == len(users) - 1
    counts = pd.Series(fitted(model).tables.counts, items)
    cosines = nearest(lambda item: model.item_vector(item, "audience"), items, 10_000)
    best = (cosines * np.sqrt(counts / (counts + 10))).dropna().nlargest(10_000)
    for least in (0, 5, None, 40):
        familiar = best[counts[best.index] >= (5 if least is None else least)][:5]
        similar = model.similar_items(items[7], 5, min_events=least)
        assert similar.item_ids.tolist() == familiar.index.tolist()
        np.testing.assert_allclose(similar.scores, familiar, rtol=1e-4)
    similar = model.similar_items(items[7], 5)
    assert len(model.similar_items(items[7], len(items), min_events=40)) < len(items) - 1
    assert len(model.similar_items(items[7], len(items))) == len(items) - 1
    title = sample_items.set_index("item_id")["title"][items[7]]
    assert list(model.similar_items(title, 5)) == list(similar)
    with pytest.raises(UnknownItemError, match="unknown item 'x'"):
        model.item_vector("x")
    with pytest.raises(ValueError, match="'middle' vectors"):
        model.item_vector(items[7], space="middle")


@pytest.mark.parametrize("kind", ["model", "cosine"])
def test_explain_splits_scores_by_watched_items_and_popularity_and_reasons_are_the_largest(
    kind, request, sample
):
    model = request.getfixturevalue(kind)
    user_id = model.users[1]
    plain, found = model.recommend(user_id), model.recommend(user_id, reasons=True)
    assert [row[:4] for row in found] == [row[:4] for row in plain]
    assert ("reason" in repr(found), "reason" in repr(plain)) == (True, False)
    for row in found:
        parts = model.explain(user_id, row.item_id)
        assert parts["contribution"].sum() == pytest.approx(row.score, rel=1e-4, abs=1e-5)
        assert parts["share"].abs().sum() == pytest.approx(1)
        assert (np.sign(parts["share"]) == np.sign(parts["contribution"])).all()
        assert (parts["share"].abs().diff().dropna() <= 0).all()
        (popularity,) = parts[parts["item_id"].isna()].itertuples()
        assert (popularity.title, popularity.item_id) == ("(popularity)", None)
        assert (popularity.share != 0) == (kind == "model")
        said = parts[parts["item_id"].notna()].sort_values("contribution", ascending=False)
        assert set(said["item_id"]) == watched_by(sample, user_id)
        most, positive = said.iloc[0], said["contribution"].clip(lower=0).sum()
        assert row.reason.startswith("popular now") == (popularity.contribution > positive)
        if most["contribution"] > 0:
            assert f"because you watched {most['title'] or most['item_id']}" in row.reason


# ---- fitting


def test_the_face_has_its_members_and_says_where_a_model_came_from(model, sample):
    members = """fit update add_items remove_items save load recommend recommend_for recommend_many
        popular similar_items similar_users explain explain_for user_vector item_vector users items
        params about get_params set_params"""
    assert {name for name in dir(Recommender) if name[0] != "_"} == set(members.split())
    about = model.about
    assert " ".join(sorted(about)) == "ann calibration cold_items data drift seconds versions"
    assert about["data"]["n_ratings"] == len(sample)
    assert set(about["seconds"]) == {"calibrate", "train", "readout", "index"}
    new = Recommender()
    for ask in (lambda: new.recommend(1), lambda: new.users, lambda: new.save("x"),
                lambda: new.update(sample), lambda: new.remove_items([1])):  # fmt: skip
        with pytest.raises(NotFittedError, match="call fit"):
            ask()


def test_it_behaves_as_scikit_learn_expects_and_says_what_it_is(sample):
    given = Recommender(vector_size=8, epochs=1, negative=1000, min_rating=4, seed=np.int64(5))
    assert repr(given).startswith(
        "<Recommender(negative=1000, vector_size=8, epochs=1, seed=5, min"
    )
    assert repr(given).endswith("), not fitted>")
    fit = copy.copy(given).fit(sample)
    assert repr(fit).endswith("items, 500 users, 20,000 events>")
    for one in (given, fit, Recommender(hs=1, scoring="cosine", negative=7)):
        twin = clone(one)
        assert type(twin) is Recommender
        assert twin.get_params() == one.get_params()
        assert twin._model is None
    assert set(given.get_params()) == set(given.params)
    assert given.set_params(window=3, min_rating=None) is given
    assert (given.params["window"], given.params["min_rating"], fit.params["window"]) == (
        3,
        None,
        10,
    )
    for wrong, message in (({"windw": 3}, "unknown settings"), ({"window": 0}, "window must be")):
        with pytest.raises(ValueError, match=message):
            given.set_params(**wrong)
    assert given.params["window"] == 3
    json.dumps([fit.recommend(fit.users[0], 3).to_dicts(), fit.get_params()])


def test_params_give_the_same_model_and_frames_stay_as_they_were(sample, sample_items):
    ratings, items = sample.copy(), sample_items.copy()
    first = Recommender(half_life=2, sg=1, **QUICK).fit(ratings, items)
    pd.testing.assert_frame_equal(ratings, sample)
    pd.testing.assert_frame_equal(items, sample_items)
    again = Recommender(**json.loads(json.dumps(first.params))).fit(sample)
    assert again.params == first.params
    assert np.array_equal(again.item_vector(again.items[0]), first.item_vector(first.items[0]))


def test_min_rating_keeps_disliked_items_out_of_histories_and_out_of_lists(sample):
    model = Recommender(min_rating=4, **QUICK).fit(sample)
    user_id = model.users[0]
    mine = sample[sample["user_id"] == user_id]
    liked = mine.loc[mine["rating"] >= 4, "item_id"]
    assert set(model.explain(user_id, model.items[0])["item_id"].dropna()) == set(liked)
    assert not set(mine["item_id"]) & set(model.recommend(user_id, k=10_000).item_ids)


# ---- saving, loading, and the free function


def test_a_loaded_model_answers_as_the_fitted_one(model, sample, tmp_path):
    other = Recommender(min_rating=4, hs=1, scoring="cosine", **QUICK).fit(sample)
    for one in (model, other):
        one.save(tmp_path / "model")
        loaded = Recommender.load(tmp_path / "model", verify=one is model)
        assert loaded.params == one.params
        for user_id in model.users[:20]:
            assert list(loaded.recommend(user_id)) == list(one.recommend(user_id))
        pd.testing.assert_frame_equal(loaded.recommend_many(3), one.recommend_many(3))
        for name in ("versions", "data", "calibration", "ann"):
            assert loaded.about[name] == one.about[name]
    with pytest.raises(ValueError, match="no 'output' vectors"):
        loaded.item_vector(model.items[0], space="output")


def test_a_model_with_the_settings_of_walks_loads_unless_trained_on_them(model, tmp_path):
    held = fitted(model)
    for kind in ("histories", "walks"):
        params = {**model.params, "sequences": kind, "p": 1.0, "q": 1.0}
        manifest = {**held.about, "params": params}
        columns = {**held.tables.to_columns(), **held.approximate.columns}
        storage.save(tmp_path / kind, columns, manifest, held.approximate.save)
    assert Recommender.load(tmp_path / "histories").params == model.params
    with pytest.raises(ModelError, match=r"random walks; train again with `recsys train`"):
        Recommender.load(tmp_path / "walks")


def test_the_free_function_opens_once_and_again_after_a_save(sample, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    for ask in (lambda: recommend(1, model=folder), lambda: Recommender.load(folder)):
        with pytest.raises(ModelError, match="recsys train"):
            ask()
    Recommender(**QUICK).fit(sample).save(folder)
    user_id = int(sample["user_id"][0])
    before = recommend(user_id, k=5, model=folder)
    opened, load = [], Recommender.load
    monkeypatch.setattr(Recommender, "load", lambda *a, **k: opened.append(a) or load(*a, **k))
    assert list(recommend(user_id, k=5, model=str(folder))) == list(before)
    assert not opened
    Recommender(seed=7, **QUICK).fit(sample).save(folder)
    assert list(recommend(user_id, k=5, model=folder)) != list(before)
    assert len(opened) == 1


def test_without_annoy_everything_works_on_the_exact_index(model, sample, tmp_path, monkeypatch):
    model.save(tmp_path / "with_annoy")
    monkeypatch.setattr("recsys.search.approximate._import_annoy", lambda: None)
    fitted_here = Recommender(**QUICK).fit(sample)
    assert (fitted_here.params["index"], fitted_here.about["ann"]) == ("exact", {})
    loaded = Recommender.load(tmp_path / "with_annoy")
    assert loaded.recommend_many(5).equals(model.recommend_many(5))
    assert len(loaded.recommend(model.users[0])) == 10
