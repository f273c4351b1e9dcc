import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from recsys import ColdUserError, DataError, Recommender, split_by_time
from recsys.data.sequences import sort_events
from recsys.data.splits import Cases
from recsys.data.summary import fingerprint
from recsys.evaluate import evaluate, main
from recsys.evaluation.measure import measure
from recsys.evaluation.report import as_text
from recsys.settings import TEXTBOOK
from recsys.studies.ablation import LEVERS
from recsys.studies.dials import SETTINGS

BRIEF = {"epochs": 3, "vector_size": 16, "half_life": 3.0, "calibrate": False}
TINY = {"epochs": 1, "vector_size": 4, "index": "exact", "calibrate": False}
KS = (10, 20, 50)
PER_USER = ["mrr", *(f"{m}@{k}" for m in ("recall", "hit_rate", "ndcg", "novelty") for k in KS)]
COVERAGE = [f"coverage@{k}" for k in KS]
BASELINES = ["popularity", "recent-popularity", "item-knn", "svd", "ease", "markov", "random"]


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
def sample_report(sample, sample_items):
    return evaluate(sample, sample_items, params=BRIEF, name="sample")


@pytest.fixture(scope="module")
def sample_last_out(sample):
    return evaluate(sample, params=BRIEF, split="last-out")


@pytest.fixture(scope="module")
def ml_report(ml_100k, ml_100k_items):
    return evaluate(ml_100k, ml_100k_items, name="ml-100k")


@pytest.fixture
def measured(monkeypatch):
    """Collect what `evaluate` hands to `measure`: (cases, contenders, train) a protocol."""
    from recsys.evaluation import run as module

    calls, measure = [], module.measure

    def spy(cases, contenders, train, ks):
        calls.append((cases, contenders, train))
        return measure(cases, contenders, train, ks)

    monkeypatch.setattr(module, "measure", spy)
    return calls


def item_sets(sequences):
    """User id -> ids of a user's items."""
    return {
        int(user): sequences.item_ids[sequences.items_of(row)].tolist()
        for row, user in enumerate(sequences.user_ids)
    }


# ---- hand-worked


def test_cold_users_and_items_are_counted():
    split = evaluate(LIKES, params=TINY)["split"]
    assert split == {
        "protocol": "time", "cutoff": "1970-01-01T00:00:09+00:00", "n_train": 8, "n_validation": 3,
        "n_users_warm": 1, "n_users_cold": 1, "share_cold_item_events": 2 / 3,
    }  # fmt: skip


def test_cold_users_and_items_of_last_out_are_counted():
    views = frame(["1 1 1", "1 2 1", "1 3 1", "1 4 1", "2 1 1", "2 2 1", "2 4 1", "3 1 1", "3 2 1"])
    report = evaluate(views, params=TINY, split="last-out")
    # trained on items 1 and 2 of user 1, and 1 of user 2; asked for 4, 4 and 2
    assert report["split"] == {
        "protocol": "last-out", "cutoff": None, "n_train": 3, "n_validation": 3,
        "n_users_warm": 2, "n_users_cold": 1, "share_cold_item_events": 2 / 3,
    }  # fmt: skip
    assert report["protocols"]["last-out"]["n_users"] == 3
    assert report["protocols"]["last-out"]["n_targets_without_vector"] == 2


def test_min_rating_goes_for_training_history_and_relevance_but_not_for_watched(measured):
    evaluate(LIKES, params=TINY | {"min_rating": 4})
    (warm, contenders, train), (fold_in, _, _) = measured
    assert dict(zip(train.item_ids.tolist(), train.counts().tolist(), strict=True)) == {
        1: 2, 2: 2, 3: 2, 4: 1}  # fmt: skip
    assert item_sets(warm.histories) == {1: [1, 3]}
    assert item_sets(warm.watched) == {1: [1, 2, 3]}
    assert item_sets(warm.targets) == {1: [4, 6]}
    assert item_sets(fold_in.histories) == {1: [1, 3, 4]}
    assert item_sets(fold_in.watched) == {1: [1, 2, 3, 4]}
    assert item_sets(fold_in.targets) == {1: [6]}
    for contender in contenders.values():
        assert contender.item_ids.tolist() == [1, 2, 3, 4]
        rows, scores = contender.rank(warm.recode(contender.item_ids))
        assert contender.item_ids[rows[scores > -np.inf]].tolist() == [4]


