"""What `evaluate` reports: by hand, by other code, and in the layout that others rely on."""

import copy
import json

import numpy as np
import pandas as pd
import pytest

from recsys import ColdUserError, Recommender, split_by_time
from recsys.data import events as events_module
from recsys.data.events import order_events
from recsys.data.sequences import Sequences
from recsys.evaluate import evaluate
from recsys.evaluation import opponents, run
from recsys.settings import TEXTBOOK

BRIEF = {"epochs": 3, "negative": 5, "vector_size": 16, "half_life": 3.0, "calibrate": False}
TINY = {"epochs": 1, "negative": 5, "vector_size": 4, "index": "exact", "calibrate": False}
KS = (10, 20, 50)
PER_USER = ["mrr", *(f"{m}@{k}" for m in ("recall", "hit_rate", "ndcg", "novelty") for k in KS)]
COVERAGE = [f"coverage@{k}" for k in KS]
BASELINES = ["popularity", "recent-popularity", "item-knn", "svd", "ease", "markov", "random"]
FEW = ["popularity", "recent-popularity", "markov", "random"]


def briefly(ratings, items=None, params=BRIEF, **options):
    """Evaluate with Markov chains for all opponents that are fitted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opponents, "OPPONENTS", {"markov": opponents.OPPONENTS["markov"]})
        return evaluate(ratings, items, params=params, **options)


def frame(rows):
    """Ratings as text: user item rating, one second apart."""
    users, items, stars = zip(*(map(int, row.split()) for row in rows), strict=True)
    return pd.DataFrame(
        {"user_id": users, "item_id": items, "rating": stars, "timestamp": range(1, len(rows) + 1)}
    )


# Eleven ratings, of which the first eight are training. Item 6 comes after it, item 5 has only
# bad ratings, user 3 is new.
LIKES = frame(["2 1 5", "2 2 5", "2 4 5", "4 2 5", "4 3 5", "1 1 5", "1 2 1", "1 3 4",
               "1 4 5", "3 5 1", "1 6 5"])  # fmt: skip


@pytest.fixture(scope="module")
def time_report(sample, sample_items):
    return briefly(sample, sample_items, name="sample")


@pytest.fixture(scope="module")
def last_out_report(sample):
    return briefly(sample, split="last-out")


def item_sets(sequences):
    """User id -> ids of a user's items."""
    items = map(sequences.items_of, range(len(sequences)))
    lists = [sequences.item_ids[codes].tolist() for codes in items]
    return dict(zip(sequences.user_ids.tolist(), lists, strict=True))


# ---- hand-worked


def test_cold_users_and_items_are_counted():
    assert evaluate(LIKES, params=TINY)["split"] == {
        "protocol": "time", "cutoff": "1970-01-01T00:00:09+00:00", "n_train": 8, "n_validation": 3,
        "n_users_warm": 1, "n_users_cold": 1, "share_cold_item_events": 2 / 3,
    }  # fmt: skip
    views = frame(["1 1 1", "1 2 1", "1 3 1", "1 4 1", "2 1 1", "2 2 1", "2 4 1", "3 1 1", "3 2 1"])
    report = evaluate(views, params=TINY, split="last-out")
    # trained on items 1 and 2 of user 1, and 1 of user 2; asked for 4, 4 and 2
    assert report["split"] == {
        "protocol": "last-out", "cutoff": None, "n_train": 3, "n_validation": 3,
        "n_users_warm": 2, "n_users_cold": 1, "share_cold_item_events": 2 / 3,
    }  # fmt: skip
    assert report["protocols"]["last-out"]["n_users"] == 3
    assert report["protocols"]["last-out"]["n_targets_without_vector"] == 2


