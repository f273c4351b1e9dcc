"""What people would use instead, on the same training part and with the same histories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from recsys.vectors.readout import log_popularity
from recsys.vectors.users import history_matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from scipy.sparse import csr_array

    from recsys.data.sequences import Sequences

    Scores = npt.NDArray[np.float32]
    # Scores all items for some histories, none empty: (n_users, n_items).
    Baseline = Callable[[Sequences], Scores]

# Used where none can be chosen (`recsys.evaluation.opponents`).
HALF_LIFE = 3.0


class HistoryBaseline(Protocol):
    """Score all items for histories weighted as in `user_item_matrix`."""

    def __call__(self, histories: Sequences, half_life: float | None = HALF_LIFE) -> Scores:
        """Return float32 scores of shape (n_users, n_items)."""


@dataclass(frozen=True)
class Opponent:
    """A baseline, and the settings to choose from, the default first; at most for `max_items`."""

    fit: Callable[..., HistoryBaseline]
    settings: list[dict[str, Any]]
    max_items: int | None = None


def user_item_matrix(histories: Sequences, half_life: float | None = None) -> csr_array:
    """Lay histories out as a sparse (n_users, n_items) matrix, each item once.

    With a half-life, in items, recency weights that sum to 1 a user; without, 1 for every item.
    """
    # A copy, since adding up duplicates would shift the offsets of the histories themselves.
    matrix = history_matrix(histories, half_life=half_life).copy()
    matrix.sum_duplicates()
    if half_life is None:
        matrix.data[:] = 1
    return matrix


def linear(between: csr_array | Scores) -> HistoryBaseline:
    """Score by weighted histories @ between, sparse or dense, shape (n_items, n_items)."""

    def score(histories: Sequences, half_life: float | None = HALF_LIFE) -> Scores:
        scores = user_item_matrix(histories, half_life) @ between
        dense = scores if isinstance(scores, np.ndarray) else scores.toarray()
        return np.asarray(dense, dtype=np.float32)

    return score


def popularity(counts: npt.NDArray[np.integer]) -> Baseline:
    """Score every item by its count, the same for all users."""

    def score(histories: Sequences) -> Scores:
        return np.tile(counts.astype(np.float32), (len(histories), 1))

    return score


def recent_popularity(recent: npt.NDArray[np.integer], counts: npt.NDArray[np.integer]) -> Baseline:
    """Score every item by its recent count; among equals, the all-time counts decide."""
    # The places in that order survive float32; the numbers themselves would not.
    return popularity(np.unique(recent + counts / (counts.sum() + 1), return_inverse=True)[1])


def random(n_items: int, *, seed: int = 0) -> Baseline:
    """Score at random: the floor below which nothing should fall."""
    rng = np.random.default_rng(seed)

    def score(histories: Sequences) -> Scores:
        return rng.random((len(histories), n_items), dtype=np.float32)

    return score


def item_knn(
    train: Sequences, *, n_neighbours: int = 2000, shrinkage: float = 5.0
) -> HistoryBaseline:
    """Score by the cosine between items as sets of users.

    similarity(i, j) = |users of both| / (sqrt(|users of i| |users of j|) + shrinkage), the
    `n_neighbours` largest of each item; score = sum over the history of weight * similarity.

    References
    ----------
    Sarwar et al. 2001, "Item-based Collaborative Filtering Recommendation Algorithms".
    """
    from scipy.sparse import csr_array, vstack

    matrix = user_item_matrix(train)
    by_item, n_items = matrix.T.tocsr(), matrix.shape[1]
    lengths, k = np.sqrt(matrix.sum(axis=0)), min(n_neighbours, n_items)
    blocks = []
    for start in range(0, n_items, 1024):
        rows = np.arange(start, min(start + 1024, n_items))
        both = (by_item[rows] @ matrix).toarray()
        similar = both / (np.outer(lengths[rows], lengths) + shrinkage)
        similar[rows - start, rows] = 0
        floor = -np.partition(-similar, k - 1, axis=1)[:, k - 1, None]
        blocks.append(csr_array(np.where(similar >= floor, similar, 0).astype(np.float32)))
    return linear(vstack(blocks).tocsr())


def svd(train: Sequences, *, n_components: int = 32, seed: int = 0) -> HistoryBaseline:
    """Score by h V V', with V the first right singular vectors of the user-item matrix.

    References
    ----------
    Cremonesi, Koren & Turrin 2010, "Performance of Recommender Algorithms on Top-N Recommendation
    Tasks" (PureSVD).
    """
    from sklearn.utils.extmath import randomized_svd

    matrix = user_item_matrix(train)
    n_components = max(1, min(n_components, min(matrix.shape) - 1))
    directions = randomized_svd(matrix, n_components, n_iter=5, random_state=seed)[2]

    def score(histories: Sequences, half_life: float | None = HALF_LIFE) -> Scores:
        weights = user_item_matrix(histories, half_life)
        return np.asarray(weights @ directions.T @ directions, dtype=np.float32)

    return score


def ease(train: Sequences, *, penalty: float = 500.0) -> HistoryBaseline:
    """Score by the linear item-item model with a zero diagonal that fits the matrix best.

    With G = X'X + penalty I and P = inverse(G): B = I - P / diag(P), score = h B.

    References
    ----------
    Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data".
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    matrix = user_item_matrix(train)
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += penalty
    # By Cholesky: half the work of a general inverse. The upper triangle comes back.
    inverse = dpotri(dpotrf(gram, overwrite_a=True)[0], overwrite_c=True)[0]
    inverse = np.triu(inverse) + np.triu(inverse, 1).T
    weights_between = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights_between, 0)
    return linear(weights_between)


