"""Reorder a ranked list so that its items differ from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# A list of k is chosen from the best POOL * k candidates, and from LEAST at least. What comes after
# the first MOST of a list is in the order of scores: nobody looks that far.
POOL, LEAST, MOST = 10, 100, 200
LARGEST = POOL * MOST


def pool_size(k: int) -> int:
    """Return how many of the best candidates a list of k is chosen from."""
    return max(POOL * min(k, MOST), LEAST, k)


def diversify(
    scores: npt.NDArray[np.floating[Any]],
    unit_vectors: npt.NDArray[np.float32],
    k: int,
    diversity: float,
) -> npt.NDArray[np.int64]:
    """Choose k candidates one by one, trading their score against likeness to those chosen before.

    Only the first MOST are chosen like this; the others follow by score.

    Maximal marginal relevance: the next is the one with the largest
    (1 - diversity) * relevance - diversity * (largest cosine with any chosen before), where
    relevance is the score scaled to [0, 1] over the candidates.

    Parameters
    ----------
    scores : float array, shape (n,)
        Descending.
    unit_vectors : float32 array, shape (n, d), or (LARGEST, d) if that is less
        The candidates' vectors, of length 1.
    k : int
    diversity : float in [0, 1]

    Returns
    -------
    int64 array, shape (min(k, n),)
        Positions of the chosen candidates, in the order of choosing; ties go to the earlier one.

    References
    ----------
    Carbonell & Goldstein 1998, "The use of MMR, diversity-based reranking for reordering documents
    and producing summaries".

    Examples
    --------
    >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> diversify(np.array([3.0, 2.0, 1.0]), vectors, 2, 0.5).tolist()
    [0, 2]
    """
    everything, k = np.arange(len(scores)), min(k, len(scores))
    if k == 0:
        return everything[:0]
    if k > MOST:
        first = diversify(scores[:LARGEST], unit_vectors, MOST, diversity)
        return np.concatenate([first, np.delete(everything, first)])[:k]
    relevance = (scores - scores.min()) / (np.ptp(scores) or 1.0)
    closest = np.full(len(scores), -np.inf)
    merit = relevance.astype(np.float64)
    chosen = np.empty(k, np.int64)
    for place in range(len(chosen)):
        chosen[place] = best = np.argmax(merit)
        closest = np.maximum(closest, unit_vectors @ unit_vectors[best])
        merit = (1 - diversity) * relevance - diversity * closest
        merit[chosen[: place + 1]] = -np.inf
    return chosen


def diversify_many(
    rows: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    unit_vectors: npt.NDArray[np.float32],
    k: int,
    diversity: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Choose k of each user's candidates by `diversify`.

    `rows` (of `unit_vectors`) and `scores`, both (n_users, n), are as `ExactIndex.query` returns
    them, and so is the answer, (n_users, min(k, n)).
    """
    chosen = np.zeros((len(rows), min(k, rows.shape[1])), np.int64)
    values = np.full(chosen.shape, -np.inf, np.float32)
    for user in range(len(rows)):
        n = np.count_nonzero(scores[user] > -np.inf)
        order = diversify(scores[user, :n], unit_vectors[rows[user, :n][:LARGEST]], k, diversity)
        chosen[user, : len(order)] = rows[user, order]
        values[user, : len(order)] = scores[user, order]
    return chosen, values
