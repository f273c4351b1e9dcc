"""What is printed says what was measured, in aligned columns."""

import json

import pandas as pd
import pytest

from recsys.evaluate import evaluate
from recsys.evaluation.report import as_text
from recsys.studies import leak, new_users
from tests.test_evaluate import TINY, briefly


def entries(recall_1, recall_5, interval, unserved=0):
    means = {"mrr": 0.25, "recall@1": recall_1, "recall@5": recall_5, "ndcg@1": 0.5, "ndcg@5": 0.75,
             "coverage@1": 0.125, "coverage@5": 1.0}  # fmt: skip
    values = {metric: {"mean": mean, "ci95": interval} for metric, mean in means.items()}
    return values | {"n_users_unserved": unserved}


WARM = {
    "n_users": 1234,
    "n_targets": 5000,
    "n_targets_without_vector": 7,
    "models": {
        "item2vec": entries(0.1, 0.2, [0.15, 0.25], unserved=3),
        "popularity": entries(0.0, 1.0, [1.0, 1.0]),
        "svd": entries(0.05, 0.1, [0.0625, 0.1444], unserved=1),
    },
    "differences": {
        "popularity": {"recall@5": {"mean": -0.8, "ci95": [-0.85, -0.75]}},
        "svd": {"recall@5": {"mean": 0.1, "ci95": [-0.0125, 0.2]}},
    },
}
SPLIT = {"protocol": "time", "cutoff": "1998-03-07T02:21:30+00:00",
         "n_train": 80_000, "n_validation": 20_001, "n_users_warm": 1300, "n_users_cold": 200,
         "share_cold_item_events": 0.0123}  # fmt: skip
REPORT = {
    "dataset": {"name": "some", "n_ratings": 100_001, "n_users": 1500, "n_items": 1682},
    "split": SPLIT,
    "protocols": {"warm": WARM, "fold-in": WARM | {"n_users": 0}},
    "calibration": {
        "chosen": {"epochs": 40, "popularity_days": None, "popularity_weight": 0.25},
        "recall@20": {"warm": 0.1234, "fold-in": 0.2},
        "users": {"warm": 1002, "fold-in": 218},
    },
    "opponents": {
        "recent-popularity": {"settings": {"days": 7}, "recall@20": 0.1},
        "svd": {"settings": {"half_life": None, "n_components": 64}, "recall@20": 0.2},
        "markov": {"settings": {"half_life": 2.5}, "recall@20": 0.2},
    },
    "ann": {"backend": "annoy", "recall_vs_exact": 0.9876, "microseconds_per_query": 49.6,
            "bytes": 1_250_000, "build_seconds": 0.125},
    "seconds": {"train": 4.5612, "evaluate": 2.0},
}  # fmt: skip
TEXT = """\
some: 100,001 ratings, 1,500 users, 1,682 items
split at 1998-03-07 02:21 UTC: trained on the 80,000 ratings before, tested on 20,001 ratings of 1,500 users
not in training: 200 of these users, and the items of 1.2% of the 20,001 ratings
recall@K: the share of a user's items to be found that is in the user's top K, averaged over users

warm: users with a history, asked at the cutoff for what they watched later and not before
1,234 users, 5,000 items to be found, of which 7 have no vector and count as misses
            recall              95% of   ndcg    mrr  coverage     item2vec minus this,
                @1     @5     recall@5     @5               @5         recall@5 and 95%
item2vec     0.100  0.200  0.150-0.250  0.750  0.250     1.000
popularity   0.000  1.000  1.000-1.000  0.750  0.250     1.000  -0.800 (-0.850, -0.750)
svd          0.050  0.100  0.062-0.144  0.750  0.250     1.000  +0.100 (-0.013, +0.200)
users without a known item count as 0: 3 in item2vec, 1 in svd

fold-in: users within their later events: the first half joins the history (no retraining), the rest is to be found
no such users in this data

item2vec's settings (chosen inside the training part, with a recall@20 there of 0.123 for 1,002 warm users and
0.200 for 218 fold-in users): epochs 40, popularity_days none, popularity_weight 0.25
opponents' settings (chosen inside the training part): recent-popularity days 7; svd half_life none,
n_components 64; markov half_life 2.5
index (annoy): finds 98.8% of what exact search finds, 50 microseconds a query, 1.2 MB, built in 0.12 s
seconds: train 4.6, evaluate 2.0"""  # noqa: E501


def test_a_report_as_text():
    assert as_text(REPORT) == TEXT


@pytest.mark.parametrize(("split", "ks"), [("time", [1, 5, 10, 20, 100]), ("last-out", [7])])
def test_a_real_report_is_a_table_of_aligned_rows_at_most_115_wide(sample, split, ks):
    report = briefly(sample.head(2000), params=TINY, split=split, ks=ks)
    text = as_text(report)
    assert not {"None", "nan"} & set(text.split())
    assert max(map(len, text.splitlines())) <= 115
    for protocol, result in report["protocols"].items():
        block = next(b for b in text.split("\n\n") if b.startswith(protocol)).splitlines()[3:]
        ks_head, item2vec, *others = (b for b in block if not b.startswith("users without"))
        assert [line.split()[0] for line in (item2vec, *others)] == list(result["models"])
        assert ks_head.split()[: len(ks)] == [f"@{k}" for k in ks]
        assert len({len(line) for line in others}) == 1
        for line in (item2vec, *others):
            shown = [f"{result['models'][line.split()[0]][f'recall@{k}']['mean']:.3f}" for k in ks]
            assert line.split()[1 : len(ks) + 1] == shown
            ends = [i for i in range(len(line) - 1) if line[i] != " " and line[i + 1] == " "]
            assert {ks_head.index(f"@{k} ") + len(f"@{k}") - 1 for k in ks} <= set(ends)