def test_last_out_asks_for_the_last_liked_rating(measured):
    views = frame(["1 1 5", "1 2 5", "1 3 1", "1 4 5", "1 5 5", "1 6 1", "2 1 5", "2 2 5"])
    evaluate(views, params=TINY | {"min_rating": 4}, split="last-out")
    [(cases, _, train)] = measured
    assert item_sets(train) == {1: [1, 2]}
    assert item_sets(cases.histories) == {1: [1, 2, 4], 2: [1]}
    assert item_sets(cases.watched) == {1: [1, 2, 3, 4], 2: [1]}
    assert item_sets(cases.targets) == {1: [5], 2: [2]}


def test_who_has_watched_only_unknown_items_is_served_what_is_popular():
    rows = ["1 1 1", "1 2 1", "2 1 1", "2 2 1", "3 1 1", "3 3 1", "4 3 1", "4 1 1"]
    report = evaluate(frame([*rows, "9 8 1", "9 1 1"]), params=TINY, ks=[1])
    models = report["protocols"]["fold-in"]["models"]
    served = {name for name in models if models[name]["n_users_unserved"] == 0}
    assert served == {"popularity", "recent-popularity", "random"}
    assert models["popularity"]["recall@1"]["mean"] == 1


def test_popularity_goes_by_liked_ratings_only():
    """Item 7 is watched most and liked least."""
    rows = [f"{user} 7 1" for user in range(10, 20)] + ["10 8 5", "11 8 5", "10 9 5", "12 9 5"]
    rows += ["13 8 5", "14 2 5", "5 2 5", "5 3 5", "5 8 5", "5 9 5"]
    report = evaluate(frame(rows), params=TINY | {"min_rating": 3}, ks=[1], validation_fraction=0.1)
    for name in ("popularity", "recent-popularity"):
        assert report["protocols"]["fold-in"]["models"][name]["recall@1"]["mean"] == 1


def test_recent_popularity_begins_30_days_before_the_cutoff(measured):
    day = 24 * 60 * 60
    start = 1_000 * day
    items = [1, 1, 1, 2, 2, 3, 4, 4, 9, 9, 9]
    days = [0, 1, 2, 69, 69.99, 70, 80, 99, 100, 101, 102]  # the cutoff is day 100
    ratings = pd.DataFrame({
        "user_id": range(11), "item_id": items,
        "timestamp": [int(start + d * day) for d in days],
    })  # fmt: skip
    evaluate(ratings, params=TINY)
    _, contenders, train = measured[0]
    nobody = train.take_users(np.array([0])).where(np.zeros(1, bool))
    for name, best_first in (("popularity", [1, 2, 4, 3]), ("recent-popularity", [4, 3, 1, 2])):
        rows, _ = contenders[name].rank(Cases(nobody, nobody, nobody, np.zeros(1)))
        assert train.item_ids[rows[0]].tolist() == best_first


def test_without_users_means_are_null():
    ratings = frame(["1 1 1", "2 1 1", "1 2 1", "2 2 1", "1 3 1", "3 2 1", "4 1 1", "5 2 1"])
    report = evaluate(ratings, params=TINY)
    for result in report["protocols"].values():
        assert result["n_users"] == 0
        for entries in result["models"].values():
            assert all(entries[m] == {"mean": None, "ci95": None} for m in PER_USER + COVERAGE)
        for entries in result["differences"].values():
            assert all(entry == {"mean": None, "ci95": None} for entry in entries.values())
    assert report["ann"]["recall_vs_exact"] is None
    json.dumps(report, allow_nan=False)


