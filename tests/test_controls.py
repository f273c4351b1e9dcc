"""Filters, dials and reasons: exactly k, what was asked for, and why."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import ColdUserError, Recommender
from recsys.recommender import fitted
from recsys.search.approximate import AnnoyIndex, best_of
from recsys.search.diversity import diversify
from recsys.search.exact import ExactIndex, unit_length

K = 10
SETTINGS = {
    "calibrate": False, "epochs": 5, "vector_size": 32, "half_life": 3.0,
    "popularity_weight": 0.5, "stale_popularity_weight": 1.0,
}  # fmt: skip

NAN = float("nan")


@pytest.fixture(scope="module", params=["exact", "annoy"])
def either(request, sample, sample_items):
    """The same model with either index."""
    return Recommender(**SETTINGS, index=request.param).fit(sample, sample_items)


@pytest.fixture(scope="module")
def holds(sample_items):
    """What pandas says of each filter."""
    by_id = sample_items.set_index("item_id")
    year = by_id["year"].astype("float64")
    drama = by_id["genres"].map(lambda entries: "Drama" in entries)
    return {
        None: year.notna() | True,
        "year >= 1990": year >= 1990,
        "'Drama' in genres": drama,
        "year < 1970 and 'Drama' not in genres": (year < 1970) & ~drama,
        "year == 0": year == 0,
    }


@given(data=st.data())
def test_filters_leave_exactly_what_the_whole_ranking_leaves(data, either, sample, holds):
    user = data.draw(st.sampled_from(either.users.tolist()))
    some_items = st.lists(st.sampled_from([*either.items.tolist(), -5, "no id"]), max_size=80)
    block, allow = data.draw(some_items), data.draw(st.none() | some_items)
    form = data.draw(st.sampled_from([list, set, iter, lambda ids: np.array(ids, object)]))
    watched, k = data.draw(st.booleans()), data.draw(st.sampled_from([1, 5, 40, 10_000]))
    where = data.draw(st.sampled_from(list(holds)))
    marked = where if where is None or data.draw(st.booleans()) else holds[where]
    options = {"watched": watched, "block": block, "where": marked}
    formed = None if allow is None else form(allow)
    found = either.recommend(user, k, **options, allow=formed).item_ids.tolist()
    ranked = either.recommend_many(len(either.items), users=[user], watched=True)["item_id"]
    seen = set() if watched else set(sample.loc[sample["user_id"] == user, "item_id"])
    left = [item for item in ranked if item not in seen and item not in block
            and (allow is None or item in allow) and holds[where][item]]  # fmt: skip
    assert len(found) == len(set(found)) == min(k, len(left))
    assert set(found) <= set(left)
    many = either.recommend_many(k, users=[user], **options, allow=allow)["item_id"].tolist()
    assert many == left[:k]
    if either.params["index"] == "exact" or k > 40:
        assert found == many


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("where", "yaer > 1", "no column 'yaer'"),
        ("where", pd.Series([True, False]), "by item id"),
        ("where", pd.Series([1.5], index=pd.Index([1], name="item_id")), "boolean"),
        ("where", 5, "where must be an expression"),
        *(
            ("popularity", value, "popularity must be")
            for value in (-1, NAN, 1e39, 10**400, "x", None)
        ),
        *(("diversity", value, "diversity must be") for value in (1.5, NAN, "x", None, [0])),
    ],
)
def test_bad_controls_are_refused(model, name, value, message):
    for ask, *given_ in ((model.recommend, model.users[0]), (model.recommend_many,),
                         (model.recommend_for, model.items[:3])):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            ask(*given_, **{name: value})


# ---- dials


def test_popularity_0_is_pure_taste_and_more_is_more_popular(either, sample, sample_items):
    counts = sample["item_id"].value_counts()
    means = []
    for dial in (0, 0.5, 1, 2, 8):
        found = either.recommend_many(K, users=either.users[:50], popularity=dial)
        means.append(found["item_id"].map(counts).mean())
    assert means == sorted(means)
    assert means[0] < means[-1]
    off = {"popularity_weight": 0.0, "stale_popularity_weight": 0.0, "index": "exact"}
    tasteful = Recommender(**either.params | off).fit(sample, sample_items)
    for user in either.users[:10]:  # with another weight than was learned the search is exact
        assert list(tasteful.recommend(user)) == list(either.recommend(user, popularity=0))
        assert list(either.recommend(user, popularity=1)) == list(either.recommend(user))


def test_diversity_spreads_the_list_and_0_leaves_it(either):
    def distance(ids):
        unit = unit_length(np.array([either.item_vector(i) for i in ids]))
        return 1 - (unit @ unit.T)[np.triu_indices(len(ids), 1)].mean()

    users = either.users[:20]
    spread = [
        np.mean([distance(either.recommend(u, K, diversity=d).item_ids) for u in users])
        for d in (0, 0.3, 0.6, 1.0)
    ]
    assert spread == sorted(spread)
    assert spread[-1] > spread[0] + 0.1
    for user in users[:3]:
        plain, varied = either.recommend(user, K), either.recommend(user, K, diversity=0.5)
        assert list(either.recommend(user, K, diversity=0)) == list(plain)
        assert varied.item_ids[0] == plain.item_ids[0]
        if either.params["index"] == "exact":
            many = either.recommend_many(K, users=[user], diversity=0.5)
            assert many["item_id"].tolist() == varied.item_ids.tolist()


def test_maximal_marginal_relevance_by_hand():
    angles = np.radians([0, 5, 90, 45])
    unit = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    scores = np.array([4.0, 3.9, 2.0, 3.0])
    # After the first: .5*.95-.5*cos(5) = -.02, .5*0-.5*0 = 0, .5*.5-.5*cos(45) = -.10
    assert diversify(scores, unit, 4, 0.5).tolist() == [0, 2, 1, 3]
    assert diversify(scores, unit, 4, 0.0).tolist() == [0, 1, 3, 2]
    assert diversify(scores, unit, 9, 1.0).tolist()[:2] == [0, 2]
    assert diversify(scores[:0], unit[:0], 3, 0.5).tolist() == []


# ---- liked, disliked, reasons


def test_what_is_liked_is_as_a_history_in_which_all_is_new(either, sample):
    ids = either.items[[3, 40, 80]].tolist()
    liked = either.recommend_for(liked=ids, k=K)
    turned = either.recommend_for(liked=ids[::-1], k=K)
    assert liked.item_ids.tolist() == turned.item_ids.tolist()
    assert liked.item_ids.tolist() != either.recommend_for(ids, K).item_ids.tolist()
    weights = sample["item_id"].value_counts()[ids].to_numpy() ** -either.params["discount"]
    mean = weights / weights.sum() @ np.array([either.item_vector(i) for i in ids])
    rows = fitted(either).tables.readout[np.searchsorted(either.items, liked.item_ids)]
    expected = rows @ np.append(mean, [1, either.params["popularity_weight"]])
    np.testing.assert_allclose(liked.scores, expected, rtol=1e-4)


def test_what_is_disliked_falls_and_is_left_out(either):
    history = either.items[:5].tolist()
    first, second = either.recommend_for(history, 2)
    found = either.recommend_for(history, 500, disliked=[first.item_id], reasons=True)
    assert first.item_id not in found.item_ids
    table = either.explain_for(history, second.item_id, disliked=[first.item_id])
    assert first.item_id in table["item_id"].tolist()
    (score,) = found.scores[found.item_ids == second.item_id]
    np.testing.assert_allclose(table["contribution"].sum(), score, rtol=1e-4)
    for row in found:
        assert first.title not in row.reason.split("watched ")[-1].split(" and ")
    with pytest.raises(ColdUserError):
        either.recommend_for(disliked=history)


# ---- large catalogues


def test_best_of_is_exact_where_few_are_left_and_full_where_many_are():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20_000, 16)).astype(np.float32)
    index, exact = AnnoyIndex(vectors, n_trees=5), ExactIndex(vectors)
    query = rng.normal(size=16).astype(np.float32)
    scores = vectors @ query
    for share in (0, 0.0005, 0.01, 0.3, 0.9, 1.0):
        left = rng.random(20_000) < share
        expected = np.flatnonzero(left)[np.argsort(-scores[left], kind="stable")[:K]]
        assert best_of(exact, query, K, left)[0].tolist() == expected.tolist()
        rows, found = best_of(index, query, K, left)
        assert len(set(rows[left[rows]].tolist())) == len(rows) == len(expected)
        assert (np.diff(found) <= 0).all()
        assert left.sum() > 4000 or rows.tolist() == expected.tolist()
    assert len(best_of(index, query, 20_000, left)[0]) == left.sum()


@pytest.mark.slow
def test_a_filter_that_leaves_a_hundredth_of_a_large_catalogue_costs_at_most_3_times_as_much():
    rng, n_items, n_events = np.random.default_rng(0), 87_000, 600_000
    items = np.append(np.arange(n_items), rng.integers(0, n_items, n_events - n_items))
    ratings = pd.DataFrame({"user_id": rng.integers(0, 5_000, n_events), "item_id": items})
    years = rng.integers(1920, 2020, n_items)
    genres = [("A", "B")[i % 2 :] for i in range(n_items)]
    table = pd.DataFrame({"item_id": np.arange(n_items), "year": years, "genres": genres})
    model = Recommender(calibrate=False, epochs=1, vector_size=64, ridge=0).fit(ratings, table)
    allowed = rng.choice(n_items, n_items // 100, replace=False)
    marked = pd.Series(np.isin(table["item_id"], allowed), pd.Index(table["item_id"]))
    calls = [{}, {"where": "year == 1999 and 'B' in genres"}, {"where": marked}, {"allow": allowed},
             {"allow": allowed.tolist()}]  # fmt: skip
    seconds = np.zeros((200, len(calls)))
    for user, call in np.ndindex(seconds.shape):
        started = time.perf_counter()
        assert len(model.recommend(user, 10, **calls[call])) == 10
        seconds[user, call] = time.perf_counter() - started
    ratios = np.median(seconds, axis=0) / np.median(seconds[:, 0])
    print(ratios.round(2))
    assert ratios.max() < 3, ratios