def test_min_rating_goes_for_training_history_and_relevance_but_not_for_watched(monkeypatch):
    calls, measure = [], run.measure
    monkeypatch.setattr(run, "measure", lambda *asked: calls.append(asked) or measure(*asked))
    evaluate(LIKES, params=TINY | {"min_rating": 4})
    (warm, contenders, train, _), (fold_in, *_) = calls
    assert (train.item_ids.tolist(), train.counts().tolist()) == ([1, 2, 3, 4], [2, 2, 2, 1])
    kinds = ("histories", "watched", "targets")
    assert [item_sets(getattr(warm, kind))[1] for kind in kinds] == [[1, 3], [1, 2, 3], [4, 6]]
    assert [item_sets(getattr(fold_in, kind))[1] for kind in kinds] == [
        [1, 3, 4], [1, 2, 3, 4], [6]]  # fmt: skip
    for contender in contenders.values():
        assert contender.item_ids.tolist() == [1, 2, 3, 4]
        rows, scores = contender.rank(warm.recode(contender.item_ids))
        assert contender.item_ids[rows[scores > -np.inf]].tolist() == [4]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "random"}, "split must be 'time' or 'last-out', got 'random'"),
        ({"ks": []}, "k must be"),
        ({"ks": [10, -1]}, "k must be"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"params": {"window": 0}}, "window"),
        ({"against": ["svd"]}, r"against must be some of \('baselines', 'peers'\), got \('svd',\)"),
        ({"studies": ["dial"]}, "no study is called 'dial'; there are ablation, cold-items, "),
        ({"split": "last-out", "cutoffs": [0.8]}, "cutoffs needs a split by time"),
        ({"split": "last-out", "validation_fraction": 0.2}, "validation_fraction needs a split"),
        ({"cutoffs": [0.8], "validation_fraction": 0.2}, "cutoffs cannot be combined with valid"),
        ({"cutoffs": [0.8, 1.0]}, r"cutoffs must lie in \(0, 1\), got \[0.8, 1.0\]"),
    ],
)
def test_wrong_arguments_are_value_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        evaluate(LIKES, **wrong)


def test_lists_of_any_length_work_on_five_items_with_text_ids_and_either_index():
    ids = {name: name[0] + LIKES[name].astype(str) for name in ("user_id", "item_id")}
    for index in ("annoy", "exact"):
        report = evaluate(LIKES.assign(**ids), params=TINY | {"index": index}, ks=[1, 1000, 1])
        assert report["params"] == Recommender(**TINY | {"index": index}).params
        assert report["ann"]["backend"] == index
        recalls = [m for m in report["protocols"]["warm"]["models"]["svd"] if "recall" in m]
        assert recalls == ["recall@1", "recall@1000"]


# ---- the report


@pytest.mark.parametrize("split", ["time", "last-out"])
def test_report_has_the_layout_of_the_contract(split, request, sample):
    report = copy.deepcopy(request.getfixturevalue(f"{split.replace('-', '_')}_report"))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert list(report) == ["dataset", "params", "split", "protocols", "opponents", "ann",
                            "calibration", "seconds", "versions"]  # fmt: skip
    name, *counts, sha256 = report["dataset"].values()
    assert list(report["dataset"]) == ["name", "n_ratings", "n_users", "n_items", "sha256"]
    assert (name, len(sha256)) == ("sample" if split == "time" else "ratings", 64)
    assert counts == [20_000, 500, sample["item_id"].nunique()]
    assert report["params"] == Recommender(**BRIEF).params
    assert report["split"]["protocol"] == split
    assert report["ann"].pop("backend") == "annoy"
    assert 0.9 < report["ann"].pop("recall_vs_exact") <= 1
    assert set(report["ann"]) == {"microseconds_per_query", "bytes", "build_seconds"}
    assert min(report["ann"].values()) > 0
    assert list(report["seconds"]) == [
        "sequences", "train", "readout", "index", "opponents", "evaluate"]  # fmt: skip
    assert {"recsys", "gensim", "numpy"} <= set(report["versions"])
    assert list(report["protocols"]) == (["warm", "fold-in"] if split == "time" else [split])
    for result in report["protocols"].values():
        counts = {"n_users", "n_targets", "n_targets_without_vector"}
        assert set(result) == {*counts, "models", "differences"}
        assert list(result["models"]) == ["item2vec", *FEW]
        assert list(result["differences"]) == FEW
        for entries in result["models"].values():
            assert set(entries) == {*PER_USER, *COVERAGE, "n_users_unserved"}
            for metric in COVERAGE:
                assert entries[metric]["ci95"] is None
                assert 0 < entries[metric]["mean"] <= 1
        for entries in (*result["models"].values(), *result["differences"].values()):
            for metric in PER_USER:
                assert list(entries[metric]) == ["mean", "ci95"]
                low, high = entries[metric]["ci95"]
                assert low <= entries[metric]["mean"] <= high


