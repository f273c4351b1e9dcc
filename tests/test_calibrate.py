"""Calibration chooses by what happened last, keeps what is given, and says what it saw."""

from __future__ import annotations

import numpy as np
import pytest

from recsys import Recommender
from recsys.data.frames import check_ratings
from recsys.data.splits import calibration_split
from recsys.evaluation.measure import contender_of_model, recall_of
from recsys.vectors import calibrate as module
from recsys.vectors.calibrate import DEFAULTS, GRID, calibrate, default_epochs

SMALL = {"vector_size": 16, "negative": 5}


def small_grid(monkeypatch, **changes):
    monkeypatch.setattr(
        module, "GRID", GRID | {"epochs": (2, 5), "half_life": (1.0, 4.0)} | changes
    )


@pytest.fixture(scope="module")
def choice(sample):
    with pytest.MonkeyPatch.context() as patch:
        small_grid(patch)
        return calibrate(check_ratings(sample), Recommender(**SMALL).params)


def mean_recall(row):
    return np.mean(list(row["recall@20"].values()))


def test_it_takes_the_best_of_what_it_tried(choice):
    assert len(choice["tried"]) == 2 * 2 * 3
    best = max(choice["tried"], key=mean_recall)
    assert choice["chosen"] == {name: best[name] for name in GRID}
    assert choice["recall@20"] == best["recall@20"]
    assert list(choice["users"]) == ["warm", "fold-in"]


def test_the_recall_it_reports_is_what_evaluation_measures(choice, sample):
    train, cases, _ = calibration_split(check_ratings(sample))
    model = Recommender(**SMALL, **choice["chosen"], index="exact").fit(train)
    for protocol, case in cases.items():
        recall = recall_of(contender_of_model(model, 20), case, 20)
        assert recall.mean() == pytest.approx(choice["recall@20"][protocol], abs=2e-4)


def test_what_is_given_is_kept_and_the_rest_chosen(sample, monkeypatch):
    small_grid(monkeypatch, popularity_weight=(0.0, 1.0))
    model = Recommender(**SMALL, epochs=3, half_life=7.0, popularity_days=14).fit(sample)
    given = {"epochs": 3, "half_life": 7.0, "popularity_days": 14, "calibrate": False}
    assert {name: model.params[name] for name in given} == given
    assert set(model.calibration["chosen"]) == {"popularity_weight", "stale_popularity_weight"}
    assert "half_life" in model.calibration["tried"][0]


def test_nothing_is_tried_where_everything_is_given(sample, monkeypatch):
    monkeypatch.setattr(module, "calibration_split", None)  # would fail if it were called
    model = Recommender(**SMALL, **(DEFAULTS | {"popularity_days": 7})).fit(sample)
    assert model.calibration == {"chosen": {}, "skipped": "every setting was given"}


def test_too_little_data_gets_the_defaults_and_the_reason(sample):
    few = check_ratings(sample).iloc[:2]
    choice = calibrate(few, Recommender(**SMALL).params)
    assert choice["chosen"] == DEFAULTS
    assert "too little data" in choice["skipped"]
    assert Recommender(**SMALL).fit(few).params["epochs"] == DEFAULTS["epochs"]


def test_without_calibration_none_is_off(sample):
    model = Recommender(**SMALL, calibrate=False, discount=0).fit(sample)
    assert model.calibration == {}
    assert model.params["epochs"] == DEFAULTS["epochs"]
    assert model.params["half_life"] is None
    user_id = model.users[0]
    rows = model._tables.histories.items_of(0)
    vectors = np.array([model.item_vector(i) for i in model.items[rows]])
    np.testing.assert_allclose(model.user_vector(user_id), vectors.mean(axis=0), rtol=1e-4)
    assert not model.explain(user_id, model.items[0]).query("item_id.isna()")["share"].any()


def test_without_times_the_last_event_decides_and_popularity_is_all_time(sample, monkeypatch):
    small_grid(monkeypatch)
    choice = calibrate(check_ratings(sample.drop(columns="timestamp")), Recommender(**SMALL).params)
    assert list(choice["users"]) == ["last-out"]
    chosen = choice["chosen"]
    assert chosen["popularity_days"] is None
    assert chosen["stale_popularity_weight"] == chosen["popularity_weight"]


def test_of_equally_good_weights_the_smallest_is_taken():
    choose = module._smallest_of_the_best
    assert choose((0.0, 1.0, 2.0), [0.1, 0.1999, 0.2], "warm") == (1.0, {"warm": 0.1999})
    assert choose((0.0, 1.0, 2.0), [0.1, 0.19, 0.2], "warm") == (2.0, {"warm": 0.2})


def test_on_large_data_some_users_stand_for_all_and_the_epochs_follow_the_rule(sample, monkeypatch):
    small_grid(monkeypatch)
    monkeypatch.setattr(module, "MAX_EVENTS", 12_000)
    monkeypatch.setitem(DEFAULTS, "epochs", 5)
    ratings = check_ratings(sample)
    choice = calibrate(ratings, Recommender(**SMALL).params)
    assert 5_000 < choice["n_train"] < 12_000
    assert {row["epochs"] for row in choice["tried"]} == {5}
    assert choice["chosen"]["epochs"] == default_epochs(len(ratings)) == 4
    given = calibrate(ratings, Recommender(**SMALL, epochs=2).params)
    assert {row["epochs"] for row in given["tried"]} == {2}
    assert "epochs" not in given["chosen"]


def test_the_epochs_fall_with_the_data_from_a_million_ratings_on_and_never_jump():
    sizes = np.unique(np.geomspace(1, 1e9, 2000).astype(int))
    epochs = np.array([default_epochs(int(n)) for n in sizes])
    assert set(epochs[sizes <= module.MAX_EVENTS]) == {DEFAULTS["epochs"]}
    assert set(np.diff(epochs)) == {0, -1}
    assert epochs[-1] == module.FEWEST_EPOCHS


def test_the_chosen_parameters_give_the_same_model_without_calibration(sample, monkeypatch):
    small_grid(monkeypatch)
    first = Recommender(**SMALL).fit(sample)
    again = Recommender(**first.params).fit(sample)
    assert again.params == first.params
    assert np.array_equal(again._tables.readout, first._tables.readout)


def test_one_user_with_more_than_all_events_wanted_is_still_drawn(sample, monkeypatch):
    monkeypatch.setattr(module, "MAX_EVENTS", 1)
    assert module._some_users(check_ratings(sample))["user_id"].nunique() == 1


def test_cosines_are_never_mixed_with_popularity(sample, monkeypatch):
    small_grid(monkeypatch)
    params = Recommender(**SMALL, scoring="cosine").params
    choice = calibrate(check_ratings(sample), params)
    assert {row["popularity_weight"] for row in choice["tried"]} == {0}
    assert {row["stale_popularity_weight"] for row in choice["tried"]} == {0}
