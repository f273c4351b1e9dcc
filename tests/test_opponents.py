import logging

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from recsys import Recommender
from recsys.data.sequences import build_sequences
from recsys.data.splits import Cases, calibration_split
from recsys.evaluation import opponents as module
from recsys.evaluation.baselines import HALF_LIFE, item_knn, markov, plus_popularity, user_to_user
from recsys.evaluation.opponents import Choice, Opponent, Part, Slice, choose, opponents

DAY = 24 * 60 * 60
NAMES = ["popularity", "recent-popularity", "item-knn", "svd", "ease", "markov", "random"]
HISTORY = ["item-knn", "svd", "ease", "markov"]


def frame(users, items, days):
    return pd.DataFrame({
        "user_id": users, "item_id": items,
        "timestamp": pd.to_datetime([int(d * DAY) for d in days], unit="s", utc=True),
    })  # fmt: skip


def rank(contender, histories):
    nothing = histories.where(np.zeros(len(histories.codes), bool))
    cases = Cases(histories, nothing, nothing, np.zeros(len(histories)))
    return contender.rank(cases.recode(contender.item_ids))


@pytest.fixture(scope="module")
def where(sample):
    return Slice.of(sample, None)


@pytest.fixture(scope="module")
def chosen(sample):
    return opponents(sample, None, k=10)


# ---- what is popular


def test_recent_counts_reach_back_from_the_cutoff():
    part = Part.of(frame([1, 1, 2, 2, 3], [5, 6, 5, 6, 6], [0, 60, 65, 69, 85]),
                   pd.Timestamp(95 * DAY, unit="s", tz="UTC"))  # fmt: skip
    assert {days: counts.tolist() for days, counts in part.recent.items()} == {
        30: [1, 2], 7: [0, 0], None: [2, 3]}  # fmt: skip


def test_without_a_cutoff_now_is_the_end_of_training_and_without_times_all_is_recent():
    views = frame([1, 1, 2, 2, 3], [5, 6, 5, 6, 6], [0, 50, 54, 59, 85])
    assert Part.of(views, None).recent[30].tolist() == [0, 2]
    assert list(Part.of(views.drop(columns="timestamp"), None).recent) == [None]


# ---- choosing


def knows(column):
    """A fit that scores the items whose number ends in `column` above all others."""

    def fit(train, *, ending=0):
        wanted = np.array([item % 10 == ending for item in train.item_ids], dtype=np.float32)

        def score(histories, half_life=HALF_LIFE):
            return np.tile(wanted if half_life == column else -wanted, (len(histories), 1))

        return score

    return fit


def test_the_setting_and_the_half_life_with_the_highest_recall_are_chosen(where):
    settings = [{"ending": ending} for ending in range(10)]
    recalls = {}
    for half_life in module.HALF_LIVES:
        [choice] = choose(Opponent(knows(half_life), settings), where)
        tried = {
            (one["ending"], h): where.recall(
                lambda histories, one=one, h=h, half_life=half_life: knows(half_life)(
                    where.part.sequences, **one
                )(histories, half_life=h)
            )
            for one in settings
            for h in module.HALF_LIVES
        }
        assert choice.recall == max(tried.values())
        assert tried[choice.settings["ending"], choice.half_life] == choice.recall
        recalls[half_life] = choice.recall
    assert len(set(recalls.values())) == 1


def test_recall_is_the_mean_over_protocols_of_the_mean_over_users(where):
    score = item_knn(where.part.sequences)
    means = []
    for cases in where.cases.values():
        cases = cases.recode(np.union1d(cases.histories.item_ids, where.part.sequences.item_ids))
        total = 0.0
        for user in range(len(cases)):
            one = cases.take_users(np.array([user]))
            known = one.recode(where.part.sequences.item_ids)
            if len(known.histories.codes) == 0:
                continue
            scores = score(known.histories)[0]
            scores[known.watched.codes] = -np.inf
            best = np.argsort(-scores, kind="stable")[:20]
            found = np.isin(where.part.sequences.item_ids[best],
                            one.targets.item_ids[one.targets.codes])  # fmt: skip
            total += found.sum() / len(one.targets.codes)
        means.append(total / len(cases))
    assert len(means) == 2
    assert where.recall(score) == pytest.approx(np.mean(means))


def test_among_equals_the_default_is_chosen(where):
    def fit(train, *, unread=0):
        return lambda histories, half_life=None: np.zeros(
            (len(histories), len(train.item_ids)), np.float32
        )

    choices = choose(Opponent(fit, [{"unread": 7}, {"unread": 8}]), where)
    assert [(c.settings, c.half_life) for c in choices] == [({"unread": 7}, HALF_LIFE)]