def test_data_without_times_is_sent_to_last_out(sample):
    views = sample.drop(columns="timestamp").head(2000)
    with pytest.raises(DataError, match="--split last-out"):
        evaluate(views, params=TINY)
    models = evaluate(views, params=TINY, split="last-out")["protocols"]["last-out"]["models"]
    assert list(models) == ["item2vec", *(b for b in BASELINES if b != "recent-popularity")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "random"}, "split must be 'time' or 'last-out', got 'random'"),
        ({"ks": [0]}, "k must be"),
        ({"ks": []}, "k must be"),
        ({"ks": [10, -1]}, "k must be"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"params": {"window": 0}}, "window"),
        ({"split": "last-out", "cutoffs": [0.8]}, "cutoffs needs a split by time"),
        ({"split": "last-out", "validation_fraction": 0.2}, "validation_fraction needs a split"),
        ({"split": "last-out", "show_leak": True}, "show_leak needs a split by time"),
        ({"split": "last-out", "fold_in_curve": True}, "fold_in_curve needs a split by time"),
        ({"cutoffs": [0.8], "validation_fraction": 0.2}, "cutoffs cannot be combined with valid"),
        ({"cutoffs": [0.8], "show_leak": True}, "cutoffs cannot be combined with show_leak"),
        ({"cutoffs": []}, r"cutoffs must lie in \(0, 1\), got \[\]"),
        ({"cutoffs": [0.8, 1.0]}, r"cutoffs must lie in \(0, 1\), got \[0.8, 1.0\]"),
        ({"cutoffs": [0, 0.8]}, "cutoffs must lie in"),
    ],
)
def test_wrong_arguments_are_value_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        evaluate(LIKES, **wrong)


def test_parameters_are_those_of_the_recommender():
    params = TINY | {"window": 3, "calibrate": False, "scoring": "cosine"}
    assert evaluate(LIKES, params=params)["params"] == Recommender(**params).params
    with pytest.raises(TypeError, match="windw"):
        evaluate(LIKES, params={"windw": 3})


def test_what_was_calibrated_and_on_what_evidence_is_in_the_report(sample):
    report = evaluate(sample, params={"epochs": 2, "vector_size": 8, "index": "exact"})
    chosen = report["calibration"]["chosen"]
    assert {name: report["params"][name] for name in chosen} == chosen
    assert set(report["calibration"]["recall@20"]) == {"warm", "fold-in"}
    assert report["calibration"]["n_train"] < report["split"]["n_train"]
    assert report["seconds"]["calibrate"] > 0
    json.dumps(report, allow_nan=False)


@pytest.mark.slow
def test_an_ablation_puts_the_model_beside_its_own_parts(sample, capsys):
    params = {"seed": 3} | TINY
    report = evaluate(sample, params=params, ablation=True)
    for result in report["protocols"].values():
        assert list(result["models"]) == ["item2vec", *LEVERS]
        assert list(result["differences"]) == list(LEVERS)
    textbook = evaluate(sample, params=TEXTBOOK | {"seed": 3})["protocols"]["warm"]["models"]
    assert report["protocols"]["warm"]["models"]["textbook"] == textbook["item2vec"]
    assert report["opponents"] == {}
    with pytest.raises(ValueError, match="cannot be combined with"):
        evaluate(sample, ablation=True, peers=True)
    with pytest.raises(ValueError, match="cannot be combined with"):
        evaluate(sample, ablation=True, user_to_user=True)


def test_lists_of_any_length_work_on_five_items_with_either_index():
    for index in ("annoy", "exact"):
        report = evaluate(LIKES, params=TINY | {"index": index}, ks=[1, 1000, 1])
        assert report["ann"]["backend"] == index
        recalls = [m for m in report["protocols"]["warm"]["models"]["svd"] if "recall" in m]
        assert recalls == ["recall@1", "recall@1000"]


