"""What people would use instead, on the same training part and with the same histories."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import numpy as np

from recsys.users import history_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from scipy.sparse import csr_array

    from recsys.sequences import Sequences

    Scores = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)

# Chosen, with the defaults below, on splits inside training parts. On those of ml-100k it lifts
# recall@20 in fold-in (EASE .177 to .198, item-kNN .159 to .187, SVD .181 to .186) and costs EASE
# and SVD about .01 in warm: no one setting is best for both.
HALF_LIFE = 3.0
# EASE inverts a dense (n_items, n_items) matrix, 3 GB in float64 at this size.
EASE_LIMIT = 20_000
# What serves a user whose history holds no known item, too.
NEEDS_NO_HISTORY = ("popularity", "recent-popularity", "random")


class Baseline(Protocol):
    """Score all items for some histories."""

    def __call__(self, histories: Sequences) -> Scores:
        """Return float32 scores of shape (n_users, n_items); the histories are never empty."""
        ...


def history_matrix(histories: Sequences, *, half_life: float | None = None) -> csr_array:
    """Lay histories out as a sparse (n_users, n_items) matrix of weights.

    Parameters
    ----------
    histories : Sequences
    half_life : float, items
        Recency weights that sum to 1 a user; None = 1 for every item that was watched.
    """
    from scipy.sparse import csr_array

    shape = (len(histories), len(histories.item_ids))
    if half_life is None:
        weights = np.ones(len(histories.codes), np.float32)
    else:
        weights = history_weights(histories.offsets, half_life=half_life)
    # A copy, since adding up duplicates would shift the offsets of the histories themselves.
    matrix = csr_array((weights, histories.codes, histories.offsets), shape=shape, copy=True)
    matrix.sum_duplicates()
    if half_life is None:
        matrix.data[:] = 1
    return matrix


def popularity(counts: npt.NDArray[np.integer]) -> Baseline:
    """Score every item by its count, the same for all users."""

    def score(histories: Sequences) -> Scores:
        return np.tile(counts.astype(np.float32), (len(histories), 1))

    return score


def random(n_items: int, *, seed: int = 0) -> Baseline:
    """Score at random: the floor below which nothing should fall."""
    rng = np.random.default_rng(seed)

    def score(histories: Sequences) -> Scores:
        return rng.random((len(histories), n_items), dtype=np.float32)

    return score


def item_knn(train: Sequences, *, n_neighbours: int = 2000, shrinkage: float = 5.0) -> Baseline:
    """Score by the cosine between items as sets of users.

    similarity(i, j) = |users of both| / (sqrt(|users of i| |users of j|) + shrinkage), of which
    the `n_neighbours` largest of each item are kept; an item's score is the sum over the history
    of weight * similarity.

    References
    ----------
    Sarwar et al. 2001, "Item-based Collaborative Filtering Recommendation Algorithms".
    """
    from scipy.sparse import csr_array, vstack

    matrix = history_matrix(train)
    n_items = matrix.shape[1]
    lengths = np.sqrt(matrix.sum(axis=0))
    k = min(n_neighbours, n_items)
    blocks = []
    by_item = matrix.T.tocsr()
    for start in range(0, n_items, 1024):
        rows = np.arange(start, min(start + 1024, n_items))
        both = (by_item[rows] @ matrix).toarray()
        similar = both / (np.outer(lengths[rows], lengths) + shrinkage)
        similar[rows - start, rows] = 0
        floor = np.partition(similar, n_items - k, axis=1)[:, n_items - k, None]
        blocks.append(csr_array(np.where(similar >= floor, similar, 0).astype(np.float32)))
    neighbours = vstack(blocks).tocsr()

    def score(histories: Sequences) -> Scores:
        weights = history_matrix(histories, half_life=HALF_LIFE)
        return np.asarray((weights @ neighbours).toarray(), dtype=np.float32)

    return score


def svd(train: Sequences, *, n_components: int = 32, seed: int = 0) -> Baseline:
    """Score by the projection of a history on the main directions of the user-item matrix.

    score = h V V', with V the right singular vectors.

    References
    ----------
    Cremonesi, Koren & Turrin 2010, "Performance of Recommender Algorithms on Top-N Recommendation
    Tasks" (PureSVD).
    """
    from sklearn.utils.extmath import randomized_svd

    matrix = history_matrix(train)
    n_components = max(1, min(n_components, min(matrix.shape) - 1))
    directions = randomized_svd(matrix, n_components, n_iter=5, random_state=seed)[2]

    def score(histories: Sequences) -> Scores:
        weights = history_matrix(histories, half_life=HALF_LIFE)
        return np.asarray(weights @ directions.T @ directions, dtype=np.float32)

    return score


def ease(train: Sequences, *, penalty: float = 500.0) -> Baseline:
    """Score by the linear item-item model with a zero diagonal that fits the matrix best.

    With G = X'X + penalty I and P = inverse(G): B = I - P / diag(P), score = h B.

    References
    ----------
    Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data".
    """
    from scipy.linalg import inv

    matrix = history_matrix(train)
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += penalty
    inverse = inv(gram, overwrite_a=True)
    weights_between = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights_between, 0)

    def score(histories: Sequences) -> Scores:
        weights = history_matrix(histories, half_life=HALF_LIFE)
        return np.asarray(weights @ weights_between, dtype=np.float32)

    return score


def baselines(
    train: Sequences, recent_counts: npt.NDArray[np.integer] | None, *, seed: int = 0
) -> dict[str, Callable[[], Baseline]]:
    """List the baselines by name, each to be fitted by a call.

    Parameters
    ----------
    train : Sequences
    recent_counts : integer array, shape (n_items,), or None
        Events of the last 30 days of training; without times there is no such baseline.
    seed : int
    """
    counts = train.counts()
    fits: dict[str, Callable[[], Baseline]] = {"popularity": lambda: popularity(counts)}
    if recent_counts is not None:
        # Among items with equal recent counts, the all-time counts decide. The places in that
        # order survive float32; the numbers themselves would not.
        places = np.unique(recent_counts + counts / (counts.sum() + 1), return_inverse=True)[1]
        fits["recent-popularity"] = lambda: popularity(places)
    fits["item-knn"] = lambda: item_knn(train)
    fits["svd"] = lambda: svd(train, seed=seed)
    if len(train.item_ids) <= EASE_LIMIT:
        fits["ease"] = lambda: ease(train)
    else:
        logger.info("ease is left out: more than %d items", EASE_LIMIT)
    fits["random"] = lambda: random(len(train.item_ids), seed=seed)
    return fits
