"""Items that nobody has watched get vectors from their metadata; items come and go."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from recsys import (
    ColdUserError,
    DataError,
    NotFittedError,
    Recommender,
    UnknownItemError,
)
from recsys.data.frames import check_items
from recsys.data.sequences import build_sequences
from recsys.data.splits import split_by_time, time_cases
from recsys.evaluate import evaluate, main
from recsys.model.cold import MIN_ITEMS, PENALTY, feature_matrices, item_features, regress
from recsys.studies.cold_items import measure_cold_items
from tests.conftest import BRIEF
from tests.test_storage import snapshot

TINY = {"vector_size": 8, "epochs": 5, "calibrate": False}
NEW = [8, 16, 20]  # items of the sample that the model of `without` has never seen


def grid(n_items=60, n_users=200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two groups of users, each with its own films, which differ in genre, decade and title."""
    rng = np.random.default_rng(0)
    half = n_items // 2
    views = [(u, half * (u % 2) + i) for u in range(n_users) for i in rng.permutation(half)[:12]]
    colours = np.repeat(["Red", "Blue"], half)
    items = pd.DataFrame(
        {
            "item_id": range(n_items),
            "title": [f"{colour} film {i}" for i, colour in enumerate(colours)],
            "genres": [(colour,) for colour in colours],
            "year": np.where(colours == "Red", 1975, 1995),
        }
    )
    return pd.DataFrame(views, columns=["user_id", "item_id"]), items


ONE_OF_EACH = pd.DataFrame(
    {"item_id": [100, 7000], "title": ["Red film", "Blue film"], "genres": [("Red",), ("Blue",)],
     "year": [1975, 1995]}
)  # fmt: skip


@pytest.fixture(scope="module")
def without(sample, sample_items):
    """A model of the sample without the ratings of some items, whose metadata are known."""
    return Recommender(**BRIEF).fit(sample[~sample["item_id"].isin(NEW)], sample_items)


@pytest.fixture
def fresh(without, tmp_path):
    """The same, to be changed."""
    without.save(tmp_path / "fresh")
    return Recommender.load(tmp_path / "fresh")


@pytest.fixture
def newcomers(sample_items):
    return sample_items[sample_items["item_id"].isin(NEW)]


def saved(model, folder):
    model.save(folder)
    return snapshot(folder)


# ---- features and regression


def test_features_are_genres_words_further_texts_and_lists_and_a_year_between_decades():
    items = check_items(
        pd.DataFrame(
            {"item_id": [1, 2], "title": ["Star Wars: Star", None], "genres": ["War|Space", ""],
             "year": [1977, None], "tags": [["droids", "far away"], []], "director": ["Lucas", ""],
             "minutes": [121, 90]}
        )
    )  # fmt: skip
    full, empty = item_features(items)
    assert empty == {}
    assert full == {
        "title=star": 1, "title=wars": 1, "genres=War": 1, "genres=Space": 1,
        "year=1970": pytest.approx(0.3), "year=1980": 0.7, "tags=droids": 1, "tags=far away": 1,
        "director=lucas": 1,
    }  # fmt: skip


def test_a_feature_counts_only_where_two_watched_items_have_it():
    items = check_items(
        pd.DataFrame({"item_id": range(4), "title": ["a b", "a c", "a d", "c e"], "year": None})
    )
    assert MIN_ITEMS == 2
    watched, new = feature_matrices(items.iloc[:3], items.iloc[3:])
    assert watched.toarray().tolist() == [[1], [1], [1]]
    assert new.getnnz() == 0


def test_the_regression_is_scikit_learns_weighted_one_but_for_a_hardly_penalised_intercept():
    rng = np.random.default_rng(0)
    _, items = grid(2000)
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


@pytest.mark.parametrize("scoring", ["input-output", "cosine"])
def test_an_item_lands_in_the_cluster_that_its_metadata_are_of(scoring):
    views, items = grid(240, 400)
    more = ONE_OF_EACH.assign(item_id=[1000, 7000])
    model = Recommender(**TINY, scoring=scoring).fit(views, items).add_items(more)
    assert model.cold_items.tolist() == [1000, 7000]
    for item, first in ((1000, 0), (7000, 120)):
        near = model.similar_items(item, k=20).item_ids
        assert np.isin(near, range(first, first + 120)).mean() >= 0.9
    for user in range(10):
        ranked = model.recommend(user, allow=model.cold_items)
        assert ranked.item_ids.tolist() == ([7000, 1000] if user % 2 else [1000, 7000])
        assert ranked.cold.all()


