"""Models of the package implicit rank as they do there, given the same histories."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix

from recsys import Recommender
from recsys.evaluate import evaluate
from recsys.evaluation import peers
from recsys.evaluation.baselines import user_item_matrix
from recsys.search.exact import top_k
from recsys.search.threads import one_blas_thread
from tests.test_baselines import of_matrix, sequences

VIEWS = np.random.default_rng(3).random((60, 25)) < 0.3
TRAIN = of_matrix(VIEWS)
LISTS = [[0, 4, 11], [7], [3, 1, 3], list(range(12))]
HISTORIES = sequences(LISTS, 25)


WATCHED = csr_matrix(user_item_matrix(HISTORIES))  # as `implicit` takes it, each item at 1


def trained(home, name, **settings):
    """A model of `implicit` on the views; the test is skipped without the package."""
    module = pytest.importorskip(f"implicit.{home}")
    with one_blas_thread():
        model = getattr(module, name)(**settings, num_threads=1)
        model.fit(csr_matrix(VIEWS.astype(np.float32)), show_progress=False)
    return model


def test_a_missing_package_is_an_error_before_any_training(sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setattr(Recommender, "fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(ModuleNotFoundError, match=r'"implicit".*pip install -e "\.\[peers\]"'):
        evaluate(sample, against=["peers"])


def test_als_serves_a_history_as_implicit_itself_does():
    settings = {"factors": 8, "regularization": 0.5, "alpha": 3.0}
    model = trained("cpu.als", "AlternatingLeastSquares", **settings, random_state=1)
    score = peers.als(TRAIN, **settings, seed=1)
    ids, scores = model.recommend(np.arange(4), WATCHED, N=10, recalculate_user=True)
    found = score(HISTORIES, half_life=None)
    found[HISTORIES.user_rows, HISTORIES.codes] = -np.inf
    rows, best = top_k(found, 10)
    assert_array_equal(rows, ids)
    assert_allclose(best, scores, rtol=1e-4, atol=1e-5)


def test_als_weighs_what_is_recent_by_confidence():
    settings = {"factors": 4, "regularization": 0.5, "alpha": 3.0}
    model = trained("cpu.als", "AlternatingLeastSquares", **settings, random_state=0)
    score = peers.als(TRAIN, **settings)
    items = model.item_factors.astype(float)
    recency = np.array([0.25, 0.5, 1])  # of the items 0, 4 and 11, with a half-life of 1
    confidence = 3 * recency * 3 / recency.sum()
    watched = items[[0, 4, 11]]
    gram = items.T @ items + 0.5 * np.eye(4) + (watched.T * (confidence - 1)) @ watched
    user = np.linalg.solve(gram, watched.T @ confidence)
    assert_allclose(score(HISTORIES, half_life=1.0)[0], items @ user, rtol=1e-3, atol=1e-5)


def test_bpr_takes_the_mean_of_a_history_for_its_user_and_adds_the_item_bias():
    settings = {"factors": 8, "iterations": 20}
    model = trained("cpu.bpr", "BayesianPersonalizedRanking", **settings, learning_rate=0.05,
                    random_state=1)  # fmt: skip
    score = peers.bpr(TRAIN, **settings, seed=1)
    items, bias = model.item_factors[:, :8], model.item_factors[:, 8]
    expected = [items[sorted(set(codes))].mean(axis=0) @ items.T + bias for codes in LISTS]
    assert_allclose(score(HISTORIES, half_life=None), expected, rtol=1e-4, atol=1e-5)
    recent = (0.25 * items[0] + 0.5 * items[4] + items[11]) / 1.75
    found = score(HISTORIES, half_life=1.0)[0]
    assert_allclose(found, recent @ items.T + bias, rtol=1e-4, atol=1e-5)


def test_bm25_ranks_as_implicit_itself_does():
    with pytest.warns(Warning, match="CSR"):
        model = trained("nearest_neighbours", "BM25Recommender", K=6, K1=1.5, B=0.5)
    score = peers.bm25(TRAIN, n_neighbours=6, k1=1.5, b=0.5)
    found = score(HISTORIES, half_life=None)
    for user, row in enumerate(WATCHED):
        ids, scores = model.recommend(user, row, N=10)
        unseen = np.setdiff1d(np.arange(25), LISTS[user])
        best = unseen[np.argsort(-found[user, unseen], kind="stable")][: (scores > 0).sum()]
        assert_array_equal(best, ids[scores > 0])
        assert_allclose(found[user, best], scores[scores > 0], rtol=1e-5)


@pytest.mark.parametrize("name", ["als", "bpr", "bm25"])
def test_a_peer_answers_the_same_again_and_for_each_user_alone(name):
    pytest.importorskip("implicit")
    fit = getattr(peers, name)
    score = fit(TRAIN)
    scores = score(HISTORIES)
    assert (scores.shape, scores.dtype) == ((4, 25), np.float32)
    assert_array_equal(scores, fit(TRAIN)(HISTORIES))
    alone = score(HISTORIES.take_users(np.array([2])))
    assert_allclose(scores[2:3], alone, rtol=1e-4, atol=1e-5)
    if name != "bm25":  # which draws nothing
        assert (scores != fit(TRAIN, seed=1)(HISTORIES)).any()
    five = sequences([[0, 1, 2], [2, 3, 4], [0, 4]], 5)
    assert np.isfinite(fit(five)(five)).all()