def test_on_a_large_catalogue_nothing_is_fitted_twice(where, monkeypatch):
    fitted = []

    def fit(train, *, shrinkage):
        fitted.append(shrinkage)
        return item_knn(train, shrinkage=shrinkage)

    opponent = Opponent(fit, [{"shrinkage": 5.0}, {"shrinkage": 1.0}])
    monkeypatch.setattr(module, "SEARCH_LIMIT", len(where.part.sequences.item_ids))
    choose(opponent, where)
    monkeypatch.setattr(module, "SEARCH_LIMIT", len(where.part.sequences.item_ids) - 1)
    choose(opponent, where)
    assert fitted == [5.0, 1.0, 5.0]


def test_popularity_is_chosen_for_the_settings_that_were_chosen_without_it(where):
    plain, popular = choose(Opponent(markov, [{}]), where, with_popularity=True)
    assert plain == choose(Opponent(markov, [{}]), where)[0]
    assert (popular.settings, popular.half_life) == (plain.settings, plain.half_life)
    score, recent = markov(where.part.sequences), where.part.recent
    recalls = {
        (days, weight): where.recall(
            plus_popularity(
                lambda histories: score(histories, half_life=plain.half_life),
                recent[days], recent[None], weight=weight,
            )
        )
        for days in (30, 7, None)
        for weight in module.WEIGHTS
    }  # fmt: skip
    assert len(set(recalls.values())) > 5
    assert popular.recall == recalls[popular.days, popular.weight] == max(recalls.values())


def test_a_large_slice_is_sampled_the_same_each_time(sample, where, monkeypatch):
    monkeypatch.setattr("recsys.data.splits.MAX_USERS", 40)
    first, again = Slice.of(sample, None), Slice.of(sample, None)
    for name, cases in first.cases.items():
        users = cases.targets.user_ids
        assert len(users) == 40
        assert_array_equal(users, again.cases[name].targets.user_ids)
        assert set(users) < set(where.cases[name].targets.user_ids)


def test_the_slice_is_the_one_for_calibration(sample, where):
    train, protocols, cutoff = calibration_split(sample)
    assert list(where.cases) == list(protocols) == ["warm", "fold-in"]
    for name, cases in protocols.items():
        assert_array_equal(where.cases[name].targets.codes, cases.targets.codes)
    assert_array_equal(where.part.sequences.codes, build_sequences(train).codes)
    assert_array_equal(where.part.recent[7], Part.of(train, cutoff).recent[7])
    assert len(where.part.sequences.codes) < 0.9 * len(sample)


# ---- all of them


def test_everyone_is_fitted_on_all_of_the_training_part_with_what_was_chosen(sample, chosen):
    contenders, report = chosen
    assert list(contenders) == NAMES
    assert list(report) == NAMES[1:-1]
    train = build_sequences(sample)
    half_life = report["markov"]["settings"]["half_life"]
    scores = markov(train)(train, half_life=half_life)
    rows, best = rank(contenders["markov"], train)
    assert_array_equal(np.take_along_axis(scores, rows, axis=1), best)
    assert {name: set(report[name]["settings"]) for name in HISTORY} == {
        "item-knn": {"half_life", "shrinkage"}, "svd": {"half_life", "n_components"},
        "ease": {"half_life", "penalty"}, "markov": {"half_life"},
    }  # fmt: skip
    assert all(0 < report[name]["recall@20"] < 1 for name in report)


@pytest.fixture
def neighbours(sample, monkeypatch):
    """A model of the sample, and how its user vectors take part."""
    monkeypatch.setattr(module, "OPPONENTS", {})
    model = Recommender(vector_size=8, epochs=2, half_life=2.0, calibrate=False).fit(sample)
    contenders, report = opponents(sample, None, k=10, neighbours_of=model)
    return model, contenders["user-to-user"], report["user-to-user"]


def test_user_to_user_votes_by_the_models_user_vectors(sample, neighbours):
    model, contender, chosen = neighbours
    vectors = np.array([model.user_vector(user) for user in model.users])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors[3]
    nearest = model.users[np.argsort(-cosines)[: chosen["settings"]["n_neighbours"]]]
    expected = np.zeros(len(model.items))
    for user, items in sample.groupby("user_id")["item_id"]:
        if user in nearest:
            watched = np.searchsorted(model.items, items.unique())
            expected[watched] += cosines[model.users.tolist().index(user)]
    rows, scores = rank(contender, build_sequences(sample).take_users(np.array([3])))
    assert scores[0] == pytest.approx(np.sort(expected)[::-1][:10], rel=1e-4)
    assert expected[rows[0]] == pytest.approx(scores[0], rel=1e-4)


