"""Calibration chooses by what happened last, keeps what is given, and says what it saw."""

from __future__ import annotations

import numpy as np
import pytest

from recsys import Recommender
from recsys.data.events import Events
from recsys.data.splits import calibration_split
from recsys.evaluation.measure import contender_of_model, recall_of
from recsys.recommender import fitted
from recsys.vectors import calibrate as module
from recsys.vectors.calibrate import DEFAULTS, GRID, calibrate
from recsys.vectors.item2vec import complete_training

SMALL = {"vector_size": 16, "negative": 5, "epochs": 4}


def params(**given):
    return Recommender(**SMALL | given).params


@pytest.fixture(autouse=True)
def small_grid(monkeypatch):
    monkeypatch.setattr(module, "GRID", GRID | {"half_life": (1.0, 4.0)})


@pytest.fixture(scope="module")
def events(sample):
    return Events.of(sample)


def test_it_takes_the_best_of_what_it_tried_and_reports_the_recall_of_evaluation(events):
    choice = calibrate(events, params())
    assert len(choice["tried"]) == 3 + 1  # windows with one half-life, then the other
    best, *others = choice["tried"]
    for row in others:
        means = [np.mean(list(one["recall@20"].values())) for one in (row, best)]
        best = row if means[0] >= 1.01 * means[1] else best
    weight = choice["chosen"].pop("audience_weight")
    assert choice["chosen"] == {name: best[name] for name in GRID if name in best}
    after = {row["audience_weight"]: row["recall@20"] for row in choice["beginnings"]}
    assert after.keys() == set(GRID["audience_weight"])
    as_good = {
        w: r for w, r in after.items() if r[-1] >= 0.97 * max(every[-1] for every in after.values())
    }
    assert sum(after[weight]) == max(sum(recalls) for recalls in as_good.values())
    assert after[0][-1] == pytest.approx(choice["recall@20"]["fold-in"])
    assert choice["recall@20"] == best["recall@20"]
    assert list(choice["users"]) == ["warm", "fold-in"]
    split = calibration_split(events)
    model = Recommender(**SMALL, **choice["chosen"], audience_weight=0, index="exact")
    model.fit(split.train)
    for protocol, case in split.protocols.items():
        recall = recall_of(contender_of_model(model, 20), case, 20)
        assert recall.mean() == pytest.approx(choice["recall@20"][protocol], abs=2e-4)


def test_what_is_given_is_kept_and_the_chosen_settings_give_the_same_model(sample):
    given = {"half_life": 7.0, "popularity_days": 14}
    model = Recommender(**SMALL, **given).fit(sample)
    assert {name: model.params[name] for name in given} == given
    calibration = model.about["calibration"]
    assert set(calibration["chosen"]) == set(GRID) - set(given)
    assert {row["half_life"] for row in calibration["tried"]} == {7.0}
    again = Recommender(**model.params).fit(sample)
    assert (again.params, again.about["calibration"]) == (model.params, {})
    assert np.array_equal(fitted(again).tables.readout, fitted(model).tables.readout)
    second = Recommender(**SMALL, **given).fit(sample[:5000]).fit(sample)
    assert second.about["calibration"]["tried"] == calibration["tried"]  # not those of the first


def test_nothing_is_tried_where_everything_is_given_or_there_is_too_little_data(events, sample):
    given = calibrate(events, params(**DEFAULTS | {"popularity_days": 7}))
    assert given == {"chosen": {}, "skipped": "every setting was given"}
    choice = calibrate(Events.of(sample.iloc[:2]), params())
    assert choice["chosen"] == DEFAULTS
    assert "too little data" in choice["skipped"]


def test_without_calibration_none_is_off(sample):
    model = Recommender(**SMALL | {"epochs": None}, calibrate=False, discount=0).fit(sample)
    rule = complete_training({"epochs": None, "negative": 5}, Events.of(sample).sequences)["epochs"]
    assert (model.params["epochs"], model.params["half_life"]) == (rule, None)
    user_id, rows = model.users[0], fitted(model).tables.histories.items_of(0)
    vectors = np.array([model.item_vector(i) for i in model.items[rows]])
    np.testing.assert_allclose(model.user_vector(user_id), vectors.mean(axis=0), rtol=1e-4)
    assert not model.explain(user_id, model.items[0]).query("item_id.isna()")["share"].any()