def test_what_was_there_stays_as_it_was(without, fresh, newcomers):
    fresh.add_items(newcomers)
    assert fresh.items.tolist() == sorted([*without.items.tolist(), *NEW])
    for item in without.items[::50]:
        for space in ("input", "output"):
            assert np.array_equal(fresh.item_vector(item, space), without.item_vector(item, space))
    for user in without.users[::25]:
        assert np.array_equal(fresh.user_vector(user), without.user_vector(user))
        before = list(without.recommend(user, k=30))
        after = list(fresh.recommend(user, k=30, block=NEW))
        assert [r[1:] for r in after] == [r[1:] for r in before]


def test_a_cold_item_is_served_explained_compared_and_part_of_a_history(fresh, newcomers):
    fresh.add_items(newcomers)
    user = fresh.users[3]
    everything = fresh.recommend(user, k=len(fresh.items))
    assert set(everything.item_ids[everything.cold]) == set(NEW)
    assert fresh.popular(len(fresh.items))[-1].score == 0
    score = next(r.score for r in everything if r.item_id == NEW[0])
    assert fresh.explain(user, NEW[0])["contribution"].sum() == pytest.approx(score, abs=1e-4)
    title = newcomers.set_index("item_id")["title"][NEW[0]]
    assert (
        fresh.similar_items(title, k=3).item_ids.tolist()
        == fresh.similar_items(NEW[0], k=3).item_ids.tolist()
    )
    by_history = fresh.recommend_for(NEW, k=5)
    assert np.isfinite(by_history.scores).all()
    assert not by_history.cold.any()
    for space in ("input", "output"):
        assert np.isfinite(fresh.item_vector(NEW[1], space)).all()


def test_lists_mark_what_is_cold_and_only_then(fresh, newcomers):
    plain = fresh.recommend(fresh.users[0], k=5)
    assert "cold" not in plain.to_frame()
    assert not plain.cold.any()
    fresh.add_items(newcomers)
    mixed = fresh.recommend(fresh.users[0], allow=[NEW[0], *plain.item_ids.tolist()], k=20)
    assert mixed.to_frame()["cold"].tolist() == [r.item_id == NEW[0] for r in mixed]
    marked = [line for line in repr(mixed).splitlines() if line.endswith("  cold")]
    assert len(marked) == 1
    assert f" {NEW[0]} " in marked[0]
    assert mixed._repr_html_().count("<td>cold</td>") == 1
    assert mixed[0]._fields == ("rank", "item_id", "title", "score", "reason")
    assert "cold" not in fresh.recommend(fresh.users[0], block=NEW).to_frame()


def test_saving_keeps_it_and_the_same_items_in_any_order_give_the_same_bytes(
    without, fresh, newcomers, tmp_path
):
    without.save(tmp_path / "other")
    other = Recommender.load(tmp_path / "other").add_items(newcomers[::-1])
    one = saved(fresh.add_items(newcomers), tmp_path / "one")
    assert saved(other, tmp_path / "two") == one
    loaded = Recommender.load(tmp_path / "one")
    assert loaded.cold_items.tolist() == NEW
    for user in loaded.users[:5]:
        assert list(loaded.recommend(user)) == list(fresh.recommend(user))
    assert saved(loaded, tmp_path / "three") == one


def test_items_may_be_added_in_turns(fresh, newcomers, tmp_path):
    """Cold items are not learned from, so that turns are as good as all at once."""
    for row in range(3):
        fresh.add_items(newcomers.iloc[[row]])
    turns = {item: fresh.item_vector(item) for item in NEW}
    fresh.remove_items(NEW).add_items(newcomers)
    for item in NEW:
        assert_allclose(fresh.item_vector(item), turns[item], rtol=1e-5)


def test_text_ids_and_further_columns_of_either_frame_are_taken(tmp_path):
    views, items = grid()
    views, items = views.astype("str"), items.assign(item_id=items["item_id"].astype("str"))
    model = Recommender(**TINY, index="exact").fit(views, items.assign(studio=3.5))
    more = ONE_OF_EACH.assign(item_id=["x", "1b"], tags=[("warm",), ()], studio="Ealing")
    model.add_items(more).save(tmp_path)
    assert Recommender.load(tmp_path).cold_items.tolist() == ["1b", "x"]
    assert model.recommend("0", allow=["x", "1b"]).item_ids.tolist() == ["x", "1b"]


