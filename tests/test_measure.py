"""Every contender is measured on the same users, and averages come with intervals."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from recsys import build_sequences
from recsys.data.sequences import Sequences, offsets_from
from recsys.data.splits import Cases
from recsys.evaluation.measure import (
    Measured,
    among,
    averaged,
    contender_of_baseline,
    contender_of_model,
    measure,
    recall_of,
)
from recsys.evaluation.metrics import means_with_ci95

ITEMS = [10, 20, 30, 40, 50, 60]  # nothing knows item 60: it comes after training


def sequences(lists, items=ITEMS):
    """Histories of the users 1, 2, ... as lists of item ids."""
    codes = np.array([items.index(item) for one in lists for item in one], dtype=np.int32)
    offsets = offsets_from(np.array([len(one) for one in lists], dtype=np.int64))
    return Sequences(np.arange(1, len(lists) + 1), np.array(items), codes, offsets)


def in_order(items, best_first, k=2, *, needs_history=True):
    """A contender that ranks its items in one order for everybody."""
    scores = -np.array([best_first.index(item) for item in items], dtype=np.float32)
    return contender_of_baseline(lambda histories: np.tile(scores, (len(histories), 1)),
                                 np.array(items), k, needs_history=needs_history)  # fmt: skip


# User 2's only item has no vector in the model, user 3 disliked item 30, user 4 is asked for an
# item that they have watched before.
CASES = Cases(
    histories=sequences([[10], [50], [20], [10, 20]]),
    watched=sequences([[10], [50], [20, 30], [10, 20]]),
    targets=sequences([[20, 60], [10], [40, 50], [10]]),
    staleness=np.zeros(4),
)
# 16 events: shares 1/2, 1/4, 1/8, 1/16, 1/16, and so 1, 2, 3, 4, 4 bits.
TRAIN = sequences([[10] * 8 + [20] * 4 + [30] * 2 + [40, 50]], ITEMS[:5])
CONTENDERS = {
    # lists of two: user 1 [20, 30], user 3 [10, 40], user 4 [30, 40]
    "item2vec": in_order([10, 20, 30, 40], [10, 20, 30, 40]),
    # lists of two: [50, 40], [10, 40], [50, 10], [50, 40]
    "other": in_order([10, 20, 30, 40, 50], [50, 10, 40, 30, 20], needs_history=False),
}


MEASURED = measure(CASES, CONTENDERS, TRAIN, [1, 2])
RESULT = averaged([MEASURED])


def means(name):
    entries = RESULT["models"][name].items()
    return {metric: entry["mean"] for metric, entry in entries if metric != "n_users_unserved"}


def test_all_numbers_of_a_small_comparison_by_hand():
    ideal = 1 + 1 / np.log2(3)
    assert means("item2vec") == pytest.approx({
        "recall@1": (1 / 2 + 0 + 0 + 0) / 4, "recall@2": (1 / 2 + 0 + 1 / 2 + 0) / 4,
        "hit_rate@1": 1 / 4, "hit_rate@2": 2 / 4, "mrr": (1 + 0 + 1 / 2 + 0) / 4,
        "ndcg@1": 1 / 4, "ndcg@2": (1 / ideal + 1 / np.log2(3) / ideal) / 4,
        "coverage@1": 3 / 4, "coverage@2": 4 / 4,
        "novelty@1": (2 + 1 + 3) / 3, "novelty@2": (2.5 + 2.5 + 3.5) / 3,
    })  # fmt: skip
    assert means("other") == pytest.approx({
        "recall@1": (0 + 1 + 1 / 2 + 0) / 4, "recall@2": (0 + 1 + 1 / 2 + 0) / 4,
        "hit_rate@1": 2 / 4, "hit_rate@2": 2 / 4, "mrr": 2 / 4,
        "ndcg@1": 2 / 4, "ndcg@2": (1 + 1 / ideal) / 4,
        "coverage@1": 2 / 5, "coverage@2": 3 / 5,
        "novelty@1": (4 + 1 + 4 + 4) / 4, "novelty@2": (4 + 2.5 + 2.5 + 4) / 4,
    })  # fmt: skip
    assert (RESULT["n_users"], RESULT["n_targets"], RESULT["n_targets_without_vector"]) == (4, 6, 2)
    assert [RESULT["models"][name]["n_users_unserved"] for name in CONTENDERS] == [1, 0]


def test_differences_are_model_minus_contender_user_by_user():
    differences = RESULT["differences"]["other"]
    assert "coverage@1" not in differences
    by_user = np.array([[1 / 2 - 0], [0 - 1], [1 / 2 - 1 / 2], [0 - 0]])
    expected, interval = means_with_ci95(by_user)
    assert differences["recall@2"] == {"mean": expected[0], "ci95": interval[0].tolist()}
    # Of novelty, which an empty list has none of, over the users that both serve.
    assert differences["novelty@1"]["mean"] == pytest.approx(((2 - 4) + (1 - 4) + (3 - 4)) / 3)


def test_watched_items_are_never_ranked_and_recall_alone_is_that_of_the_whole_comparison():
    for name, contender in CONTENDERS.items():
        assert not recall_of(contender, replace(CASES, targets=CASES.watched), 2).any()
        expected = MEASURED.per_user[name]["recall@2"]
        assert_array_equal(recall_of(contender, CASES, 2), expected)


def test_a_model_that_serves_nobody_scores_zero_and_has_no_novelty():
    cases = Cases(sequences([[60]]), sequences([[60]]), sequences([[50]]), np.zeros(1))
    models = averaged([measure(cases, CONTENDERS, TRAIN, [2])])["models"]
    entries, other = models["item2vec"], models["other"]
    assert entries["recall@2"] == {"mean": 0, "ci95": [0, 0]}
    assert entries["novelty@2"] == {"mean": None, "ci95": None}
    assert (entries["coverage@2"]["mean"], entries["n_users_unserved"]) == (0, 1)
    # A model that needs no history serves everybody.
    assert (other["recall@2"]["mean"], other["n_users_unserved"]) == (1, 0)


def test_the_model_ranks_as_recommend_many_does(model, sample):
    histories = build_sequences(sample).recode(model.items)
    cases = Cases(histories, histories, histories, model._model.tables.staleness)
    rows, scores = contender_of_model(model, 20).rank(cases)
    table = model.recommend_many(k=20)
    assert_array_equal(model.items[rows].ravel(), table["item_id"])
    assert_array_equal(scores.ravel(), table["score"])


# ---- several cutoffs


def of_users(user_ids, ours, theirs):
    """What `measure` gives for users whose recall@2 is known."""
    per_user = {"item2vec": {"recall@2": np.array(ours)}, "other": {"recall@2": np.array(theirs)}}
    coverage = {name: {"coverage@2": 0.25} for name in per_user}
    return Measured(np.array(user_ids), 10, 3, per_user, coverage, dict.fromkeys(per_user, 1))


def test_a_mean_over_cutoffs_is_the_mean_of_their_means():
    early = of_users([7, 9], [1.0, 0.0], [0.5, 0.5])
    late = of_users([9, 4, 5, 6], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0])
    found = averaged([early, late])
    assert found["models"]["item2vec"]["recall@2"]["mean"] == (1 / 2 + 1 / 4) / 2
    assert found["models"]["other"]["recall@2"]["mean"] == (1 / 2 + 0) / 2
    assert found["differences"]["other"]["recall@2"]["mean"] == (0 + 1 / 4) / 2
    counts = [found[name] for name in ("n_users", "n_targets", "n_targets_without_vector")]
    assert counts == [5, 20, 6]
    assert found["models"]["other"]["n_users_unserved"] == 2
    assert found["models"]["other"]["coverage@2"] == {"mean": 0.25, "ci95": None}
    # A cutoff without users is left out.
    alone = averaged([of_users([], [], []), late])["models"]["item2vec"]["recall@2"]["mean"]
    assert alone == 1 / 4


def test_the_same_users_at_two_cutoffs_do_not_narrow_an_interval():
    rng = np.random.default_rng(0)
    once = of_users(range(40), rng.random(40), rng.random(40))
    order = rng.permutation(40)
    values = {name: {"recall@2": v["recall@2"][order]} for name, v in once.per_user.items()}
    shuffled = replace(once, user_ids=order, per_user=values)
    one, two = averaged([once]), averaged([once, shuffled])
    strangers = averaged([once, replace(shuffled, user_ids=order + 40)])
    for kind, name in (("models", "item2vec"), ("models", "other"), ("differences", "other")):
        first, second, third = (r[kind][name]["recall@2"] for r in (one, two, strangers))
        assert second["mean"] == pytest.approx(first["mean"])
        assert second["ci95"] == pytest.approx(first["ci95"])
        # Were they other users, the interval would be narrower by the root of two.
        assert np.ptp(third["ci95"]) == pytest.approx(np.ptp(first["ci95"]) / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("marked", [1, 100, 1 << 22])
def test_hits_are_the_listed_items_that_are_among_the_users_own_targets(marked, monkeypatch):
    monkeypatch.setattr("recsys.evaluation.measure.MARKED", marked)
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 5, 40)
    targets = Sequences(np.arange(40), np.arange(30), rng.integers(0, 30, lengths.sum()),
                        offsets_from(lengths))  # fmt: skip
    rows = rng.integers(0, 30, (40, 12))
    expected = [np.isin(listed, targets.items_of(user)) for user, listed in enumerate(rows)]
    assert_array_equal(among(rows, targets), expected)
