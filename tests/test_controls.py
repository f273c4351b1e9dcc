"""Filters, dials and reasons: exactly k, what was asked for, and why."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from recsys import Recommender
from recsys.errors import ColdUserError
from recsys.search.approximate import AnnoyIndex, best_of
from recsys.search.diversity import diversify
from recsys.search.exact import ExactIndex, unit_length

K = 10


@pytest.fixture(scope="module", params=["exact", "annoy"])
def either(request, sample, sample_items):
    """The same model with either index."""
    settings = {"calibrate": False, "epochs": 5, "vector_size": 32, "half_life": 3.0}
    settings |= {"popularity_weight": 0.5, "stale_popularity_weight": 1.0}
    return Recommender(**settings, index=request.param).fit(sample, sample_items)


def best(model, user, allowed, k=K):
    """What the whole ranking says, cut down afterwards."""
    ranking = model.recommend_many(len(model.items), users=[user])
    ids = ranking["item_id"].to_numpy()
    return ids[np.isin(ids, list(allowed))][:k].tolist()


def ids_of(items, rows):
    return set(items["item_id"][rows])


@pytest.mark.parametrize("share", [0.002, 0.01, 0.1, 0.5, 1.0])
def test_exactly_k_of_any_allow_list(either, share):
    user, items = either.users[3], either.items
    rng = np.random.default_rng(1)
    allowed = rng.choice(items, max(1, int(share * len(items))), replace=False)
    expected = best(either, user, set(allowed.tolist()))
    for form in (allowed, allowed.tolist(), set(allowed.tolist()), iter(allowed)):
        found = either.recommend(user, K, allow=form)
        assert found.item_ids.tolist() == expected
    unseen = set(allowed.tolist()) - set(
        either._tables.item_ids[either._tables.watched.items_of(3)].tolist()
    )
    assert len(found) == min(K, len(unseen))


@pytest.mark.parametrize(
    "where",
    ["year >= 1990", "'Comedy' in genres", "year < 1970 and 'Drama' not in genres", "year == 0"],
)
def test_where_as_text_as_a_series_and_as_an_allow_list_are_one(either, sample_items, where):
    by_id = sample_items.set_index("item_id")
    year, genres = by_id["year"].astype("float64"), by_id["genres"]
    holds = {
        "year >= 1990": year >= 1990,
        "'Comedy' in genres": genres.map(lambda entries: "Comedy" in entries),
        "year < 1970 and 'Drama' not in genres": (year < 1970)
        & ~genres.map(lambda entries: "Drama" in entries),
        "year == 0": year == 0,
    }[where].astype(bool)
    allowed = holds.index[holds]
    for user in either.users[:5]:
        expected = best(either, user, set(allowed))
        assert either.recommend(user, K, where=where).item_ids.tolist() == expected
        assert either.recommend(user, K, where=holds).item_ids.tolist() == expected
        assert either.recommend(user, K, allow=allowed).item_ids.tolist() == expected
    many = either.recommend_many(K, users=either.users[:5], where=where)
    assert many["item_id"].isin(allowed).all()
    assert many.query("user_id == @user")["item_id"].tolist() == expected


def test_filters_go_together_and_watched_items_stay_out(either, sample_items):
    user = either.users[0]
    watched = either._tables.item_ids[either._tables.watched.items_of(0)]
    old = ids_of(sample_items, sample_items["year"].astype("float64") < 1990)
    first = either.recommend(user, 5, where="year < 1990").item_ids.tolist()
    found = either.recommend(user, 500, where="year < 1990", block=first, allow=list(old)[::2])
    left = set(list(old)[::2]) - set(first) - set(watched.tolist())
    assert set(found.item_ids.tolist()) == left & set(either.items.tolist())
    again = either.recommend(user, 500, where="year < 1990", watched=True).item_ids
    assert set(again.tolist()) == old & set(either.items.tolist())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "yaer > 1"}, "no column 'yaer'"),
        ({"where": pd.Series([True, False])}, "index holds item ids|by item id"),
        ({"where": pd.Series([1.5], index=pd.Index([1], name="item_id"))}, "boolean"),
        ({"where": 5}, "where must be an expression"),
        ({"popularity": -1}, "popularity must be"),
        ({"popularity": float("nan")}, "popularity must be"),
        ({"diversity": 1.5}, "diversity must lie"),
        ({"diversity": float("nan")}, "diversity must lie"),
    ],
)
def test_bad_controls_are_refused(either, options, message):
    for call in (
        lambda: either.recommend(either.users[0], **options),
        lambda: either.recommend_for(either.items[:3], **options),
        lambda: either.recommend_many(**options),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_where_needs_a_table_of_items(sample):
    model = Recommender(calibrate=False, epochs=1, vector_size=8, index="exact").fit(sample)
    with pytest.raises(ValueError, match="give `fit` a table of items"):
        model.recommend(model.users[0], where="year > 1990")


def test_filters_survive_saving(either, tmp_path):
    either.save(tmp_path / "model")
    back = Recommender.load(tmp_path / "model")
    for where in ("year >= 1990", "'Drama' in genres"):
        one, other = (m.recommend(m.users[1], where=where) for m in (either, back))
        assert list(one) == list(other)


# ---- dials


def test_popularity_0_is_pure_taste_and_more_is_more_popular(either):
    counts = dict(zip(either.items.tolist(), either._tables.counts.tolist(), strict=True))
    means = []
    for dial in (0, 0.5, 1, 2, 8):
        found = either.recommend_many(K, users=either.users[:50], popularity=dial)
        means.append(found["item_id"].map(counts).mean())
    assert means == sorted(means)
    assert means[0] < means[-1]
    tasteful = Recommender(
        **either.params | {"popularity_weight": 0.0, "stale_popularity_weight": 0.0}
    )
    tasteful._tables, tasteful._about = either._tables, either._about
    tasteful._open(either._tables)
    user = either.users[2]
    assert list(tasteful.recommend(user)) == list(either.recommend(user, popularity=0))
    assert list(either.recommend(user, popularity=1)) == list(either.recommend(user))


def distance(model, ids):
    unit = unit_length(np.array([model.item_vector(i) for i in ids]))
    return 1 - (unit @ unit.T)[np.triu_indices(len(ids), 1)].mean()


def test_diversity_spreads_the_list_and_0_leaves_it(either):
    users = either.users[:20]
    spread = [
        np.mean([distance(either, either.recommend(u, K, diversity=d).item_ids) for u in users])
        for d in (0, 0.3, 0.6, 1.0)
    ]
    assert spread == sorted(spread)
    assert spread[-1] > spread[0] + 0.1
    for user in users[:3]:
        plain, varied = either.recommend(user, K), either.recommend(user, K, diversity=0.5)
        assert list(either.recommend(user, K, diversity=0)) == list(plain)
        assert varied.item_ids[0] == plain.item_ids[0]
        assert len(set(varied.item_ids.tolist())) == K
        many = either.recommend_many(K, users=[user], diversity=0.5)
        if either.params["index"] == "exact":
            assert many["item_id"].tolist() == varied.item_ids.tolist()
    assert len(either.recommend(users[0], K, diversity=0.5, allow=either.items[:4])) <= 4


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


def test_what_is_liked_is_as_a_history_in_which_all_is_new(either):
    ids = either.items[[3, 40, 80]].tolist()
    one = either.recommend_for(ids[:1], K)
    assert list(either.recommend_for(liked=ids[:1], k=K)) == list(one)
    liked = either.recommend_for(liked=ids, k=K)
    turned = either.recommend_for(liked=ids[::-1], k=K)
    assert liked.item_ids.tolist() == turned.item_ids.tolist()
    assert liked.item_ids.tolist() != either.recommend_for(ids, K).item_ids.tolist()
    weights = either._item_weights[[3, 40, 80]]
    mean = (weights / weights.sum()) @ np.array([either.item_vector(i) for i in ids])
    query = np.append(mean, [1, either.params["popularity_weight"]])
    expected = either._tables.readout @ query
    by_id = dict(zip(either.items.tolist(), expected, strict=True))
    np.testing.assert_allclose(liked.scores, [by_id[i] for i in liked.item_ids.tolist()], rtol=1e-4)


def test_what_is_disliked_falls_and_is_left_out(either):
    history = either.items[:5].tolist()
    plain = either.recommend_for(history, 50)
    disliked = plain.item_ids[0]
    found = either.recommend_for(history, 50, disliked=[disliked])
    assert disliked not in found.item_ids
    table = either.explain_for(history, plain.item_ids[1], disliked=[disliked])
    assert disliked in table["item_id"].tolist()
    scores = dict(zip(found.item_ids.tolist(), found.scores, strict=True))
    if plain.item_ids[1] in scores:
        np.testing.assert_allclose(
            table["contribution"].sum(), scores[plain.item_ids[1]], rtol=1e-4
        )
    with pytest.raises(ColdUserError):
        either.recommend_for(disliked=history)
    title = plain[0].title
    for row in either.recommend_for(history, 50, disliked=[disliked], reasons=True):
        assert title not in row.reason.split("watched ")[-1].split(" and ")


def test_reasons_are_the_largest_contributions(either):
    user = either.users[1]
    plain, found = either.recommend(user, K), either.recommend(user, K, reasons=True)
    assert all(row.reason is None for row in plain)
    assert found.item_ids.tolist() == plain.item_ids.tolist()
    assert "reason" in repr(found)
    assert "reason" not in repr(plain)
    for row in found:
        table = either.explain(user, row.item_id)
        assert table["share"].abs().sum() == pytest.approx(1)
        assert table["contribution"].sum() == pytest.approx(row.score, rel=1e-4)
        watched = table[table["item_id"].notna()].sort_values("contribution", ascending=False)
        popularity = table.loc[table["item_id"].isna(), "contribution"].item()
        if watched["contribution"].iloc[0] > 0:
            assert f"because you watched {watched['title'].iloc[0]}" in row.reason
        positive = watched["contribution"].clip(lower=0).sum()
        assert row.reason.startswith("popular now") == (popularity > positive)
    by_history = either.recommend_for(either.items[:4].tolist(), 3, reasons=True)
    assert all(row.reason for row in by_history)


# ---- large catalogues


def test_best_of_is_exact_where_few_are_left_and_full_where_many_are():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20_000, 16)).astype(np.float32)
    index, exact = AnnoyIndex(vectors, n_trees=5), ExactIndex(vectors)
    query = rng.normal(size=16).astype(np.float32)
    scores = vectors @ query
    for share in (0.0005, 0.01, 0.3, 0.9, 1.0):
        left = rng.random(20_000) < share
        expected = np.flatnonzero(left)[np.argsort(-scores[left], kind="stable")[:K]]
        assert best_of(exact, query, K, left)[0].tolist() == expected.tolist()
        rows, found = best_of(index, query, K, left)
        assert len(set(rows.tolist())) == len(rows) == min(K, left.sum())
        assert left[rows].all()
        assert (np.diff(found) <= 0).all()
        if left.sum() <= 4000:
            assert rows.tolist() == expected.tolist()
    nothing = best_of(index, query, K, np.zeros(20_000, bool))
    assert [len(part) for part in nothing] == [0, 0]
    few = best_of(index, query, 20_000, left)
    assert len(few[0]) == left.sum()


@pytest.mark.slow
def test_a_filter_that_leaves_a_hundredth_of_a_large_catalogue_costs_at_most_3_times_as_much():
    rng = np.random.default_rng(0)
    n_items, n_events = 87_000, 600_000
    ratings = pd.DataFrame(
        {
            "user_id": rng.integers(0, 5_000, n_events),
            "item_id": np.append(np.arange(n_items), rng.integers(0, n_items, n_events - n_items)),
        }
    )
    items = pd.DataFrame(
        {
            "item_id": np.arange(n_items),
            "year": rng.integers(1920, 2020, n_items),
            "genres": [("A", "B")[i % 2 :] for i in range(n_items)],
        }
    )
    model = Recommender(calibrate=False, epochs=1, vector_size=64, ridge=0).fit(ratings, items)
    allowed = rng.choice(n_items, n_items // 100, replace=False)
    marked = pd.Series(False, pd.Index(np.arange(n_items), name="item_id"))
    marked[allowed] = True
    calls = {
        "none": {},
        "where": {"where": "year == 1999 and 'B' in genres"},
        "Series": {"where": marked},
        "array": {"allow": allowed},
        "list": {"allow": allowed.tolist()},
    }
    seconds = {name: [] for name in calls}
    for user in range(200):
        for name, options in calls.items():
            started = time.perf_counter()
            assert len(model.recommend(user, 10, **options)) == 10
            seconds[name].append(time.perf_counter() - started)
    medians = {name: np.median(times) for name, times in seconds.items()}
    ratios = {name: median / medians["none"] for name, median in medians.items()}
    print({name: round(float(ratio), 2) for name, ratio in ratios.items()})
    assert max(ratios.values()) < 3, ratios
