"""Opponents get the settings with the highest recall inside the training part."""

import logging
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from recsys.data.events import Events
from recsys.data.frames.ratings import check_ratings
from recsys.data.splits import Cases, calibration_split
from recsys.evaluation import opponents as module
from recsys.evaluation.baselines import HALF_LIFE, OPPONENTS, Opponent, item_knn, markov
from recsys.evaluation.opponents import Choice, Slice, choose, count_recent, fit_opponents

NAMES = ["popularity", "recent-popularity", "item-knn", "svd", "ease", "markov", "random"]
HISTORY = ["item-knn", "svd", "ease", "markov"]


def events_of(frame):
    return Events.of(check_ratings(frame))


def views(days):
    """Events of three users and two items on these days."""
    users, items, seconds = [1, 1, 2, 2, 3], [5, 6, 5, 6, 6], [day * 24 * 60 * 60 for day in days]
    return events_of(pd.DataFrame({"user_id": users, "item_id": items, "timestamp": seconds}))


def rank(contender, histories):
    nothing = histories.where(histories.codes < 0)
    cases = Cases(histories, nothing, nothing, np.zeros(len(histories)))
    return contender.rank(cases.recode(contender.item_ids))


@pytest.fixture(scope="module")
def events(sample):
    return events_of(sample)


@pytest.fixture(scope="module")
def where(events):
    return Slice.of(events, None)


def test_recent_counts_reach_back_from_the_cutoff_or_else_from_the_end():
    some = views([1, 60, 65, 69, 85])
    counts = count_recent(some, 95 * 24 * 60 * 60)
    assert {days: found.tolist() for days, found in counts.items()} == {
        30: [1, 2], 7: [0, 0], None: [2, 3]}  # fmt: skip
    assert count_recent(some, None)[7].tolist() == [0, 1]
    assert list(count_recent(Events(some.sequences), None)) == [None]


# ---- choosing


def knows(column):
    """A fit that scores the items whose number ends in `column` above all others."""

    def fit(train, *, ending=0):
        wanted = np.array([item % 10 == ending for item in train.item_ids], dtype=np.float32)

        def score(histories, half_life=HALF_LIFE):
            return np.tile(wanted if half_life == column else -wanted, (len(histories), 1))

        return score

    return fit


@pytest.mark.parametrize("half_life", [1.0, None])
def test_the_setting_and_the_half_life_with_the_highest_recall_are_chosen(where, half_life):
    fit, recalls = knows(half_life), {}
    for ending, tried in product(range(4), module.HALF_LIVES):
        score = fit(where.train.sequences, ending=ending)
        recalls[ending, tried] = where.recall(partial(score, half_life=tried))
    [choice] = choose(Opponent(fit, [{"ending": ending} for ending in range(4)]), where)
    assert choice.recall == max(recalls.values())
    assert recalls[choice.settings["ending"], choice.half_life] == choice.recall


def test_recall_is_the_mean_over_protocols_of_the_mean_over_users(events, where):
    score, item_ids = item_knn(where.train.sequences), where.train.sequences.item_ids
    means = []
    for cases in calibration_split(events).protocols.values():
        known, total = cases.recode(item_ids), 0.0
        for user in np.flatnonzero(known.histories.lengths):
            one = known.take_users(np.array([user]))
            scores = score(one.histories)[0]
            scores[one.watched.codes] = -np.inf
            best = np.argsort(-scores, kind="stable")[:20]
            total += np.isin(best, one.targets.codes).sum() / cases.targets.lengths[user]
        means.append(total / len(cases))
    assert where.recall(score) == pytest.approx((means[0] + means[1]) / 2)


def test_popularity_is_chosen_for_the_settings_that_were_chosen_without_it(where):
    plain, popular = choose(Opponent(markov, [{}]), where, with_popularity=True)
    assert [plain] == choose(Opponent(markov, [{}]), where)
    score, recalls = markov(where.train.sequences), {}
    for days, weight in product((30, 7, None), module.WEIGHTS):
        tried = Choice({}, plain.half_life, None, days, weight)
        recalls[days, weight] = where.recall(tried.baseline(score, where.recent))
    assert len(set(recalls.values())) > 5
    assert popular.half_life == plain.half_life
    assert popular.recall == recalls[popular.days, popular.weight] == max(recalls.values())