def test_the_number_of_neighbours_is_chosen_on_the_slice_alone(sample, where, neighbours):
    model, _, chosen = neighbours
    earlier = Recommender(**model.params).fit(calibration_split(sample)[0])
    recalls = {
        n: where.recall(user_to_user(where.part.sequences, earlier.pooled, n_neighbours=n))
        for n in module.NEIGHBOURS
    }
    assert len(set(recalls.values())) > 3
    assert chosen["recall@20"] == max(recalls.values())
    assert recalls[chosen["settings"]["n_neighbours"]] == max(recalls.values())


def test_user_to_user_knows_the_items_that_have_a_vector(sample, monkeypatch):
    monkeypatch.setattr(module, "OPPONENTS", {})
    views = sample.head(4000)
    model = Recommender(vector_size=4, epochs=1, min_count=5, calibrate=False).fit(views)
    contenders, _ = opponents(views, None, k=2, neighbours_of=model)
    assert_array_equal(contenders["user-to-user"].item_ids, model.items)
    assert len(model.items) < len(contenders["popularity"].item_ids)


def test_only_those_without_a_need_of_history_serve_everybody(chosen):
    serve = {name for name, contender in chosen[0].items() if not contender.needs_history}
    assert serve == {"popularity", "recent-popularity", "random"}


def test_too_little_data_leaves_the_defaults_and_says_so(caplog):
    caplog.set_level(logging.INFO)
    views = frame([1, 1, 2, 2, 3], [5, 6, 5, 6, 6], range(5))
    contenders, report = opponents(views, None, k=2)
    assert list(contenders) == NAMES
    for name, one in report.items():
        assert one["recall@20"] is None
        if name in HISTORY:
            assert one["settings"] == {
                "half_life": HALF_LIFE, **module.OPPONENTS[name].settings[0]}  # fmt: skip
    assert "the opponents have their default settings" in caplog.text


def test_without_times_there_is_no_recent_popularity(sample):
    contenders, report = opponents(sample.head(3000).drop(columns="timestamp"), None, k=2)
    assert list(contenders) == [name for name in NAMES if name != "recent-popularity"]
    assert list(report) == HISTORY


def test_ease_is_left_out_by_name_above_its_limit(sample, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    views = sample.head(1000)
    monkeypatch.setattr(module, "EASE_LIMIT", views["item_id"].nunique() - 1)
    assert "ease" not in opponents(views, None, k=2)[0]
    assert f"ease is left out: more than {module.EASE_LIMIT} items" in caplog.messages


def test_ratings_below_the_least_are_no_interactions(sample):
    contenders, _ = opponents(sample, None, k=2, min_rating=4.0)
    liked = build_sequences(sample[sample["rating"] >= 4])
    assert_array_equal(contenders["popularity"].item_ids, liked.item_ids)
    _, scores = rank(contenders["popularity"], liked.take_users(np.array([0])))
    assert_array_equal(scores[0], np.sort(liked.counts())[::-1][:2])
    where, train = Slice.of(sample, 4.0), calibration_split(sample, min_rating=4.0)[0]
    assert len(where.part.sequences.codes) == (train["rating"] >= 4).sum() < len(train)


def test_peers_bring_popularity_for_everyone(sample):
    pytest.importorskip("implicit")
    contenders, report = opponents(sample.head(4000), None, k=2, with_peers=True)
    names = [
        name + suffix
        for name in (*HISTORY, "als", "bpr", "bm25")
        for suffix in ("", " + popularity")
    ]
    assert list(contenders) == ["popularity", "recent-popularity", *names, "random"]
    for name in names:
        popular = {"popularity_days", "popularity_weight"} & set(report[name]["settings"])
        assert len(popular) == (2 if "+" in name else 0)


def test_a_choice_tells_what_was_chosen():
    assert Choice({"penalty": 1.0}, None, 0.25).as_dict() == {
        "settings": {"half_life": None, "penalty": 1.0}, "recall@20": 0.25}  # fmt: skip
    assert Choice({}, 3.0, 0.25, None, 0.5).as_dict()["settings"] == {
        "half_life": 3.0, "popularity_days": None, "popularity_weight": 0.5}  # fmt: skip