def without_timings(report):
    return {name: report[name] for name in ("params", "split", "protocols", "opponents",
                                            "calibration")}  # fmt: skip


def test_another_run_on_shuffled_rows_gives_the_same_report(time_report, sample, sample_items):
    shuffled = sample.sample(frac=1, random_state=0)
    before = shuffled.copy()
    again = briefly(shuffled, sample_items, name="sample")
    assert without_timings(again) == without_timings(time_report)
    pd.testing.assert_frame_equal(shuffled, before)


# ---- several cutoffs, peers


def test_several_cutoffs_are_trained_one_by_one_and_averaged(sample):
    rolling = briefly(sample, params=TINY, cutoffs=[0.9, 0.7])
    alone = [briefly(sample, params=TINY, validation_fraction=f) for f in (0.3, 0.1)]
    split = rolling["split"]
    assert [one["share"] for one in split["cutoffs"]] == [0.7, 0.9]
    assert split["cutoff"] is split["n_train"] is None
    for one, report in zip(split["cutoffs"], alone, strict=True):
        assert one["n_train"] == report["split"]["n_train"]
        assert all(one[name] == report[name] for name in ("opponents", "params"))
    for protocol, result in rolling["protocols"].items():
        parts = [report["protocols"][protocol] for report in alone]
        counts = [part["n_users"] for part in parts]
        assert [one["n_users"][protocol] for one in split["cutoffs"]] == counts
        assert max(counts) <= result["n_users"] < sum(counts)
        for name, entries in result["models"].items():
            means = [part["models"][name]["recall@20"]["mean"] for part in parts]
            assert entries["recall@20"]["mean"] == pytest.approx(np.mean(means))
            each = [c["recall"][protocol][name]["recall@20"] for c in split["cutoffs"]]
            assert each == pytest.approx(means)
    json.dumps(rolling, allow_nan=False)


# ---- oracles: the recall of the report, once more, by other code


def check_averages(outcomes, n_users, result):
    """Compare a protocol with the means over (targets, list) of each served user."""
    assert result["n_users"] == n_users
    found = result["models"]["item2vec"]
    for k in KS:
        shares = [len(wanted & set(listed[:k])) / len(wanted) for wanted, listed in outcomes]
        assert found[f"recall@{k}"]["mean"] == pytest.approx(sum(shares) / n_users, abs=1e-9)
    ranks = ([rank for rank, item in enumerate(listed, start=1) if item in wanted]
             for wanted, listed in outcomes)  # fmt: skip
    total = sum(1 / found_at[0] for found_at in ranks if found_at)
    assert found["mrr"]["mean"] == pytest.approx(total / n_users, abs=1e-9)


def check_warm(ratings, report):
    """Compare the report with the model of the training part, `recommend_many` and sets."""
    split = split_by_time(ratings)
    model = Recommender(**report["params"]).fit(split.train)
    lists = model.recommend_many(k=50).groupby("user_id")["item_id"].agg(list)
    watched = split.train.groupby("user_id")["item_id"].agg(set)
    later = split.validation.groupby("user_id")["item_id"].agg(set)
    outcomes = [(later[user] - watched[user], lists[user])
                for user in later.index if user in watched.index]  # fmt: skip
    outcomes = [(targets, listed) for targets, listed in outcomes if targets]
    assert report["protocols"]["warm"]["n_targets"] == sum(len(wanted) for wanted, _ in outcomes)
    check_averages(outcomes, len(outcomes), report["protocols"]["warm"])


def test_warm_recall_on_the_sample_is_that_of_its_lists(sample, time_report):
    check_warm(sample, time_report)


@pytest.mark.slow
def test_warm_recall_on_ml_100k_is_that_of_its_lists(ml_100k, ml_100k_report):
    check_warm(ml_100k, ml_100k_report)


