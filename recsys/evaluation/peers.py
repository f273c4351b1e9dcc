"""Compare with three models of the package `implicit` (extra `peers`), seeded, in one thread."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.evaluation.baselines import HALF_LIFE, Opponent, linear, user_item_matrix
from recsys.search.threads import one_blas_thread

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from recsys.data.sequences import Sequences
    from recsys.evaluation.baselines import HistoryBaseline, Scores


def check_installed() -> None:
    """Raise ModuleNotFoundError at once rather than after minutes of training."""
    if find_spec("implicit") is None:
        raise ModuleNotFoundError(
            'comparing with peers needs the package "implicit", which is not installed: '
            'pip install -e ".[peers]"',
            name="implicit",
        )


def als(
    train: Sequences,
    *,
    factors: int = 32,
    regularization: float = 1.0,
    alpha: float = 1.0,
    iterations: int = 15,
    seed: int = 0,
    workers: int = 1,
) -> HistoryBaseline:
    """Factorise by alternating least squares; user factors are solved for at query time.

    The confidence of an item is alpha * weight, with weights of mean 1 a user (1 in training).
    `workers` threads train.

    References
    ----------
    Hu, Koren & Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    """
    from implicit.cpu.als import AlternatingLeastSquares

    with one_blas_thread():
        model = AlternatingLeastSquares(
            factors=factors, regularization=regularization, alpha=alpha, iterations=iterations,
            num_threads=workers, random_state=seed,
        )  # fmt: skip
        model.fit(_csr_matrix(train), show_progress=False)

    def score(histories: Sequences, half_life: float | None = HALF_LIFE) -> Scores:
        weights = _csr_matrix(histories, half_life)
        users = model.recalculate_user(np.arange(len(histories)), weights)
        return np.asarray(users @ model.item_factors.T, dtype=np.float32)

    return score


def bpr(
    train: Sequences, *, factors: int = 64, iterations: int = 100, seed: int = 0
) -> HistoryBaseline:
    """Factorise by Bayesian personalised ranking; score = user factors @ item factors + item bias.

    BPR cannot add users later; the recency-weighted mean of a history's item factors stands in.

    References
    ----------
    Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback".
    """
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    with one_blas_thread():
        model = BayesianPersonalizedRanking(
            factors=factors, learning_rate=0.05, iterations=iterations, num_threads=1,
            random_state=seed,
        )  # fmt: skip
        model.fit(_csr_matrix(train), show_progress=False)
    items, bias = model.item_factors[:, :-1], model.item_factors[:, -1]

    def score(histories: Sequences, half_life: float | None = HALF_LIFE) -> Scores:
        weights = user_item_matrix(histories, half_life)
        users = (weights @ items) / weights.sum(axis=1)[:, None]
        return np.asarray(users @ items.T + bias, dtype=np.float32)

    return score


def bm25(
    train: Sequences, *, n_neighbours: int = 200, k1: float = 1.2, b: float = 0.75
) -> HistoryBaseline:
    """Score by item-kNN on a matrix weighted by BM25: history @ similarity.

    References
    ----------
    Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond".
    """
    from implicit.nearest_neighbours import BM25Recommender
    from implicit.utils import ParameterWarning
    from scipy.sparse import csr_array, diags_array

    model = BM25Recommender(K=n_neighbours, K1=k1, B=b, num_threads=1)
    with warnings.catch_warnings():  # `implicit` passes itself a matrix of the wrong kind
        warnings.simplefilter("ignore", ParameterWarning)
        model.fit(_csr_matrix(train), show_progress=False)
    # Without the diagonal, as in item-kNN.
    return linear(csr_array(model.similarity - diags_array(model.similarity.diagonal())))


def _csr_matrix(histories: Sequences, half_life: float | None = None) -> csr_matrix[Any]:
    """Lay histories out as `implicit` takes them, with weights of mean 1 a user."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(user_item_matrix(histories, half_life))
    n_items = np.diff(matrix.indptr)
    scale = n_items / np.asarray(matrix.sum(axis=1)).ravel()
    matrix.data *= np.repeat(scale, n_items).astype(np.float32)
    return matrix


ALS = [{"factors": f, "alpha": a} for f, a in product((32, 16, 64), (1.0, 10.0))]
BPR = [{"factors": f} for f in (64, 32, 128)]
BM25 = [{"n_neighbours": n, "b": b} for n, b in product((200, 50, 1000), (0.75, 0.25))]
PEERS = {"als": Opponent(als, ALS), "bpr": Opponent(bpr, BPR), "bm25": Opponent(bm25, BM25)}