def test_ids_may_be_text():
    renamed = LIKES.assign(user_id="u" + LIKES["user_id"].astype(str),
                           item_id="i" + LIKES["item_id"].astype(str))  # fmt: skip
    assert evaluate(renamed, params=TINY)["split"] == evaluate(LIKES, params=TINY)["split"]


# ---- the report


def check_entry(entry):
    assert list(entry) == ["mean", "ci95"]
    low, high = entry["ci95"]
    assert low <= entry["mean"] <= high


@pytest.mark.parametrize("split", ["time", "last-out"])
def test_report_has_the_layout_of_the_contract(split, request, sample):
    report = request.getfixturevalue("sample_report" if split == "time" else "sample_last_out")
    assert list(report) == ["dataset", "params", "split", "protocols", "opponents", "ann",
                            "calibration", "seconds", "versions"]  # fmt: skip
    assert report["dataset"] == {
        "name": "sample" if split == "time" else "ratings", "n_ratings": 20_000, "n_users": 500,
        "n_items": sample["item_id"].nunique(), "sha256": fingerprint(sample),
    }  # fmt: skip
    assert report["params"] == Recommender(**BRIEF).params
    assert set(report["split"]) == {
        "protocol", "cutoff", "n_train", "n_validation", "n_users_warm", "n_users_cold",
        "share_cold_item_events"}  # fmt: skip
    assert report["split"]["protocol"] == split
    positive = {"microseconds_per_query", "bytes", "build_seconds"}
    assert set(report["ann"]) == {"backend", "recall_vs_exact", *positive}
    assert report["ann"]["backend"] == "annoy"
    assert 0.9 < report["ann"]["recall_vs_exact"] <= 1
    assert min(report["ann"][name] for name in positive) > 0
    assert list(report["seconds"]) == [
        "sequences", "train", "readout", "index", "opponents", "evaluate"]  # fmt: skip
    assert {"recsys", "gensim", "numpy"} <= set(report["versions"])

    assert list(report["protocols"]) == (["warm", "fold-in"] if split == "time" else [split])
    for result in report["protocols"].values():
        counts = {"n_users", "n_targets", "n_targets_without_vector"}
        assert set(result) == {*counts, "models", "differences"}
        assert list(result["models"]) == ["item2vec", *BASELINES]
        assert list(result["differences"]) == BASELINES
        for entries in result["models"].values():
            assert set(entries) == {*PER_USER, *COVERAGE, "n_users_unserved"}
            for metric in PER_USER:
                check_entry(entries[metric])
            for metric in COVERAGE:
                assert entries[metric]["ci95"] is None
                assert 0 < entries[metric]["mean"] <= 1
        for entries in result["differences"].values():
            assert set(entries) == set(PER_USER)
            for metric in PER_USER:
                check_entry(entries[metric])


def test_report_is_json_without_nan(sample_report):
    assert json.loads(json.dumps(sample_report, allow_nan=False)) == sample_report


def test_counts_agree_with_each_other(sample_report, sample_last_out):
    split = sample_report["split"]
    assert split["n_train"] + split["n_validation"] == 20_000
    assert sample_report["protocols"]["warm"]["n_users"] <= split["n_users_warm"]
    fold_in = sample_report["protocols"]["fold-in"]
    assert fold_in["n_users"] <= split["n_users_warm"] + split["n_users_cold"]
    last_out = sample_last_out["protocols"]["last-out"]
    assert last_out["n_users"] == last_out["n_targets"] == sample_last_out["split"]["n_validation"]


def without_timings(report):
    fast = {k: v for k, v in report["ann"].items() if k in ("backend", "recall_vs_exact", "bytes")}
    return {k: v for k, v in report.items() if k != "seconds"} | {"ann": fast}


def test_another_run_on_shuffled_rows_gives_the_same_report(sample_report, sample, sample_items):
    shuffled = sample.sample(frac=1, random_state=0)
    before = shuffled.copy()
    again = evaluate(shuffled, sample_items, params=BRIEF, name="sample")
    assert without_timings(again) == without_timings(sample_report)
    pd.testing.assert_frame_equal(shuffled, before)