def test_fold_in_recall_is_that_of_recommend_for_on_the_first_halves(sample, time_report):
    split = split_by_time(sample)
    model = Recommender(**time_report["params"] | {"index": "exact"}).fit(split.train)
    outcomes, n_users, n_unserved, warm = [], 0, 0, {*model.items.tolist()}
    for _, events in sample.iloc[order_events(sample)[0]].groupby("user_id"):
        late = (events["timestamp"] >= split.cutoff).to_numpy()
        items = events["item_id"].tolist()
        known = (~late).sum() + (late.sum() + 1) // 2
        targets = set(items[known:]) - set(items[:known])
        if late.sum() < 2 or not targets:
            continue
        n_users += 1
        try:
            history = [item for item in items[:known] if item in warm]
            outcomes.append((targets, list(model.recommend_for(history, k=50).item_ids)))
        except ColdUserError:
            n_unserved += 1
    result = time_report["protocols"]["fold-in"]
    assert result["models"]["item2vec"]["n_users_unserved"] == n_unserved
    check_averages(outcomes, n_users, result)


# ---- end to end


def test_checkerboard_is_solved():
    """Two groups of users, each with items of its own: whoever knows the group finds the rest.

    Each user watches all items of the group, in an order of their own.
    """
    rng, users = np.random.default_rng(0), np.arange(60).repeat(20)
    items = np.concatenate([rng.permutation(20) + 20 * (user % 2) for user in range(60)])
    times = 1000 * np.tile(np.arange(1, 21), 60) + users
    ratings = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": times})
    report = evaluate(ratings, params={"vector_size": 8, "epochs": 100}, ks=[2])
    result = report["protocols"]["fold-in"]
    assert result["n_users"] == 60
    assert result["models"]["item2vec"]["recall@2"]["mean"] > 0.95
    assert result["models"]["popularity"]["recall@2"]["mean"] < 0.3
    assert result["differences"]["popularity"]["recall@2"]["ci95"][0] > 0.6


def test_the_defaults_find_more_than_all_baselines_in_warm_on_ml_100k(ml_100k_report):
    warm, fold_in = ml_100k_report["protocols"].values()
    assert list(warm["differences"]) == list(fold_in["differences"]) == BASELINES
    gains = {name: entries["recall@20"] for name, entries in warm["differences"].items()}
    assert gains.pop("recent-popularity")["mean"] > 0
    assert all(gain["ci95"][0] > 0 for gain in gains.values())
    assert all(entries["recall@20"]["ci95"][1] > 0 for entries in fold_in["differences"].values())


@pytest.mark.slow
def test_the_defaults_find_far_more_than_the_textbook_on_ml_100k(ml_100k, ml_100k_report):
    reports = ml_100k_report, evaluate(ml_100k, params=TEXTBOOK, against=())
    ours, textbook = (one["protocols"]["fold-in"]["models"]["item2vec"] for one in reports)
    assert ours["recall@20"]["mean"] >= 2.5 * textbook["recall@20"]["mean"]


def test_events_are_ordered_once_recoded_once_a_model_and_settings_chosen_in_training(
    sample, monkeypatch
):
    calls, order = [], events_module.order_events
    monkeypatch.setattr(events_module, "order_events", lambda *a: calls.append(a) or order(*a))
    recoded, renumber = [], Sequences.renumber
    monkeypatch.setattr(Sequences, "renumber", lambda *a: recoded.append(a) or renumber(*a))
    monkeypatch.setattr(opponents, "SEARCH_LIMIT", 0)
    params = {"epochs": 1, "vector_size": 4, "half_life": 2.0}
    report = evaluate(sample, params=params)
    chosen = report["calibration"]["chosen"]
    assert {name: report["params"][name] for name in chosen} == chosen
    assert report["calibration"]["n_train"] < report["split"]["n_train"]
    assert report["seconds"]["calibrate"] > 0
    assert list(report["opponents"]) == BASELINES[1:-1]
    assert len(calls) == 1
    pairs = {(id(sequences), id(item_ids)) for sequences, _, item_ids in recoded}
    assert 0 < len(pairs) == len(recoded) <= 24  # `recoded` keeps them, so ids stay apart
