"""Measure ranked lists: one value per user, then a mean with its interval.

`hits` is a bool array of shape (n_users, K): whether the item at each rank of a user's list, best
first, is one of the user's targets. An unserved user's row is all False.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Hits = npt.NDArray[np.bool_]
    PerUser = npt.NDArray[np.float64]


def recall(hits: Hits, n_targets: npt.NDArray[np.integer], k: int) -> PerUser:
    """Share of a user's targets in the top k: |top-k and targets| / |targets|.

    The divisor is all targets, not min(k, |targets|): an item nobody could know is a miss.

    Examples
    --------
    >>> recall(np.array([[True, False, True]]), np.array([4]), 3)
    array([0.5])
    """
    return np.asarray(hits[:, :k].sum(axis=1) / n_targets)


def hit_rate(hits: Hits, k: int) -> PerUser:
    """1 where the top k holds at least one target, else 0."""
    return np.asarray(hits[:, :k].any(axis=1), dtype=np.float64)


def ndcg(hits: Hits, n_targets: npt.NDArray[np.integer], k: int) -> PerUser:
    """Discounted gain of the top k, divided by that of an ideal list of min(k, |targets|) hits.

    DCG@k = sum over the hits of 1 / log2(rank + 1), ranks from 1.

    References
    ----------
    Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques".
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(n_targets, k) - 1]
    top = hits[:, :k]
    return np.asarray((top * discount[: top.shape[1]]).sum(axis=1) / ideal)


def mrr(hits: Hits) -> PerUser:
    """1 / rank of the first hit; 0 where there is none within the list."""
    first = hits.argmax(axis=1)
    return np.where(hits.any(axis=1), 1 / (first + 1), 0.0)


def accuracy(hits: Hits, n_targets: npt.NDArray[np.int64], ks: Iterable[int]) -> dict[str, PerUser]:
    """Return every metric of a report that needs hits alone, by name."""
    values = {"mrr": mrr(hits)}
    for k in ks:
        values[f"recall@{k}"] = recall(hits, n_targets, k)
        values[f"hit_rate@{k}"] = hit_rate(hits, k)
        values[f"ndcg@{k}"] = ndcg(hits, n_targets, k)
    return values


def coverage(rows: npt.NDArray[np.integer], served: npt.NDArray[np.bool_], n_items: int) -> float:
    """Share of the catalogue that is recommended to anybody.

    `rows` holds the item rows of the lists, (n_users, k); `served` is False where a list ends
    before k.
    """
    listed = np.zeros(n_items, bool)
    listed[rows[served]] = True
    return float(listed.mean())


def novelty(
    rows: npt.NDArray[np.integer], served: npt.NDArray[np.bool_], share: PerUser
) -> PerUser:
    """Mean -log2 of the popularity share over a user's list, in bits; NaN for an empty list.

    `share`, of shape (n_items,), is an item's share of all training events, above 0 for every
    item that is recommended; the rest is as in `coverage`.

    References
    ----------
    Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems".
    """
    bits = np.where(served, -np.log2(share[np.where(served, rows, share.argmax())]), 0.0)
    n = served.sum(axis=1)
    return np.where(n > 0, bits.sum(axis=1) / np.maximum(n, 1), np.nan)


def intra_list_distance(
    rows: npt.NDArray[np.integer],
    served: npt.NDArray[np.bool_],
    unit_vectors: npt.NDArray[np.float32],
) -> PerUser:
    """Mean of 1 - cosine over all pairs of a user's list; NaN for a list of fewer than two.

    `unit_vectors`, of shape (n_items, d), have length 1; the rest is as in `coverage`.

    References
    ----------
    Ziegler et al. 2005, "Improving recommendation lists through topic diversification".
    """
    distances = np.full(len(rows), np.nan)
    for user in range(len(rows)):
        vectors = unit_vectors[rows[user, served[user]]].astype(np.float64)
        n = len(vectors)
        if n > 1:  # the squared length of the sum holds every pair twice, and each item once
            pairs = (vectors.sum(axis=0) ** 2).sum() - (vectors**2).sum()
            distances[user] = 1 - pairs / (n * (n - 1))
    return distances


def means_with_ci95(
    values: PerUser,
    *,
    users: npt.NDArray[np.int64] | None = None,
    cutoffs: npt.NDArray[np.int64] | None = None,
) -> tuple[PerUser, npt.NDArray[np.float64]]:
    """Average each column over users, with 95% percentile-bootstrap intervals over users.

    All columns are resampled together 1,000 times (seeded), so a column of paired differences has
    a paired interval. NaN values are left out of a column's mean. A user who occurs at several
    cutoffs is drawn with all of their rows; a mean is then the mean of the cutoffs' means.

    Parameters
    ----------
    values : float64 array, shape (n_rows, n_columns)
    users, cutoffs : int64 arrays, shape (n_rows,)
        User and cutoff of a row, counted from 0; by default each row is a user, of one cutoff.

    Returns
    -------
    means : float64 array, shape (n_columns,)
    intervals : float64 array, shape (n_columns, 2)

    References
    ----------
    Efron & Tibshirani 1993, "An Introduction to the Bootstrap"; users as clusters: Field & Welsh
    2007, "Bootstrapping clustered data".
    """
    users = np.arange(len(values)) if users is None else users
    cutoffs = np.zeros(len(values), np.int64) if cutoffs is None else cutoffs
    n_users, n_columns = len(np.unique(users)), values.shape[1]
    known = (~np.isnan(values)).astype(np.float64)
    filled = np.nan_to_num(values)
    parts = [(filled[rows], known[rows], users[rows])
             for rows in (cutoffs == cutoff for cutoff in np.unique(cutoffs))]  # fmt: skip

    def means_of(times: npt.NDArray[np.float64]) -> PerUser:
        sums, n_cutoffs = np.zeros((2, len(times), n_columns))
        for values, known, users in parts:
            n = times[:, users] @ known
            sums += np.divide(times[:, users] @ values, n, out=np.zeros_like(n), where=n > 0)
            n_cutoffs += n > 0
        return np.divide(sums, n_cutoffs, out=np.full_like(sums, np.nan), where=n_cutoffs > 0)

    rng, blocks = np.random.default_rng(0), []
    for _ in range(20):
        draws = [rng.integers(0, n_users, n_users) for _ in range(50)]
        times = [np.bincount(draw, minlength=n_users) for draw in draws]
        blocks.append(means_of(np.array(times, dtype=np.float64)))
    resampled, means = np.vstack(blocks), means_of(np.ones((1, n_users)))[0]
    intervals = np.full((n_columns, 2), np.nan)
    some = ~np.isnan(means)
    intervals[some] = np.nanpercentile(resampled[:, some], [2.5, 97.5], axis=0).T
    return means, intervals