# ---- several cutoffs, peers, a random split


@pytest.fixture(scope="module")
def rolling(sample):
    return evaluate(sample, params=TINY, cutoffs=[0.9, 0.7])


def test_one_cutoff_is_the_split_by_time(sample):
    alone, one = evaluate(sample, params=TINY), evaluate(sample, params=TINY, cutoffs=[0.8])
    assert one["protocols"] == alone["protocols"]
    [cutoff] = one["split"]["cutoffs"]
    counts = {name: n for name, n in alone["split"].items() if name != "protocol"}
    assert {name: cutoff[name] for name in counts} == counts


def test_several_cutoffs_are_trained_anew_and_averaged(sample, rolling):
    early, late = (evaluate(sample, params=TINY, validation_fraction=f) for f in (0.3, 0.1))
    split = rolling["split"]
    assert [one["share"] for one in split["cutoffs"]] == [0.7, 0.9]
    assert split["cutoff"] is split["n_train"] is None
    for one, alone in zip(split["cutoffs"], (early, late), strict=True):
        assert one["n_train"] == alone["split"]["n_train"]
        assert one["opponents"] == alone["opponents"]
        assert one["params"] == alone["params"]
    for protocol, result in rolling["protocols"].items():
        parts = [report["protocols"][protocol] for report in (early, late)]
        counts = [part["n_users"] for part in parts]
        assert max(counts) <= result["n_users"] < sum(counts)
        for kind in ("models", "differences"):
            for name, entries in result[kind].items():
                mean = np.mean([p[kind][name]["recall@20"]["mean"] for p in parts])
                assert entries["recall@20"]["mean"] == pytest.approx(mean)
                check_entry(entries["recall@20"])
        for one, part in zip(split["cutoffs"], parts, strict=True):
            assert one["n_users"][protocol] == part["n_users"]
            for name, values in one["recall"][protocol].items():
                expected = part["models"][name]["recall@20"]["mean"]
                assert values["recall@20"] == pytest.approx(expected)
    for name in ("train", "opponents"):
        assert rolling["seconds"][name] > 0
    json.dumps(rolling, allow_nan=False)


def test_intervals_over_cutoffs_are_over_distinct_users(sample, monkeypatch):
    """The same cutoff twice tells nothing new."""
    monkeypatch.setattr("recsys.evaluate._shares", lambda *_, **__: [0.8, 0.8])
    twice = evaluate(sample, params=TINY, cutoffs=[0.8, 0.8])
    monkeypatch.undo()
    once = evaluate(sample, params=TINY)
    for protocol, result in twice["protocols"].items():
        assert result["n_users"] == once["protocols"][protocol]["n_users"]
        for name, entries in result["models"].items():
            expected = once["protocols"][protocol]["models"][name]["recall@20"]["ci95"]
            assert entries["recall@20"]["ci95"] == pytest.approx(expected)


@pytest.mark.slow
def test_a_random_split_inflates_recall(ml_100k):
    report = evaluate(ml_100k, params=TINY, show_leak=True)
    by_time, leak = report["protocols"]["warm"], report["leak"]
    assert list(leak["models"]) == list(by_time["models"]) == ["item2vec", *BASELINES]
    for name in ("item-knn", "svd", "ease", "markov"):
        low = leak["models"][name]["recall@20"]["ci95"][0]
        assert low > 1.3 * by_time["models"][name]["recall@20"]["mean"]
    assert leak["n_users"] > 900


@pytest.fixture(scope="module")
def extended_report(sample):
    return evaluate(sample, params=BRIEF, user_to_user=True, fold_in_curve=True)