# ---- what cannot be added


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"title": ["A"]}), "item_id"),
        (pd.DataFrame({"item_id": []}), "no items"),
        (ONE_OF_EACH.assign(item_id=5), "there already"),
        (ONE_OF_EACH.assign(item_id=["a", "b"]), "item ids are numbers, those of the new items te"),
        (ONE_OF_EACH.assign(item_id=[100, 2**63]), "9223372036854775808 is none of the model's"),
        (ONE_OF_EACH.assign(item_id=[100, 4]), "item 4 is in the model already"),
        (ONE_OF_EACH.assign(item_id=[3, 4]), "items 3, 4 are in the model already"),
        (pd.DataFrame({"item_id": [100, 101], "title": ["Red", "?"]}), "item 101 is of no use"),
        (pd.DataFrame({"item_id": [100], "colour": ["Red"]}), "item 100 is of no use"),
    ],
)
def test_bad_items_are_an_error_of_one_line_and_change_nothing(frame, message, tmp_path):
    views, items = grid(20, 20)
    model = Recommender(**TINY, index="exact").fit(views, items)
    before = saved(model, tmp_path / "before")
    with pytest.raises(DataError, match=message) as error:
        model.add_items(frame)
    assert "\n" not in str(error.value)
    assert saved(model, tmp_path / "after") == before


def test_a_model_without_metadata_says_what_to_do(sample):
    model = Recommender(**TINY, index="exact").fit(sample)
    assert model.cold_items.tolist() == []
    with pytest.raises(DataError, match=r"fit\(ratings, items\)"):
        model.add_items(ONE_OF_EACH)
    for change in (lambda m: m.add_items(ONE_OF_EACH), lambda m: m.remove_items([1])):
        with pytest.raises(NotFittedError):
            change(Recommender())


def test_when_indexing_fails_the_model_stays_as_it_was(fresh, newcomers, monkeypatch, tmp_path):
    before = saved(fresh, tmp_path / "before")

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("recsys.recommender.build_annoy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fresh.add_items(newcomers)
    with pytest.raises(KeyboardInterrupt):
        fresh.remove_items([50])
    assert len(fresh.recommend(fresh.users[0])) == 10
    assert saved(fresh, tmp_path / "after") == before


# ---- removed items


def test_removed_items_never_come_back_and_speak_for_nothing(fresh, sample, tmp_path):
    user = fresh.users[3]
    gone = [*fresh.recommend(user, k=3).item_ids, *sample.loc[sample["user_id"] == user, "item_id"]]
    gone = [item for item in gone[:8] if item in fresh.items]
    n_items, history = len(fresh.items), fresh.explain(user, fresh.items[-1])["item_id"]
    assert fresh.remove_items(gone) is fresh
    assert len(fresh.items) == n_items - len(set(gone))
    fresh.save(tmp_path / "left")
    for model in (fresh, Recommender.load(tmp_path / "left")):
        for someone in model.users[:20]:
            everything = model.recommend(someone, k=n_items, watched=True)
            assert len(everything) == len(fresh.items)
            assert not np.isin(everything.item_ids, gone).any()
        assert not np.isin(model.popular(n_items).item_ids, gone).any()
        left = model.explain(user, model.items[-1])["item_id"]
        assert set(left) == set(history) - set(gone)
        with pytest.raises(UnknownItemError):
            model.item_vector(gone[0])


def test_a_user_vector_is_that_of_the_items_that_are_left(fresh, without):
    user = fresh.users[5]
    rows = without._tables.histories.items_of(5)
    history = without.items[rows].tolist()
    gone = history[-1]
    left = [item for item in history if item != gone]
    assert 0 < len(left) < len(history)
    fresh.remove_items([gone])
    assert_allclose(fresh.recommend(user).scores[0] * 0, 0)
    rows, weights = fresh._taste(fresh._tables.item_rows(left))
    expected = (weights[:, None] * fresh._tables.vectors[rows]).sum(axis=0)
    assert np.array_equal(expected, fresh.user_vector(user))


def test_who_has_nothing_left_is_cold():
    views = pd.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [10, 20, 20, 30, 30]})
    model = Recommender(**TINY, index="exact").fit(views).remove_items([30])
    assert model.recommend(2, watched=True).item_ids.tolist() != []
    with pytest.raises(ColdUserError):
        model.recommend(3)
    assert model.recommend(3, fallback="popularity").item_ids.tolist() == [20, 10]
    assert model.users.tolist() == [1, 2, 3]


