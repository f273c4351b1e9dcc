"""The read-out: a closed form checked against scikit-learn, scales, popularity by staleness."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from recsys.data.sequences import build_sequences
from recsys.vectors import readout
from recsys.vectors.item2vec import ItemVectors
from recsys.vectors.readout import (
    AHEAD,
    DECAY,
    PENALTY,
    item_columns,
    log_popularity,
    popularity_weights,
    queries,
    rarity,
    ridge_columns,
)
from recsys.vectors.users import user_vector, user_vectors

RNG = np.random.default_rng(0)
VIEWS = pd.DataFrame(
    [(u, i) for u in range(30) for i in RNG.integers(0, 12, u % 9)], columns=["user_id", "item_id"]
)
HISTORIES = build_sequences(VIEWS)
VECTORS = RNG.normal(size=(12, 4)).astype(np.float32)
WEIGHTS = rarity(HISTORIES.counts(), 0.25)
ONES = np.ones(12, np.float32)
TRAINED = ItemVectors(np.arange(12), VECTORS, RNG.normal(size=(12, 4)).astype(np.float32))


def rows_before(half_life):
    """The user vector before each event but the first, and the targets, the slow way."""
    features, targets = [], []
    for user in range(len(HISTORIES)):
        items = HISTORIES.items_of(user)
        for step in range(1, len(items)):
            features.append(
                user_vector(items[:step], VECTORS, half_life=half_life, item_weights=WEIGHTS)
            )
            target = np.zeros(12)
            for ahead, item in enumerate(items[step : step + AHEAD]):
                target[item] += DECAY**ahead
            targets.append(target)
    return np.array(features), np.array(targets)


@pytest.mark.parametrize("half_life", [None, 1.0, 3.0])
def test_the_ridge_regression_is_scikit_learns(half_life):
    features, targets = rows_before(half_life)
    scaler = StandardScaler().fit(features.astype(np.float64))
    oracle = Ridge(alpha=PENALTY).fit(scaler.transform(features.astype(np.float64)), targets)
    found = ridge_columns(VECTORS, HISTORIES, half_life=half_life, item_weights=WEIGHTS)
    asked = np.column_stack([features, np.ones(len(features))])
    expected = oracle.predict(scaler.transform(features.astype(np.float64)))
    assert_allclose(asked @ found.T, expected, rtol=1e-3, atol=1e-4)


def test_where_nothing_follows_anything_the_ridge_says_nothing():
    lonely = build_sequences(pd.DataFrame({"user_id": [1, 2, 3], "item_id": [0, 1, 1]}))
    assert not ridge_columns(VECTORS[:2], lonely, half_life=3, item_weights=ONES[:2]).any()


def test_the_ridge_knows_what_comes_after_from_what_comes_before():
    chain = [(u, (u + step) % 12) for u in range(120) for step in range(6)]
    histories = build_sequences(pd.DataFrame(chain, columns=["user_id", "item_id"]))
    vectors = np.eye(12, dtype=np.float32)
    found = ridge_columns(vectors, histories, half_life=1, item_weights=ONES)
    for item in range(12):
        scores = found[:, item] + found[:, -1]
        assert scores.argmax() == (item + 1) % 12
        assert scores[(item + 1) % 12] > 5 * abs(scores[(item - 1) % 12])


def test_scores_of_a_user_have_a_deviation_of_about_1_and_the_ridge_adds_its_weight():
    averaged = user_vectors(HISTORIES, VECTORS, half_life=2, item_weights=WEIGHTS)
    asked = np.column_stack([averaged, np.ones(len(averaged))])
    plain, both, doubled = (
        item_columns(
            TRAINED, HISTORIES, scoring="input-output", half_life=2, discount=0.25, ridge=ridge
        )
        for ridge in (0, 0.5, 1)
    )
    assert (asked @ plain.T).std(axis=1).mean() == pytest.approx(1)
    assert (asked @ (both - plain).T).std(axis=1).mean() == pytest.approx(0.5)
    assert_allclose(doubled - plain, 2 * (both - plain), atol=1e-5)
    scale = plain[0, 0] / TRAINED.contexts[0, 0]
    assert_allclose(plain, np.column_stack([TRAINED.contexts * scale, np.zeros(12)]), rtol=1e-5)


def test_with_cosine_items_answer_with_their_input_vectors_at_length_1():
    columns = item_columns(TRAINED, HISTORIES, scoring="cosine", half_life=2, discount=0, ridge=0)
    assert_allclose(np.linalg.norm(columns, axis=1), 1, rtol=1e-6)
    asked = queries(VECTORS[:3] * 7, np.array([0.0, 1, 2]), scoring="cosine")
    assert_allclose(np.linalg.norm(asked[:, :4], axis=1), 1, rtol=1e-6)
    assert asked[:, 4:].tolist() == [[1, 0], [1, 1], [1, 2]]


def test_popularity_is_the_centred_logarithm_of_shares():
    counts = np.array([8, 4, 2, 2])
    assert_allclose(log_popularity(counts, None), [1.25 * np.log(2), 0.25 * np.log(2),
                    -0.75 * np.log(2), -0.75 * np.log(2)], rtol=1e-5)  # fmt: skip
    recent = log_popularity(counts, np.array([0, 3, 1, 0]))
    shares = [0.01, 0.755, 0.2525, 0.0025]  # of recent events, plus 0.02 of the all-time share
    assert_allclose(recent, np.log(shares) - np.mean(np.log(shares)), rtol=1e-5)
    assert_allclose(log_popularity(counts, np.zeros(4, int)), log_popularity(counts, None))


def test_half_of_the_way_from_fresh_to_stale_is_gone_after_a_day():
    weights = popularity_weights(np.array([0.0, 1, 2, 1000]), fresh=1, stale=5)
    assert_allclose(weights, [1, 3, 4, 5])


def test_the_ridge_is_fitted_on_some_users_where_there_are_many(monkeypatch):
    monkeypatch.setattr(readout, "MAX_STEPS", 40)
    part = readout._some_users(HISTORIES, 40)
    assert 20 < len(part.codes) <= 40
    assert np.isin(part.user_ids, HISTORIES.user_ids).all()
    assert ridge_columns(VECTORS, HISTORIES, half_life=2, item_weights=ONES).shape == (12, 5)


def test_an_item_watched_16_times_as_often_weighs_half():
    assert rarity(np.array([1, 16, 0]), 0.25).tolist() == [1, 0.5, 1]
    assert rarity(np.array([1, 16]), 0).tolist() == [1, 1]
