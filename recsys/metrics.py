"""Measure ranked lists: one value per user, then a mean with its interval.

All functions take `hits`, a bool array of shape (n_users, K): whether the item at each rank of a
user's list, best first, is one of the user's targets. An unserved user's row is all False.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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


def coverage(rows: npt.NDArray[np.integer], served: npt.NDArray[np.bool_], n_items: int) -> float:
    """Share of the catalogue that is recommended to anybody.

    Parameters
    ----------
    rows : integer array, shape (n_users, k)
        Item rows of the lists.
    served : bool array, shape (n_users, k)
        False where a list ends before k.
    n_items : int
    """
    return len(np.unique(rows[served])) / n_items


def novelty(
    rows: npt.NDArray[np.integer], served: npt.NDArray[np.bool_], share: PerUser
) -> PerUser:
    """Mean -log2 of the popularity share over a user's list, in bits; NaN for an empty list.

    Parameters
    ----------
    rows, served
        As in `coverage`.
    share : float64 array, shape (n_items,)
        An item's share of all training events, above 0 for every item that is recommended.

    References
    ----------
    Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems".
    """
    bits = np.where(served, -np.log2(share[np.where(served, rows, share.argmax())]), 0.0)
    n = served.sum(axis=1)
    return np.where(n > 0, bits.sum(axis=1) / np.maximum(n, 1), np.nan)


def means_with_ci95(
    values: PerUser, *, n_resamples: int = 1000, seed: int = 0
) -> tuple[PerUser, npt.NDArray[np.float64]]:
    """Average each column over users, with 95% percentile-bootstrap intervals over users.

    All columns are resampled together, so that the interval of a column of paired differences is
    a paired interval. NaN values are left out of a column's mean.

    Parameters
    ----------
    values : float64 array, shape (n_users, n_columns), n_users at least 1

    Returns
    -------
    means : float64 array, shape (n_columns,)
    intervals : float64 array, shape (n_columns, 2)

    References
    ----------
    Efron & Tibshirani 1993, "An Introduction to the Bootstrap".
    """
    known = (~np.isnan(values)).astype(np.float64)
    filled = np.nan_to_num(values)
    n_users, n_columns = values.shape
    rng = np.random.default_rng(seed)
    resampled = np.empty((n_resamples, n_columns))
    with np.errstate(invalid="ignore"):  # 0 / 0: nobody in this sample has a value
        for i in range(n_resamples):
            times = np.bincount(rng.integers(0, n_users, n_users), minlength=n_users)
            weights = times.astype(np.float64)
            resampled[i] = (weights @ filled) / (weights @ known)
        means = filled.sum(axis=0) / known.sum(axis=0)
    intervals = np.full((n_columns, 2), np.nan)
    some = ~np.isnan(means)
    intervals[some] = np.nanpercentile(resampled[:, some], [2.5, 97.5], axis=0).T
    return means, intervals