def test_without_times_the_last_event_decides_and_popularity_is_all_time(events):
    choice = calibrate(Events(events.sequences, None, events.ratings), params())
    assert list(choice["users"]) == ["last-out"]
    chosen = choice["chosen"]
    assert chosen["popularity_days"] is None
    assert chosen["stale_popularity_weight"] == chosen["popularity_weight"]


@pytest.mark.parametrize(("protocol", "recalls", "weight"), [
    ("fold-in", [0.1, 0.1999, 0.2], 1), ("fold-in", [0.1, 0.19, 0.2], 2),
    ("warm", [0.1, 0.2, 0.197], 2), ("warm", [0.1, 0.2, 0.195], 1),
    ("warm", [0, 0, 0], 0),
])  # fmt: skip
def test_of_equally_good_weights_popularity_gets_the_smallest_now_and_the_largest_later(
    protocol, recalls, weight
):
    chosen = module._of_the_best((0, 1, 2), recalls, protocol)
    assert chosen == (weight, {protocol: recalls[weight]})


def test_on_large_data_some_users_stand_for_all(events, monkeypatch):
    monkeypatch.setattr(module, "MAX_EVENTS", 12_000)
    assert 5_000 < calibrate(events, params())["n_train"] < 12_000


@pytest.mark.parametrize(("best", "tried"), [
    (4.0, [4.0, 2.0, 8.0]), (8.0, [4.0, 2.0, 8.0]), (2.0, [4.0, 2.0, 1.0]), (1.0, [4.0, 2.0, 1.0]),
])  # fmt: skip
def test_half_lives_are_tried_while_they_get_better(best, tried):
    class Part(module._Part):
        def __init__(self):
            self.seen, self.best = [], {}

        def _try(self, half_life, windows):
            self.seen.append((half_life, windows))
            far = abs(np.log(half_life / best))
            if self.best and far >= self.best["far"]:
                return False
            self.best = {"half_life": half_life, "popularity_days": 30.0, "far": far}
            return True

    part = Part()
    part._search(GRID["half_life"], (None, 30.0))
    assert part.seen == [(h, [30.0] if i else (None, 30.0)) for i, h in enumerate(tried)]


def test_what_is_among_the_best_is_found_by_counting_as_by_sorting(monkeypatch):
    monkeypatch.setattr(module, "K", 2)
    scores = np.array([[3, 1, 2, 0], [0, 5, 5, 5]], np.float32)
    one_each, twice = np.array([0, 1]), np.array([0, 0, 1, 1])
    by_count = module._among_best(scores, np.array([2, 0], np.float32), one_each)
    assert by_count.tolist() == [True, False]
    by_order = module._among_best(scores, np.array([2, 1, 5, 0], np.float32), twice)
    assert by_order.tolist() == [True, False, True, False]


def test_cosines_are_never_mixed_with_popularity_and_other_training_is_taken(events):
    seen = []

    def train(sequences, given):
        seen.append((given["epochs"], given["negative"]))
        return module.train_vectors(sequences, given)

    given = params(scoring="cosine", epochs=None, negative=None)
    choice = calibrate(events, given, train=train)
    assert {row["popularity_weight"] for row in choice["tried"]} == {0}
    assert {row["stale_popularity_weight"] for row in choice["tried"]} == {0}
    assert seen == [(9, 9)]  # once, with numbers


def test_the_rule_looks_at_the_events_that_are_trained_on(sample):
    given = {"vector_size": 4, "calibrate": False, "index": "exact", "min_rating": 5}
    events = Events.of(sample)
    liked = events.where(events.liked(5))
    wanted = complete_training({"epochs": None, "negative": None}, liked.compact().sequences)
    params = Recommender(**given).fit(sample).params
    assert {name: params[name] for name in wanted} == wanted
    everything = complete_training(dict.fromkeys(wanted), events.sequences)
    assert everything != wanted
    rare = complete_training({**dict.fromkeys(wanted), "min_count": 40}, liked.sequences)
    assert rare["epochs"] < wanted["epochs"]