def test_an_unknown_item_or_the_last_one_cannot_be_removed(fresh, tmp_path):
    before = saved(fresh, tmp_path / "before")
    with pytest.raises(UnknownItemError, match="unknown item 10000000"):
        fresh.remove_items([50, 10_000_000])
    with pytest.raises(ValueError, match="at least one item"):
        fresh.remove_items(fresh.items)
    assert saved(fresh, tmp_path / "after") == before
    assert saved(fresh.remove_items([]), tmp_path / "none") == before


def test_disliked_items_stay_apart_from_the_history(sample, sample_items):
    liked = Recommender(**BRIEF, min_rating=4).fit(sample, sample_items)
    user = liked.users[0]
    watched = [item for item in sample.loc[sample["user_id"] == user, "item_id"]
               if item in liked.items]  # fmt: skip
    liked.remove_items(watched[:2])
    everything = liked.recommend(user, k=len(liked.items)).item_ids
    assert set(everything) == set(liked.items) - set(watched)


def test_an_item_can_go_and_come_back_as_one_that_nobody_has_watched(fresh, sample_items):
    users = [int(u) for u in fresh.users[:30]]
    fresh.remove_items([50]).add_items(sample_items[sample_items["item_id"] == 50])
    assert fresh.cold_items.tolist() == [50]
    for user in users:
        assert 50 in fresh.recommend(user, k=len(fresh.items)).item_ids
    assert fresh.remove_items([50]).cold_items.tolist() == []


# ---- on ml-100k


def test_a_hundred_films_of_ml_100k_are_found_by_their_metadata(ml_100k, ml_100k_items):
    """Films left out of training are ranked for their viewers far better than at random."""
    left_out = np.arange(7, 1683, 16)
    hidden = ml_100k["item_id"].isin(left_out)
    model = Recommender(**BRIEF | {"vector_size": 32, "epochs": 5}, index="exact")
    model.fit(ml_100k[~hidden], ml_100k_items)
    model.add_items(ml_100k_items[ml_100k_items["item_id"].isin(left_out)])
    later = ml_100k[hidden].groupby("user_id")["item_id"].agg(set)
    hits = [
        len(later[user] & set(model.recommend(user, allow=left_out).item_ids)) / len(later[user])
        for user in later.index[::3]
    ]
    assert np.mean(hits) > 2 * 10 / len(left_out)


# ---- evaluation