# ---- all of them


def test_every_opponent_is_fitted_on_all_of_the_training_part_with_its_choice(events, monkeypatch):
    monkeypatch.setattr(module, "SEARCH_LIMIT", 0)
    contenders, report = fit_opponents(events, None, k=10)
    assert list(contenders) == NAMES
    assert list(report) == NAMES[1:-1]
    train = events.sequences
    half_life = report["markov"]["settings"]["half_life"]
    rows, best = rank(contenders["markov"], train)
    scores = markov(train)(train, half_life=half_life)
    assert_array_equal(np.take_along_axis(scores, rows, axis=1), best)
    for name in HISTORY:
        assert set(report[name]["settings"]) == {"half_life", *OPPONENTS[name].settings[0]}
    assert all(0 < report[name]["recall@20"] < 1 for name in report)
    serve = {name for name, contender in contenders.items() if not contender.needs_history}
    assert serve == {"popularity", "recent-popularity", "random"}


def test_too_little_data_leaves_the_defaults_and_says_so(caplog):
    caplog.set_level(logging.INFO)
    contenders, report = fit_opponents(views(range(1, 6)), None, k=2)
    assert list(contenders) == NAMES
    assert all(one["recall@20"] is None for one in report.values())
    for name in HISTORY:
        assert report[name]["settings"] == {"half_life": HALF_LIFE, **OPPONENTS[name].settings[0]}
    assert "the opponents have their default settings" in caplog.text


def test_who_cannot_stand_a_large_catalogue_is_left_out_by_name(events, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    ease = Opponent(OPPONENTS["ease"].fit, [{}], max_items=len(events.sequences.item_ids) - 1)
    monkeypatch.setattr(module, "OPPONENTS", {"ease": ease})
    assert "ease" not in fit_opponents(events, None, k=2)[0]
    assert f"ease is left out: more than {ease.max_items} items" in caplog.messages


def test_ratings_below_the_least_are_no_interactions(events, monkeypatch):
    monkeypatch.setattr(module, "OPPONENTS", {})
    contenders, _ = fit_opponents(events, None, k=2, min_rating=4.0)
    liked = events.where(events.ratings >= 4).compact().sequences
    assert_array_equal(contenders["popularity"].item_ids, liked.item_ids)
    _, scores = rank(contenders["popularity"], liked.take_users(np.array([0])))
    assert_array_equal(scores[0], np.sort(liked.counts())[::-1][:2])
    where, train = Slice.of(events, 4.0), calibration_split(events, min_rating=4.0).train
    assert len(where.train) == (train.ratings >= 4).sum() < len(train)


def test_against_says_who_takes_part(sample, monkeypatch):
    monkeypatch.setattr(module, "OPPONENTS", {"markov": OPPONENTS["markov"]})
    some = events_of(sample.head(2000))
    assert fit_opponents(some, None, k=2, against=()) == ({}, {})
    ordered = fit_opponents(Events(some.sequences), None, k=2)
    assert [list(found) for found in ordered] == [["popularity", "markov", "random"], ["markov"]]
    pytest.importorskip("implicit")
    monkeypatch.setattr(module, "SEARCH_LIMIT", 0)
    contenders, report = fit_opponents(some, None, k=2, against=("baselines", "peers"))
    names = [name + suffix for name in ("markov", "als", "bpr", "bm25")
             for suffix in ("", " + popularity")]  # fmt: skip
    assert list(contenders) == ["popularity", "recent-popularity", *names, "random"]
    assert list(report) == ["recent-popularity", *names]
    for name in names:
        added = {"popularity_days", "popularity_weight"} & {*report[name]["settings"]}
        assert len(added) == (2 if "+" in name else 0)