def test_user_to_user_stands_beside_the_others_with_the_same_users(sample_report, extended_report):
    for protocol, result in extended_report["protocols"].items():
        models = result["models"]
        assert list(models) == ["item2vec", *BASELINES[:-1], "user-to-user", "random"]
        assert result["n_users"] == sample_report["protocols"][protocol]["n_users"]
        others = {name: models[name] for name in models if name != "user-to-user"}
        assert others == sample_report["protocols"][protocol]["models"]
        random = models["random"]["recall@20"]["mean"]
        assert models["user-to-user"]["recall@20"]["mean"] > 2 * random


def test_the_curve_of_new_users_is_that_of_their_lists(sample, sample_report, extended_report):
    assert list(extended_report) == [*sample_report, "fold_in_curve"]
    curve = extended_report["fold_in_curve"]
    assert list(curve) == ["1", "2", "5", "10", "20"]
    split = split_by_time(sample)
    model = Recommender(**BRIEF).fit(split.train)
    later = sort_events(split.validation)
    later = later[~later["user_id"].isin(split.train["user_id"])]
    recalls, unserved = {n: [] for n in curve}, dict.fromkeys(curve, 0)
    for _, items in later.groupby("user_id")["item_id"]:
        first, targets = items[:20].tolist(), set(items[20:]) - set(items[:20])
        for n in curve if targets else ():
            known = np.intersect1d(first[: int(n)], model.items)
            unserved[n] += len(known) == 0
            found = model.recommend_for(first[: int(n)], 20, block=first) if len(known) else []
            hits = targets & {one.item_id for one in found}
            recalls[n].append(len(hits) / len(targets))
    assert unserved["1"] > 0
    for n, result in curve.items():
        assert result["n_users"] == len(recalls[n]) > 10
        assert set(result) == set(extended_report["protocols"]["fold-in"])
        ours = result["models"]["item2vec"]
        assert ours["recall@20"]["mean"] == pytest.approx(np.mean(recalls[n]), abs=1e-9)
        assert ours["n_users_unserved"] == unserved[n]
        # What needs no history says the same after any number of items.
        assert result["models"]["popularity"] == curve["1"]["models"]["popularity"]


def test_peers_take_part_with_the_same_users(sample):
    pytest.importorskip("implicit")
    report = evaluate(sample.head(3000), params=TINY, split="last-out", peers=True)
    names = [n + suffix for n in ("item-knn", "svd", "ease", "markov", "als", "bpr", "bm25")
             for suffix in ("", " + popularity")]  # fmt: skip
    expected = ["popularity", "recent-popularity", *names, "random"]
    assert list(report["protocols"]["last-out"]["differences"]) == expected
    assert list(report["opponents"]) == ["recent-popularity", *names]