def markov(train: Sequences, *, n_next: int = 10, decay: float = 0.9) -> HistoryBaseline:
    """Score by what came after an item in the training sequences.

    weight(i, j) = sum over the events of i, and the `n_next` after each that are of j, of
    decay ** (gap - 1) / sqrt(count of i * count of j); score = sum over the history of
    recency weight * weight.

    References
    ----------
    Shani, Heckerman & Brafman 2005, "An MDP-based Recommender System" (skipping transitions).
    """
    from scipy.sparse import csr_array

    n_items, users = len(train.item_ids), train.user_rows
    scale = 1 / np.sqrt(np.maximum(train.counts(), 1))

    def transitions(gap: int) -> csr_array:
        same = users[:-gap] == users[gap:]
        first, then = train.codes[:-gap][same], train.codes[gap:][same]
        weights = (decay ** (gap - 1) * scale[first] * scale[then]).astype(np.float32)
        return csr_array((weights, (first, then)), shape=(n_items, n_items))

    return linear(sum(map(transitions, range(2, n_next + 1)), start=transitions(1)))


def plus_popularity(
    score: Baseline,
    recent: npt.NDArray[np.integer],
    counts: npt.NDArray[np.integer],
    *,
    weight: float,
) -> Baseline:
    """Add recent popularity to a baseline's scores, standardised user by user.

    (score - its mean) / its deviation + weight * `recsys.vectors.readout.log_popularity`.
    """
    term = np.float32(weight) * log_popularity(counts, recent)

    def with_popularity(histories: Sequences) -> Scores:
        scores = score(histories)
        scores -= scores.mean(axis=1, keepdims=True)
        scores /= np.maximum(scores.std(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return np.asarray(scores + term, dtype=np.float32)

    return with_popularity


OPPONENTS = {
    "item-knn": Opponent(item_knn, [{"shrinkage": x} for x in (5.0, 0.0, 20.0, 100.0)]),
    "svd": Opponent(svd, [{"n_components": x} for x in (32, 16, 64, 128)]),
    # EASE inverts a dense (n_items, n_items) matrix, 3 GB in float64 at this size.
    "ease": Opponent(ease, [{"penalty": x} for x in (500.0, 100.0, 250.0, 1000.0)], 20_000),
    "markov": Opponent(markov, [{}]),
}
