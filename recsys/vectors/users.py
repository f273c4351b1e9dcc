"""Make user vectors: a weighted average of the vectors of what each user watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.errors import ColdUserError

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys.data.sequences import Sequences


# Events that are averaged at a time, so that what is in between stays in the processor's cache.
BLOCK = 1 << 16
# Events that weigh less than this, against 1 of the newest, weigh nothing: 40 half-lives back they
# are lost in float32 anyway, and one user's answer need not look them up.
NEGLIGIBLE = 2.0**-40


def history_weights(
    offsets: npt.NDArray[np.int64],
    *,
    half_life: float | None,
    item_weights: npt.NDArray[np.floating[Any]] | None = None,
) -> npt.NDArray[np.float32]:
    """Weigh the events of each history; the weights of a user sum to 1.

    An event that lies s steps back weighs 0.5 ** (s / half_life) before it is divided by the
    user's sum; the newest event lies 0 steps back, and those 40 half-lives back weigh nothing.
    Without a half-life all weigh the same.

    Parameters
    ----------
    offsets : int64 array, shape (n_users + 1,)
        Where each user starts in the flat array of events; the first is 0.
    half_life : float, items; None for the plain mean
    item_weights : float array, shape (n_events,), optional
        Factors above 0, one an event, by the item that it is of.

    Returns
    -------
    float32 array, shape (n_events,)

    Examples
    --------
    >>> print(history_weights(np.array([0, 2, 5]), half_life=1).round(3))
    [0.333 0.667 0.143 0.286 0.571]
    """
    lengths = np.diff(offsets)
    if item_weights is not None:
        recency = history_weights(offsets, half_life=half_life) * item_weights
        totals = np.add.reduceat(recency, offsets[:-1][lengths > 0], dtype=np.float64)
        return np.asarray(recency / np.repeat(totals, lengths[lengths > 0]), dtype=np.float32)
    if half_life is None:
        return np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    steps_back = np.repeat(offsets[1:], lengths)
    steps_back -= np.arange(1, offsets[-1] + 1)
    # With q = 0.5 ** (1 / half_life), 1 + q + ... + q^(n-1) = (1 - q^n) / (1 - q).
    log_q = -np.log(2) / half_life
    totals = np.expm1(lengths * log_q) / np.expm1(log_q)
    powers = np.exp(np.arange(lengths.max(initial=0)) * log_q)
    powers[powers < NEGLIGIBLE] = 0
    return np.asarray(powers[steps_back] / np.repeat(totals, lengths), dtype=np.float32)


def weights_of_one(
    item_weights: npt.NDArray[np.float32], *, half_life: float | None
) -> npt.NDArray[np.float32]:
    """Weigh the events of one history as `history_weights` does, to the bit, with less ado.

    Parameters
    ----------
    item_weights : float32 array, shape (n_events,), not empty
    half_life : float, items; None for the plain mean
    """
    n = len(item_weights)
    if half_life is None:
        recency = np.full(n, 1 / n)
    else:
        log_q = -np.log(2) / half_life
        recency = np.exp(np.arange(n - 1, -1, -1) * log_q)
        recency[recency < NEGLIGIBLE] = 0
        recency /= np.expm1(n * log_q) / np.expm1(log_q)
    weights = recency.astype(np.float32) * item_weights
    return np.asarray(weights / np.add.reduceat(weights, [0], dtype=np.float64), dtype=np.float32)


def user_vectors(
    histories: Sequences,
    vectors: npt.NDArray[np.float32],
    *,
    half_life: float | None = None,
    item_weights: npt.NDArray[np.floating[Any]] | None = None,
) -> npt.NDArray[np.float32]:
    """Average the vectors of each history, for all users at once.

    Parameters
    ----------
    histories : Sequences
        Codes are rows of `vectors`.
    vectors : float32 array, shape (n_items, d)
    half_life : float, items
        Recency weighting, see `history_weights`; None for the plain mean.
    item_weights : float array, shape (n_items,), optional
        Further factors above 0, one an item.

    Returns
    -------
    float32 array, shape (n_users, d)

    Raises
    ------
    ColdUserError
        A history is empty: there is nothing to average, and zeros would be a lie.

    References
    ----------
    Barkan & Koenigstein 2016, "Item2Vec: Neural Item Embedding for Collaborative Filtering";
    average pooling of watched videos: Covington et al. 2016.
    """
    from scipy.sparse import csr_array

    empty = np.flatnonzero(histories.lengths == 0)
    if len(empty):
        raise ColdUserError(
            f"{len(empty)} users have no item with a vector, the first is "
            f"{histories.user_ids[empty[0]]}: leave them out before averaging"
        )
    averaged = np.empty((len(histories), vectors.shape[1]), np.float32)
    size = 1 + BLOCK * len(histories) // max(1, len(histories.codes))
    for start in range(0, len(histories), size):
        offsets = histories.offsets[start : start + size + 1]
        codes = histories.codes[offsets[0] : offsets[-1]]
        offsets = offsets - offsets[0]
        by_item = None if item_weights is None else item_weights[codes]
        weights = history_weights(offsets, half_life=half_life, item_weights=by_item)
        shape = (len(offsets) - 1, len(vectors))
        matrix = csr_array((weights, codes, offsets), shape=shape)
        averaged[start : start + size] = matrix @ vectors
    return averaged


def user_vector(
    history: npt.NDArray[np.integer],
    vectors: npt.NDArray[np.float32],
    *,
    half_life: float | None = None,
    item_weights: npt.NDArray[np.floating[Any]] | None = None,
) -> npt.NDArray[np.float32]:
    """Average the vectors of one history, oldest item first; as `user_vectors` does for many.

    Parameters
    ----------
    history : integer array, shape (n_events,)
        Rows of `vectors`, not empty.
    vectors : float32 array, shape (n_items, d)
    half_life : float, items
    item_weights : float array, shape (n_items,), optional

    Returns
    -------
    float32 array, shape (d,)
    """
    offsets = np.array([0, len(history)])
    by_item = None if item_weights is None else item_weights[history]
    weights = history_weights(offsets, half_life=half_life, item_weights=by_item)
    # Summed row by row as the sparse product does it, so that one user and all users agree.
    return np.asarray((weights[:, None] * vectors[history]).sum(axis=0))