def test_peers_without_their_package_fail_before_any_training(sample, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setattr(Recommender, "fit", lambda *_: pytest.fail("trained"))
    assert main(["--data", "sample", "--peers"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].endswith('pip install -e ".[peers]"')


# ---- no leak


def rankings(ratings, monkeypatch):
    """Rank by all contenders for the histories of training, before anything is measured."""
    found = []

    def rank_only(cases, contenders, train, ks):
        everybody = Cases(train, train, train, np.zeros(len(train)))
        found.append({n: c.rank(everybody.recode(c.item_ids)) for n, c in contenders.items()})
        return measure(cases, contenders, train, ks)

    monkeypatch.setattr("recsys.evaluation.run.measure", rank_only)
    report = evaluate(ratings, params=BRIEF)
    return found[0], report["opponents"]


def test_nothing_after_the_cutoff_reaches_a_model(sample, monkeypatch):
    """Other users, items and ratings at the same later times: all rankings stay, bit by bit."""
    late = (sample["timestamp"] >= split_by_time(sample).cutoff).to_numpy()
    rng, n = np.random.default_rng(0), late.sum()
    altered = sample.copy()
    altered.loc[late, "user_id"] = rng.integers(1, 2000, n)
    altered.loc[late, "item_id"] = rng.integers(1, 2000, n)
    altered.loc[late, "rating"] = rng.integers(1, 6, n).astype(np.float32)
    (before, chosen), (after, again) = (
        rankings(ratings, monkeypatch) for ratings in (sample, altered)
    )
    assert chosen == again
    assert list(before) == list(after) == ["item2vec", *BASELINES]
    for name in before:
        for one, other in zip(before[name], after[name], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


# ---- oracles: the recall of the report, once more, by other code


def averages(outcomes, n_users):
    """Mean metrics from (targets, list) of each served user."""
    totals = dict.fromkeys(["mrr", *(f"recall@{k}" for k in KS)], 0.0)
    for targets, listed in outcomes:
        for k in KS:
            totals[f"recall@{k}"] += len(targets & set(listed[:k])) / len(targets)
        ranks = [rank for rank, item in enumerate(listed, start=1) if item in targets]
        totals["mrr"] += 1 / ranks[0] if ranks else 0
    return {metric: total / n_users for metric, total in totals.items()}


def check_warm(ratings, report, model):
    """Compare the report with the model of the training part, `recommend_many` and sets."""
    split = split_by_time(ratings)
    assert model.params == report["params"]
    lists = model.recommend_many(k=50).groupby("user_id")["item_id"].agg(list)
    watched = split.train.groupby("user_id")["item_id"].agg(set)
    later = split.validation.groupby("user_id")["item_id"].agg(set)
    outcomes = [(later[user] - watched[user], lists[user])
                for user in later.index if user in watched.index]  # fmt: skip
    outcomes = [(targets, listed) for targets, listed in outcomes if targets]
    result = report["protocols"]["warm"]
    assert result["n_users"] == len(outcomes)
    assert result["n_targets"] == sum(len(targets) for targets, _ in outcomes)
    for metric, mean in averages(outcomes, len(outcomes)).items():
        assert result["models"]["item2vec"][metric]["mean"] == pytest.approx(mean, abs=1e-9)


def check_fold_in(ratings, report, model):
    """Compare the report with `recommend_for` on the first halves."""
    cutoff = split_by_time(ratings).cutoff
    outcomes, n_users, n_unserved = [], 0, 0
    for _, events in sort_events(ratings).groupby("user_id"):
        late = (events["timestamp"] >= cutoff).to_numpy()
        items = events["item_id"].tolist()
        known = (~late).sum() + (late.sum() + 1) // 2
        targets = set(items[known:]) - set(items[:known])
        if late.sum() < 2 or not targets:
            continue
        n_users += 1
        try:
            outcomes.append((targets, list(model.recommend_for(items[:known], k=50).item_ids)))
        except ColdUserError:
            n_unserved += 1
    result = report["protocols"]["fold-in"]
    assert result["n_users"] == n_users
    assert result["models"]["item2vec"]["n_users_unserved"] == n_unserved
    for metric, mean in averages(outcomes, n_users).items():
        assert result["models"]["item2vec"][metric]["mean"] == pytest.approx(mean, abs=1e-9)


def test_recall_on_the_sample_is_that_of_its_lists(sample, sample_report):
    model = Recommender(**sample_report["params"]).fit(split_by_time(sample).train)
    check_warm(sample, sample_report, model)
    exact = Recommender(**sample_report["params"] | {"index": "exact"})
    check_fold_in(sample, sample_report, exact.fit(split_by_time(sample).train))


def test_recall_on_ml_100k_is_that_of_its_lists(ml_100k, ml_report):
    model = Recommender(**ml_report["params"]).fit(split_by_time(ml_100k).train)
    check_warm(ml_100k, ml_report, model)


# ---- end to end


def test_checkerboard_is_solved():
    """Two groups of users, each with items of its own: whoever knows the group finds the rest.

    The items of a group are watched in an order of each user's own, and all of them in the end, so
    that a user's targets are the items of the group that the history lacks.
    """
    rng = np.random.default_rng(0)
    ratings = pd.concat([
        pd.DataFrame({
            "user_id": user, "item_id": rng.permutation(20) + 20 * (user % 2),
            "timestamp": 1000 * np.arange(1, 21) + user,
        })
        for user in range(60)
    ])  # fmt: skip
    report = evaluate(ratings, params={"vector_size": 8, "epochs": 100}, ks=[2])
    result = report["protocols"]["fold-in"]
    recall = {name: entries["recall@2"]["mean"] for name, entries in result["models"].items()}
    assert result["n_users"] == 60
    assert recall["item2vec"] > 0.95
    assert recall["popularity"] < 0.3
    assert result["differences"]["popularity"]["recall@2"]["ci95"][0] > 0.6


@pytest.mark.slow
def test_default_is_far_better_than_the_textbook_on_ml_100k(ml_100k, ml_report):
    textbook = evaluate(ml_100k, params=TEXTBOOK)
    ours, theirs = (
        report["protocols"]["fold-in"]["models"]["item2vec"]["recall@20"]["mean"]
        for report in (ml_report, textbook)
    )
    assert ours >= 2.5 * theirs


# ---- the command


def test_json_is_one_object_on_stdout(capsys, sample_report):
    model = ["--epochs", "3", "--vector-size", "16", "--half-life", "3", "--calibrate", "0"]
    assert main(["--data", "sample", "--json", *model]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["seconds"]) == [
        "load",
        "sequences",
        "train",
        "readout",
        "index",
        "opponents",
        "evaluate",
    ]
    assert without_timings(report) == without_timings(sample_report)


def test_options_of_the_command_are_passed_on(capsys):
    model = ["--epochs", "1", "--vector-size", "4", "--calibrate", "0"]
    split = ["--split", "time", "--validation-fraction", "0.1", "-k", "3", "7"]
    assert main(["--data", "sample", "--json", *model, *split]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["split"]["n_validation"] - 2000) / 2000 == pytest.approx(0, abs=0.01)
    assert "recall@3" in report["protocols"]["warm"]["models"]["item2vec"]


def test_options_for_several_cutoffs_and_a_random_split_are_passed_on(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr("recsys.evaluate.evaluate", lambda *_, **options: seen.append(options) or {
        "seconds": {}})  # fmt: skip
    data = ["--data", "sample", "--json"]
    given = ["--peers", "--show-leak", "--user-to-user", "--fold-in-curve"]
    assert main([*data, "--cutoffs", "0.7", "0.9", *given]) == 0
    assert main(data) == 0
    capsys.readouterr()
    names = ("peers", "show_leak", "user_to_user", "fold_in_curve")
    assert [[options["cutoffs"], options["validation_fraction"], *(options[n] for n in names)]
            for options in seen] == [[[0.7, 0.9], None, *[True] * 4],
                                     [None, None, *[False] * 4]]  # fmt: skip


def test_failure_leaves_stdout_empty(capsys, tmp_path):
    file = tmp_path / "views.csv"
    file.write_text("user_id,item_id\n1,2\n1,3\n2,2\n2,3\n")
    assert main(["--data", str(file), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--split last-out" in captured.err


def test_importing_the_command_imports_neither_numpy_nor_pandas():
    code = "import sys, recsys.evaluate; print({'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_dials_are_measured_beside_the_model_as_it_is(sample):
    report = evaluate(sample, params=BRIEF, dials=True, ks=[5, 10])
    text = as_text(report)
    for protocol in ("warm", "fold-in"):
        models = report["protocols"][protocol]["models"]
        assert set(models) == {"item2vec", *SETTINGS}
        distances = [models[name]["intra_list_distance@10"]["mean"]
                     for name in ("item2vec", "diversity 0.2", "diversity 0.6")]  # fmt: skip
        assert distances == sorted(distances)
        bits = [models[name]["novelty@10"]["mean"]
                for name in ("popularity 0", "item2vec", "popularity 4")]  # fmt: skip
        assert bits == sorted(bits, reverse=True)
    assert "distance" in text
    assert "mrr" not in text
    assert report["opponents"] == {}
    with pytest.raises(ValueError, match="dials cannot be combined"):
        evaluate(sample, dials=True, ablation=True)