def test_a_real_report_without_users_says_so_and_its_means_are_null():
    users, items = [1, 2, 1, 2, 1, 3, 4, 5], [1, 1, 2, 2, 3, 2, 1, 2]
    views = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": range(1, 9)})
    report = json.loads(json.dumps(evaluate(views, params=TINY), allow_nan=False))
    for result in report["protocols"].values():
        entries = {**result["models"]["svd"], **result["differences"]["svd"]}
        assert entries.pop("n_users_unserved") == 0
        assert all(entry == {"mean": None, "ci95": None} for entry in entries.values())
    text = as_text(report)
    assert text.count("no such users in this data") == 2
    assert "index (exact): nobody to ask it for\n" in text


MANY_USERS = {
    "share": 0.7, "n_users": {"warm": 9}, "recall": {"warm": {"item2vec": {"recall@5": 0.1}}}
}  # fmt: skip
FEW_USERS = {"share": 0.95, "n_users": {"warm": 0},
             "recall": {"warm": {"item2vec": {"recall@5": None}}}}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        (
            {"split": SPLIT | {"protocol": "last-out", "cutoff": None, "n_validation": 1500}},
            ["split by each user's last event: trained on 80,000 ratings, tested on 1,500 last "
             "events of 1,500 users",
             "not in training: 200 of these users, and the items of 1.2% of the 1,500 last events"],
        ),
        (
            {"split": {**dict.fromkeys(SPLIT), "protocol": "time",
                       "cutoffs": [MANY_USERS, FEW_USERS]}, "protocols": {"warm": WARM}},
            ["split at 2 moments, 70%, 95% of the ratings before them; with a new training for "
             "each",
             "means are averaged over the cutoffs, intervals are over distinct users",
             "1,234 distinct users at 2 cutoffs, 5,000 items to be found, of which 7 have no "
             "vector and count as misses",
             "item2vec's recall@5 by cutoff: 70%: 0.100 (9 users), 95%: - (0 users)"],
        ),
        (
            {"opponents": {"svd": {"settings": {"half_life": 3.0}, "recall@20": None}}},
            ["opponents' settings (defaults: too few to choose by): svd half_life 3"],
        ),
        (
            {"calibration": {"chosen": {"epochs": 20}, "skipped": "too little data"}},
            ["item2vec's settings (defaults: too little data): epochs 20"],
        ),
    ],
    ids=["last-out", "several cutoffs", "opponents' defaults", "our defaults"],
)  # fmt: skip
def test_what_a_report_says_of(changed, lines):
    assert set(lines) <= set(as_text(REPORT | changed).splitlines())


def after(recall, interval, unserved=0):
    models = {"item2vec": entries(0.1, recall, interval, unserved=unserved),
              "item-knn + popularity": entries(0.0, 1.0, [1.0, 1.0])}  # fmt: skip
    return WARM | {"n_users": 70, "models": models}


def test_the_curve_of_new_users_stands_in_one_table():
    curve = {"1": after(0.05, [0.0, 0.1], unserved=2), "20": after(0.25, [0.2, 0.3])}
    assert new_users.as_text(REPORT | {"new_users": curve}) == [
        "",
        "new users after their first items; what comes after the first 20 is to be "
        "found, which are never ranked",
        "70 users, 5,000 items to be found, the same for all columns, of which 7 have no vector",
        "recall@5 after                      1 item             20 items",
        "item2vec                  .050 (.000-.100)     .250 (.200-.300)",
        "item-knn + popularity  1.000 (1.000-1.000)  1.000 (1.000-1.000)",
        "users without a known item yet, who count as 0 in item2vec: 2 after 1",
    ]
    for n_users, said in (
        (49, "fewer than 50 such users: the intervals tell little"),
        (0, "no user without training history has more than 20 items"),
    ):
        curve = {"20": after(0.1, [0.0, 0.2]) | {"n_users": n_users}}
        assert new_users.as_text({"new_users": curve})[-1] == said


def test_a_random_split_stands_beside_the_split_by_time():
    models = {name: entries(0.5, 0.75, [0.7, 0.8]) for name in WARM["models"]}
    found = WARM | {"n_users": 1499, "models": models}
    lines = leak.as_text(REPORT | {"leak": found})
    start = lines.index("warm users: 1,234 by time, 1,499 at random")
    assert lines[start + 1 : start + 5] == [
        "recall@5    by time  at random",
        "item2vec      0.200      0.750",
        "popularity    1.000      0.750",
        "svd           0.100      0.750",
    ]
