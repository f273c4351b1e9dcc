"""Make user vectors: a weighted average of the vectors of what each user watched.

Here weights fall with recency; the weights of rare items are `recsys.vectors.readout.rarity`, those
of liked and disliked items `recsys.model.ask.Model.taste`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.errors import ColdUserError

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array

    from recsys.data.sequences import Sequences

    Floats = npt.NDArray[np.float32]
    Fading = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

# Events averaged at a time, and how many dimensions of them: so much of the vectors stays in the
# processor's cache, and is read often enough to be worth a copy.
BLOCK, WIDTH = 1 << 20, 64
# Events that weigh less than this, against 1 for the newest, weigh nothing: they are lost in
# float32 anyway, and answering one user need not look them up.
NEGLIGIBLE = 2.0**-40
FIRST = np.zeros(1, np.int64)


def history_weights(
    offsets: npt.NDArray[np.int64],
    *,
    half_life: float | None,
    item_weights: npt.NDArray[np.floating[Any]] | None = None,
) -> Floats:
    """Weigh the events of each history; the weights of a user sum to 1.

    An event s steps before the newest weighs 0.5 ** (s / half_life) before it is divided by the
    user's sum, and nothing 40 half-lives back.

    Parameters
    ----------
    offsets : int64 array, shape (n_users + 1,)
        Those of `Sequences`.
    half_life : float, items; None for the plain mean
    item_weights : float array, shape (n_events,), optional
        Factors above 0, one an event, by its item.

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
        some = lengths > 0
        totals = np.add.reduceat(recency, offsets[:-1][some], dtype=np.float64)
        return np.asarray(recency / np.repeat(totals, lengths[some]), dtype=np.float32)
    if half_life is None:
        return np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
    steps_back = np.repeat(offsets[1:], lengths)
    steps_back -= np.arange(1, offsets[-1] + 1)
    powers, totals = fading(half_life, int(lengths.max(initial=0)))
    return np.asarray(powers[steps_back] / np.repeat(totals[lengths], lengths), dtype=np.float32)


def fading(half_life: float, longest: int) -> Fading:
    """Return what an event weighs by its steps back, and the sums of that by length of history.

    Float64 arrays of shapes (longest,) and (longest + 1,).
    """
    # With q = 0.5 ** (1 / half_life), 1 + q + ... + q^(n-1) = (1 - q^n) / (1 - q).
    steps, log_q = np.arange(longest + 1), -np.log(2) / half_life
    powers = np.exp(steps[:-1] * log_q)
    powers[powers < NEGLIGIBLE] = 0
    return powers, np.expm1(steps * log_q) / np.expm1(log_q)


def weigh_one(item_weights: Floats, faded: Fading | None) -> Floats:
    """Return the `history_weights` of one history, to the bit, with a `fading` that is kept.

    `item_weights` is (n_events,), `faded` of histories at least as long; None for the plain mean.
    """
    n = len(item_weights)
    if n == 0:
        return item_weights
    recency: Any = np.float32(1 / n)
    if faded is not None:
        recency = (faded[0][n - 1 :: -1] / faded[1][n]).astype(np.float32)
    weights = recency * item_weights
    return np.asarray(weights / np.add.reduceat(weights, FIRST, dtype=np.float64), np.float32)


def history_matrix(
    histories: Sequences,
    *,
    half_life: float | None = None,
    item_weights: npt.NDArray[np.floating[Any]] | None = None,
) -> csr_array:
    """Lay out the weights of `user_vectors` as a sparse (n_users, n_items) matrix.

    An item that a user watched twice has two entries; one too far back to weigh anything has none.
    """
    from scipy.sparse import csr_array

    by_item = None if item_weights is None else item_weights[histories.codes]
    weights = history_weights(histories.offsets, half_life=half_life, item_weights=by_item)
    if half_life is not None and not (weighs := weights > 0).all():
        histories, weights = histories.where(weighs), weights[weighs]
    shape = (len(histories), len(histories.item_ids))
    return csr_array((weights, histories.codes, histories.offsets), shape=shape)


def user_vectors(
    histories: Sequences,
    vectors: Floats,
    *,
    half_life: float | None = None,
    item_weights: npt.NDArray[np.floating[Any]] | None = None,
) -> Floats:
    """Average the vectors of each history, for all users at once.

    Parameters
    ----------
    histories : Sequences
        Codes are rows of `vectors`.
    vectors : float32 array, shape (n_items, d)
    half_life
        As in `history_weights`.
    item_weights : float array, shape (n_items,), optional
        Factors above 0, one an item.

    Returns
    -------
    float32 array, shape (n_users, d)

    Raises
    ------
    ColdUserError
        A history is empty: there is nothing to average.

    References
    ----------
    Barkan & Koenigstein 2016, "Item2Vec: Neural Item Embedding for Collaborative Filtering";
    average pooling of watched videos: Covington et al. 2016.
    """
    empty = np.flatnonzero(histories.lengths == 0)
    if len(empty):
        raise ColdUserError(
            f"{len(empty)} users have no item with a vector, the first is "
            f"{histories.user_ids[empty[0]]}: leave them out before averaging"
        )
    n_events, width = len(histories.codes), vectors.shape[1]
    averaged = np.empty((len(histories), width), np.float32)
    step = WIDTH if n_events > len(vectors) else max(width, 1)
    columns = [slice(start, start + step) for start in range(0, width, step)]
    parts = [np.ascontiguousarray(vectors[:, part]) for part in columns]
    size = 1 + BLOCK * len(histories) // max(1, n_events)
    for start in range(0, len(histories), size):
        some = histories.slice_users(start, start + size)
        matrix = history_matrix(some, half_life=half_life, item_weights=item_weights)
        for column, part in zip(columns, parts, strict=True):
            averaged[start : start + size, column] = matrix @ part
    return averaged


def averages_before(
    histories: Sequences, vectors: Floats, *, half_life: float | None, item_weights: Floats
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Average what came before each event, as `user_vectors` would, except each user's first.

    Returns
    -------
    averages : float32 array, shape (n_steps, d)
    steps : int64 array, shape (n_steps,)
        The events that they precede, ascending.
    """
    fade = np.float32(1 if half_life is None else 0.5 ** (1 / half_life))
    # All users advance together, the longest first, so that those not yet done are a prefix.
    users = np.argsort(-histories.lengths, kind="stable")
    lengths, starts = histories.lengths[users], histories.offsets[users]
    later = np.ones(len(histories.codes), bool)
    later[histories.offsets[:-1][histories.lengths > 0]] = False
    row = np.cumsum(later) - 1
    steps = np.flatnonzero(later)
    before = np.empty((len(steps), vectors.shape[1]), np.float32)
    weighted = np.column_stack([vectors, np.ones(len(vectors), np.float32)]) * item_weights[:, None]
    total = np.zeros((len(users), weighted.shape[1]), np.float32)
    for place in range(int(lengths.max(initial=1)) - 1):
        going = int(np.searchsorted(-lengths, -(place + 1)))
        at = starts[:going] + place
        total = fade * total[:going] + weighted[histories.codes[at]]
        before[row[at + 1]] = total[:, :-1] / total[:, -1:]
    return before, steps
