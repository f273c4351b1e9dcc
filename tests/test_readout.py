"""The read-out: a closed form checked against scikit-learn, scales, popularity by staleness."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from recsys.data.events import build_sequences
from recsys.vectors import readout
from recsys.vectors.item2vec import ItemVectors
from recsys.vectors.readout import AHEAD, DECAY, PENALTY, item_columns, log_popularity, rarity
from recsys.vectors.users import averages_before, user_vectors

RNG = np.random.default_rng(0)
VIEWS = pd.DataFrame(
    [(u, i) for u in range(30) for i in RNG.integers(0, 12, u % 9)], columns=["user_id", "item_id"]
)
HISTORIES = build_sequences(VIEWS)
VECTORS = RNG.normal(size=(12, 4)).astype(np.float32)
WEIGHTS = rarity(HISTORIES.counts(), 0.25)
TRAINED = ItemVectors(np.arange(12), VECTORS, RNG.normal(size=(12, 4)).astype(np.float32))


@pytest.mark.parametrize("half_life", [None, 1.0, 3.0])
def test_the_ridge_regression_is_scikit_learns(half_life):
    given = {"half_life": half_life, "item_weights": WEIGHTS}
    features, steps = averages_before(HISTORIES, VECTORS, **given)
    targets = np.zeros((len(steps), 12))
    for target, step in zip(targets, steps, strict=True):
        end = HISTORIES.offsets[HISTORIES.user_rows[step] + 1]
        for ahead, item in enumerate(HISTORIES.codes[step : min(end, step + AHEAD)]):
            target[item] += DECAY**ahead
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    oracle = Ridge(alpha=PENALTY).fit(scaled, targets)
    found = readout.ridge_columns(VECTORS, HISTORIES, **given)
    asked = np.column_stack([features, np.ones(len(features))])
    assert_allclose(asked @ found.T, oracle.predict(scaled), rtol=1e-3, atol=1e-4)


def test_the_ridge_of_many_users_is_that_of_some_and_nothing_where_nothing_follows(monkeypatch):
    given = {"half_life": 3, "item_weights": WEIGHTS}
    whole = readout.ridge_columns(VECTORS, HISTORIES, **given)
    monkeypatch.setattr(readout, "MAX_STEPS", 40)
    part = readout.ridge_columns(VECTORS, HISTORIES, **given)
    assert part.shape == whole.shape == (12, 5)
    assert not np.allclose(part, whole)
    lonely = build_sequences(pd.DataFrame({"user_id": [1, 2, 3], "item_id": [0, 1, 1]}))
    assert not readout.ridge_columns(VECTORS, lonely, **given).any()


def test_scores_of_a_user_have_a_deviation_of_about_1_and_the_ridge_adds_its_weight():
    averaged = user_vectors(HISTORIES, VECTORS, half_life=2, item_weights=WEIGHTS)
    asked = np.column_stack([averaged, np.ones(len(averaged))])
    given = {"scoring": "input-output", "half_life": 2, "discount": 0.25}
    plain, both, doubled = (
        item_columns(TRAINED, HISTORIES, given | {"ridge": ridge}) for ridge in (0, 0.5, 1)
    )
    assert (asked @ plain.T).std(axis=1).mean() == pytest.approx(1)
    assert (asked @ (both - plain).T).std(axis=1).mean() == pytest.approx(0.5)
    assert_allclose(doubled - plain, 2 * (both - plain), atol=1e-5)
    scale = plain[0, 0] / TRAINED.contexts[0, 0]
    assert_allclose(plain, np.column_stack([TRAINED.contexts * scale, np.zeros(12)]), rtol=1e-5)


def test_with_cosine_items_answer_with_their_input_vectors_at_length_1():
    given = {"scoring": "cosine", "half_life": 2, "discount": 0, "ridge": 0}
    assert_allclose(np.linalg.norm(item_columns(TRAINED, HISTORIES, given), axis=1), 1, rtol=1e-6)
    asked = readout.queries(VECTORS[:3] * 7, VECTORS[:3, :0], [0.0, 1, 2], scoring="cosine")
    assert_allclose(np.linalg.norm(asked[:, :4], axis=1), 1, rtol=1e-6)
    assert asked[:, 4:].tolist() == [[1, 0], [1, 1], [1, 2]]
    tree = ItemVectors(np.arange(12), VECTORS, None)
    with pytest.raises(ValueError, match="hs=1 trains no output vectors"):
        item_columns(tree, HISTORIES, given | {"scoring": "input-output"})


def test_popularity_is_the_centred_logarithm_of_shares():
    counts = np.array([8, 4, 2, 2])
    log_2 = np.log(2)
    expected = [1.25 * log_2, 0.25 * log_2, -0.75 * log_2, -0.75 * log_2]
    assert_allclose(log_popularity(counts, None), expected, rtol=1e-5)
    recent = log_popularity(counts, np.array([0, 3, 1, 0]))
    shares = [0.01, 0.755, 0.2525, 0.0025]  # of recent events, plus 0.02 of the all-time share
    assert_allclose(recent, np.log(shares) - np.mean(np.log(shares)), rtol=1e-5)
    assert_allclose(log_popularity(counts, np.zeros(4, int)), expected, rtol=1e-5)


def test_weights_of_popularity_and_of_frequent_items():
    weights = readout.popularity_weights(np.array([0.0, 1, 2, 1000]), fresh=1, stale=5)
    assert_allclose(weights, [1, 3, 4, 5])  # half of the way is gone after a day
    assert rarity(np.array([1, 16, 0]), 0.25).tolist() == [1, 0.5, 1]
    assert rarity(np.array([1, 16]), 0).tolist() == [1, 1]
