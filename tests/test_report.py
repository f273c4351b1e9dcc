"""What is printed says what was measured, in aligned columns."""

import json

import pandas as pd
import pytest

from recsys.evaluate import evaluate
from recsys.evaluation.report import as_text
from recsys.studies import leak, new_users
from tests.test_evaluate import TINY, briefly


def cutoff(share, n_users, recall):
    values = {"recall": {"warm": {"item2vec": {"recall@5": recall}}}, "n_users": {"warm": n_users}}
    return {"share": share, **values}


@pytest.fixture(scope="module")
def report(sample):
    return briefly(sample.head(2000), params=TINY, ks=[1, 5, 10])


@pytest.mark.parametrize(("split", "ks"), [("time", [1, 5, 10, 20, 100]), ("last-out", [7])])
def test_a_report_is_a_table_of_aligned_rows_at_most_115_wide(sample, split, ks):
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
        middle = ks[len(ks) // 2]
        for line in (item2vec, *others):
            values = result["models"][line.split()[0]]
            shown = [f"{values[f'recall@{k}']['mean']:.3f}" for k in ks]
            shown.append("{:.3f}-{:.3f}".format(*values[f"recall@{middle}"]["ci95"]))
            shown += [f"{values[name]['mean']:.3f}"
                      for name in (f"ndcg@{middle}", "mrr", f"coverage@{middle}")]  # fmt: skip
            assert line.split()[1 : len(ks) + 5] == shown
            assert all(line[ks_head.index(f"@{k} ") + len(f"@{k}")] == " " for k in ks)
        for line in others:
            difference = result["differences"][line.split()[0]][f"recall@{middle}"]
            low, high = difference["ci95"]
            assert line.endswith(f"  {difference['mean']:+.3f} ({low:+.3f}, {high:+.3f})")


def test_a_report_without_users_says_so_and_its_means_are_null():
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


SPLIT = {"protocol": "time", "cutoff": "1998-03-07T02:21:30+00:00", "n_train": 80_000,
         "n_validation": 20_001, "n_users_warm": 1300, "n_users_cold": 200,
         "share_cold_item_events": 0.0123}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        (
            {"split": SPLIT},
            ["split at 1998-03-07 02:21 UTC: trained on the 80,000 ratings before, tested on "
             "20,001 ratings of 1,500 users",
             "not in training: 200 of these users, and the items of 1.2% of the 20,001 ratings"],
        ),
        (
            {"split": SPLIT | {"protocol": "last-out", "n_validation": 1500}},
            ["split by each user's last event: trained on 80,000 ratings, tested on 1,500 last "
             "events of 1,500 users"],
        ),
        (
            {"split": {"cutoffs": [cutoff(0.7, 1000, 0.1), cutoff(0.95, 0, None)]}},
            ["split at 2 moments, 70%, 95% of the ratings before them; with a new training for "
             "each",
             "item2vec's recall@5 by cutoff: 70%: 0.100 (1,000 users), 95%: - (0 users)"],
        ),
        (
            {"opponents": {"recent-popularity": {"settings": {"days": 7}, "recall@20": 0.1},
                           "svd": {"settings": {"half_life": None, "n": 64}, "recall@20": 0.2}},
             "calibration": {"chosen": {"half_life": 4.0}, "recall@20": {"warm": 0.1234},
                             "users": {"warm": 1002}}},
            ["opponents' settings (chosen inside the training part): recent-popularity days 7; "
             "svd half_life none, n 64",
             "item2vec's settings (chosen inside the training part, with a recall@20 there of "
             "0.123 for 1,002 warm users):", "half_life 4"],
        ),
        (
            {"opponents": {"svd": {"settings": {"half_life": 3.0}, "recall@20": None}},
             "calibration": {"chosen": {"half_life": 3.0}, "skipped": "too little data"}},
            ["opponents' settings (defaults: too few to choose by): svd half_life 3",
             "item2vec's settings (defaults: too little data): half_life 3"],
        ),
    ],
)  # fmt: skip
def test_what_a_report_says(changed, lines, report):
    warm = {"warm": report["protocols"]["warm"]}
    assert set(lines) <= set(as_text(report | {"protocols": warm} | changed).splitlines())


def test_the_studies_of_new_users_and_of_the_leak_have_tables_of_their_own():
    values = {"recall@5": {"mean": 0.25, "ci95": [0.0, 1.0]}, "n_users_unserved": 2}
    warm = {"models": {"item2vec": values, "svd": values}, "n_users": 49, "n_targets": 5000,
            "n_targets_without_vector": 7}  # fmt: skip
    assert new_users.as_text({"new_users": {"1": warm, "20": warm}}) == [
        "",
        "new users after their first items; what comes after the first 20 is to be found, which "
        "are never ranked",
        "49 users, 5,000 items to be found, the same for all columns, of which 7 have no vector",
        "recall@5 after             1 item           20 items",
        "item2vec        .250 (.000-1.000)  .250 (.000-1.000)",
        "svd             .250 (.000-1.000)  .250 (.000-1.000)",
        "users without a known item yet, who count as 0 in item2vec: 2 after 1, 2 after 20",
        "fewer than 50 such users: the intervals tell little",
    ]
    nobody = new_users.as_text({"new_users": {"20": warm | {"n_users": 0}}})
    assert nobody[-1] == "no user without training history has more than 20 items"
    assert leak.as_text({"protocols": {"warm": warm}, "leak": warm})[2:] == [
        "warm users: 49 by time, 49 at random",
        "recall@5  by time  at random",
        "item2vec    0.250      0.250",
        "svd         0.250      0.250",
    ]