@pytest.fixture(scope="module")
def report(ml_100k, ml_100k_items):
    """An evaluation with no opponents, which take long and have nothing to do with it."""
    quick = {"vector_size": 32, "epochs": 5, "half_life": 2.0, "calibrate": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.evaluation.run.opponents", lambda *args, **kwargs: ({}, {}))
        return evaluate(ml_100k, ml_100k_items, params=quick, cold_items=True)


def test_cold_items_are_all_that_training_has_never_seen(report, ml_100k):
    split = split_by_time(ml_100k)
    unseen = set(split.validation["item_id"]) - set(split.train["item_id"])
    for protocol, found in report["cold_items"].items():
        without_vector = report["protocols"][protocol]["n_targets_without_vector"]
        assert found["n_targets"] == without_vector > 0
        assert found["n_cold_items"] == len(unseen)
        assert 0 < found["n_users"] <= found["others"]["n_users"]


def test_cold_items_are_found_above_the_random_floor(report):
    found = report["cold_items"]["fold-in"]
    models = found["alone"]["models"]
    assert list(models) == ["item2vec", "random", "genre-popularity", "own-genres"]
    assert found["alone"]["differences"]["random"]["recall@20"]["ci95"][0] > 0
    share = 20 / found["n_cold_items"]
    assert models["random"]["recall@20"]["mean"] == pytest.approx(share, abs=0.12)
    for name, values in models.items():
        whole = found["whole"]["models"][name]
        for k in (10, 20, 50):
            low, high = values[f"recall@{k}"]["ci95"]
            assert low <= values[f"recall@{k}"]["mean"] <= high
            assert whole[f"recall@{k}"]["mean"] <= values[f"recall@{k}"]["mean"]
    others = found["others"]
    without, beside = (others[name]["recall@20"]["mean"] for name in ("without", "with"))
    assert others["difference"]["recall@20"]["mean"] == pytest.approx(beside - without)


def test_recall_of_what_is_known_is_that_of_the_main_table_where_nothing_is_cold(report):
    """Of users without a cold item to find, the recall without cold items is the reported one."""
    main_table = report["protocols"]["fold-in"]["models"]["item2vec"]["recall@20"]["mean"]
    others = report["cold_items"]["fold-in"]["others"]["without"]["recall@20"]["mean"]
    assert main_table < others < main_table * 1.1


def test_the_table_is_printed(report):
    from recsys.evaluation.report import as_text

    text = as_text(report)
    assert "cold items, fold-in" in text
    assert "own-genres" in text
    assert max(map(len, text.splitlines())) <= 115


def test_cold_items_have_conditions(sample, sample_items, capsys):
    with pytest.raises(DataError, match="needs a table of items"):
        evaluate(sample, cold_items=True)
    for options in ({"split": "last-out"}, {"cutoffs": [0.7, 0.8]}):
        with pytest.raises(ValueError, match="one split by time"):
            evaluate(sample, sample_items, cold_items=True, **options)
    assert main(["--cold-items", "--split", "last-out", "--data", "sample"]) == 1
    assert "one split by time" in capsys.readouterr().err


def test_where_everything_was_seen_there_is_nothing_to_measure(model, sample, sample_items):
    known = sample_items[sample_items["item_id"].isin(model.items)]
    with pytest.raises(DataError, match="no cold items"):
        measure_cold_items(model, known, {}, build_sequences(sample), [10])


def test_a_cold_item_that_the_table_lacks_is_a_miss(without, sample, sample_items):
    cases = time_cases(sample, split_by_time(sample).cutoff)["fold-in"]
    asked = np.isin(cases.targets.item_ids[cases.targets.codes], NEW)
    train = build_sequences(sample[~sample["item_id"].isin(NEW)])
    all_three, one = (
        measure_cold_items(
            without,
            sample_items[sample_items["item_id"].isin([*without.items, *new])],
            {"fold-in": cases},
            train,
            [3],
        )["fold-in"]
        for new in (NEW, NEW[:1])
    )
    assert all_three["n_targets"] == one["n_targets"] == asked.sum()
    assert (all_three["n_cold_items"], one["n_cold_items"]) == (3, 1)
    recalls = [
        found["alone"]["models"]["item2vec"]["recall@3"]["mean"] for found in (all_three, one)
    ]
    assert recalls[0] == 1 > recalls[1] > 0


# ---- together with update


def test_cold_and_removed_items_stay_so_until_somebody_watches_them(sample, sample_items, tmp_path):
    ids = sample_items["item_id"].tolist()
    late = sample["timestamp"].max() + pd.Timedelta(days=1)
    model = Recommender(calibrate=False, epochs=2, vector_size=16, index="exact")
    first, second, gone = ids[3], ids[40], ids[70]
    known = sample.drop(columns="rating")[~sample["item_id"].isin([first, second])]
    model.fit(known, sample_items)
    model.add_items(sample_items[sample_items["item_id"].isin([first, second])])
    assert model.cold_items.tolist() == [first, second]
    model.remove_items([gone])
    model.save(tmp_path / "model")
    model = Recommender.load(tmp_path / "model")
    user = model.users[0]
    news = pd.DataFrame({"user_id": [user, -5], "item_id": [first, first], "timestamp": late})
    model.update(news)
    assert model.cold_items.tolist() == [second]
    assert gone not in model.items
    assert model._tables.counts[model._tables.item_row(first)] == 2
    assert model.recommend(user, 10, allow=[second]).item_ids.tolist() == [second]
    assert model.recommend_for([second], 5).item_ids.size == 5
    model.update(news.assign(item_id=gone))
    assert gone in model.items
    again = Recommender(**model.params).fit(
        pd.concat([known[known["item_id"] != gone], news, news.assign(item_id=gone)]), sample_items
    )
    warm = ~model._tables.is_cold
    assert model._tables.counts[warm].tolist() == again._tables.counts.tolist()
