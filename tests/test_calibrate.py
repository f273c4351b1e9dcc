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
from recsys.vectors.calibrate import DEFAULTS, GRID, calibrate, default_epochs

SMALL = {"vector_size": 16, "negative": 5}


def params(**given):
    return Recommender(**SMALL, **given).params


@pytest.fixture(autouse=True)
def small_grid(monkeypatch):
    monkeypatch.setattr(module, "GRID", GRID | {"epochs": (2, 5), "half_life": (1.0, 4.0)})


@pytest.fixture(scope="module")
def events(sample):
    return Events.of(sample)


def test_it_takes_the_best_of_what_it_tried_and_reports_the_recall_of_evaluation(events):
    choice = calibrate(events, params())
    assert len(choice["tried"]) == 2 * 2 * 3
    best = max(choice["tried"], key=lambda row: np.mean(list(row["recall@20"].values())))
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
    given = {"epochs": 3, "half_life": 7.0, "popularity_days": 14}
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
    model = Recommender(**SMALL, calibrate=False, discount=0).fit(sample)
    assert (model.params["epochs"], model.params["half_life"]) == (DEFAULTS["epochs"], None)
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


def test_of_equally_good_weights_the_smallest_is_taken():
    choose = module._smallest_of_the_best
    assert choose((0.0, 1.0, 2.0), [0.1, 0.1999, 0.2], "warm") == (1.0, {"warm": 0.1999})
    assert choose((0.0, 1.0, 2.0), [0.1, 0.19, 0.2], "warm") == (2.0, {"warm": 0.2})


def test_on_large_data_some_users_stand_for_all_and_the_epochs_follow_the_rule(events, monkeypatch):
    monkeypatch.setattr(module, "MAX_EVENTS", 12_000)
    monkeypatch.setitem(DEFAULTS, "epochs", 5)
    choice = calibrate(events, params())
    assert 5_000 < choice["n_train"] < 12_000
    assert {row["epochs"] for row in choice["tried"]} == {5}
    assert choice["chosen"]["epochs"] == default_epochs(len(events)) == 4
    given = calibrate(events, params(epochs=2))
    assert {row["epochs"] for row in given["tried"]} == {2}
    assert "epochs" not in given["chosen"]


def test_cosines_are_never_mixed_with_popularity_and_other_training_is_taken(events):
    seen = []

    def train(sequences, given):
        seen.append(given["epochs"])
        return module.train_vectors(sequences, given)

    choice = calibrate(events, params(scoring="cosine"), train=train)
    assert {row["popularity_weight"] for row in choice["tried"]} == {0}
    assert {row["stale_popularity_weight"] for row in choice["tried"]} == {0}
    assert seen == [2, 5]
