"""Read Word2Vec out for recommendation: one vector per item, one query per history.

An item's vector holds `d + 2` numbers, or `d + r + 2` with the audience block: what answers the
user vector, a level, what answers the average of audience vectors (`recsys.vectors.audience`), and
the logarithm of its popularity. A query holds the user vector, a 1, the average of audience
vectors, which counts for less the longer the history is, and how much popularity counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.splits import draw, draw_users
from recsys.search.exact import unit_length
from recsys.vectors.audience import audience_answers
from recsys.vectors.users import averages_before, history_matrix, user_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from recsys.data.sequences import Sequences
    from recsys.vectors.item2vec import ItemVectors

    Floats = npt.NDArray[np.float32]

# The ridge regression predicts the next items, each step further counting for less. It is fitted on
# up to MAX_STEPS steps of users drawn at random, the scale of the scores on SCALE_USERS.
AHEAD, DECAY, PENALTY = 5, 0.7, 100.0
MAX_STEPS, SCALE_USERS = 200_000, 1000
# Share of the all-time counts in recent popularity, so that no item has none.
SMOOTHING = 0.02


def item_columns(trained: ItemVectors, histories: Sequences, params: Mapping[str, Any]) -> Floats:
    """Return what answers a user vector and a 1, float32 array of shape (n_items, d + 1).

    With `scoring="cosine"`, the input vectors at length 1. With "input-output", the output vectors
    plus `ridge` times the coefficients of a ridge regression, both brought to one scale: a user's
    scores over all items have a standard deviation of about 1. Without output vectors, of a trainer
    that has none, the coefficients stand alone.

    Parameters
    ----------
    trained : ItemVectors
    histories : Sequences
        What was trained on, over the items of `trained`.
    params : dict
        Settings of `recsys.Recommender`.

    Raises
    ------
    ValueError
        Neither output vectors nor a weight of the ridge regression, without `scoring="cosine"`.
    """
    if params["scoring"] == "cosine":
        level = np.zeros(len(trained.vectors))
        return np.column_stack([unit_length(trained.vectors), level]).astype(np.float32)
    contexts = trained.contexts
    if contexts is None:
        if not params["ridge"]:
            raise ValueError("hs=1 trains no output vectors: use it with scoring='cosine'")
        contexts = np.zeros_like(trained.vectors)
    rarities = rarity(histories.counts(), params["discount"])
    averaging = {"half_life": params["half_life"], "item_weights": rarities}
    columns = np.column_stack([contexts, np.zeros(len(contexts))])
    users = draw(np.flatnonzero(histories.lengths > 0), SCALE_USERS)
    averaged = user_vectors(histories.take_users(users), trained.vectors, **averaging)
    averaged = np.column_stack([averaged, np.ones(len(averaged), np.float32)])
    columns = columns / _spread(averaged @ columns.T)
    if params["ridge"]:
        coefficients = ridge_columns(trained.vectors, histories, **averaging)
        # Squared error favours what is popular, as a user vector would without the discount.
        coefficients *= rarities[:, None]
        columns = columns + params["ridge"] * coefficients / _spread(averaged @ coefficients.T)
    return columns.astype(np.float32)


def audience_columns(
    audience: Floats,
    histories: Sequences,
    params: Mapping[str, Any],
    counts: npt.NDArray[np.integer[Any]] | None = None,
) -> Floats:
    """Return what answers an average of audience vectors, float32 array of shape (n_items, r).

    On the scale of `item_columns`. The arguments are those, the vectors of
    `recsys.vectors.audience` and, where `histories` are of some users only, the events of each item
    by all.
    """
    counts = histories.counts() if counts is None else counts
    columns = audience_answers(audience, counts)
    users = draw(np.flatnonzero(histories.lengths > 0), SCALE_USERS)
    rarities = rarity(counts, params["discount"])
    vectors = audience[:, : columns.shape[1]]
    averaged = user_vectors(histories.take_users(users), vectors, item_weights=rarities)
    return np.asarray(columns / _spread(averaged @ columns.T), np.float32)


def rarity(counts: npt.NDArray[np.integer[Any]], discount: float) -> Floats:
    """Weigh items by count ** -discount, float32 array of shape (n_items,).

    What everybody watches says little about each: the inverse document frequency of Spärck Jones
    1972, "A statistical interpretation of term specificity and its application in retrieval".
    """
    return np.asarray(np.maximum(counts, 1) ** -float(discount), np.float32)


def ridge_columns(
    vectors: Floats, histories: Sequences, *, half_life: float | None, item_weights: Floats
) -> npt.NDArray[np.float64]:
    """Regress the next items on the user vector before them: (n_items, d + 1) coefficients.

    One row for each event but a user's first: the average of the input vectors of what came
    before, standardised. Its targets: 1 for the item that came, DECAY for the one after, and so on,
    AHEAD of them. The coefficients of an item, and its level in the last column, are an output
    vector that tells what comes after from what comes before, and the exact solution of a linear
    problem. The arguments are those of `recsys.vectors.users.user_vectors`.

    References
    ----------
    Hoerl & Kennard 1970, "Ridge Regression". Linear models of sequences: Choi et al. 2021,
    "Session-aware Linear Item-Item Models for Session-based Recommendation".
    """
    from scipy.sparse import csr_array

    events = histories.take_users(draw_users(histories, MAX_STEPS))
    weighing: Any = {"half_life": half_life, "item_weights": item_weights}
    # Averages of centred vectors are centred averages: sums of float32 then keep their digits.
    centre = vectors.mean(axis=0)
    features, steps = averages_before(events, vectors - centre, **weighing)
    if len(steps) == 0:  # nobody has two events: nothing comes after anything
        return np.zeros((len(vectors), vectors.shape[1] + 1))
    users, found = events.user_rows, np.zeros(vectors.shape)
    sums = np.zeros(len(vectors))
    for ahead in range(min(AHEAD, len(users))):
        inside = steps + ahead < len(users)
        inside[inside] = users[steps[inside] + ahead] == users[steps[inside]]
        rows = np.flatnonzero(inside)
        codes = events.codes[steps[rows] + ahead]
        weight = np.full(len(rows), DECAY**ahead, np.float32)
        shape = (len(vectors), len(steps))
        found += csr_array((weight, (codes, rows)), shape=shape) @ features
        sums += np.bincount(codes, weights=weight, minlength=len(vectors))
    # Standardise both sums instead of the features.
    level = features.mean(axis=0, dtype=np.float64)
    gram = (features.T @ features).astype(np.float64)
    gram -= len(steps) * np.outer(level, level)
    spread = np.sqrt(np.maximum(np.diag(gram), 0) / len(steps))
    spread = np.where(spread > 0, spread, 1.0)
    gram /= np.outer(spread, spread)
    gram[np.diag_indices_from(gram)] += PENALTY
    found = (found - np.outer(sums, level)) / spread
    coefficients = np.linalg.solve(gram, found.T).T / spread
    levels = sums / len(steps) - coefficients @ (level + centre)
    return np.column_stack([coefficients, levels])


def log_popularity(
    counts: npt.NDArray[np.integer[Any]], recent: npt.NDArray[np.integer[Any]] | None
) -> Floats:
    """Return the centred logarithm of the share of each item in the events, float32 (n_items,).

    Of all events (`counts`), or if given of the `recent` ones and a small part of all.
    """
    logarithms = log_shares(counts, recent)
    return np.asarray(logarithms - logarithms.mean(), np.float32)


def log_shares(
    counts: npt.NDArray[np.integer[Any]], recent: npt.NDArray[np.integer[Any]] | None
) -> npt.NDArray[np.float64]:
    """Return `log_popularity` before it is centred, float64 (n_items,)."""
    share = counts / max(counts.sum(), 1)
    if recent is not None and recent.any():
        share = recent / recent.sum() + SMOOTHING * share
    return np.asarray(np.log(np.maximum(share, np.finfo(np.float32).tiny)))


def queries(
    averaged: Floats, audience: Floats, popularity_weights: npt.ArrayLike, *, scoring: str
) -> Floats:
    """Turn averages and a popularity weight each into queries, float32 (n, d + r + 2).

    Parameters
    ----------
    averaged, audience : float32 arrays, shapes (n, d) and (n, r)
        User vectors, and averages of audience vectors times their weight; r may be 0.
    popularity_weights : float array, shape (n,)
    """
    vectors = unit_length(averaged) if scoring == "cosine" else averaged
    ones = np.ones(len(vectors))
    return np.column_stack([vectors, ones, audience, popularity_weights]).astype(np.float32)


def audience_averages(
    histories: Sequences, vectors: Floats, item_weights: Floats, weight: float
) -> Floats:
    """Average audience vectors (n_items, r) for a query, float32 array of shape (n_users, r).

    The plain mean but for the weights of items, times `weight` / the number of events: a history of
    `weight` items trusts both blocks alike.
    """
    if vectors.shape[1] == 0:
        return np.empty((len(histories), 0), np.float32)
    matrix = history_matrix(histories, item_weights=item_weights)
    matrix.data *= np.repeat((weight / histories.lengths).astype(np.float32), histories.lengths)
    return np.asarray(matrix @ vectors, np.float32)


def popularity_weights(
    staleness: npt.NDArray[np.float64], *, fresh: float, stale: float
) -> npt.NDArray[np.float64]:
    """Weigh popularity by the days since each user was last active, shape (n_users,).

    Within a session the history tells more, after weeks what is popular now does. The weight goes
    from `fresh` to `stale`, half of the way with every day.

    Examples
    --------
    >>> popularity_weights(np.array([0.0, 1.0, 30.0]), fresh=1.0, stale=4.0).round(2)
    array([1. , 2.5, 4. ])
    """
    return np.asarray(stale + (fresh - stale) * 0.5**staleness)


def _spread(scores: npt.NDArray[np.floating[Any]]) -> float:
    """Return the mean standard deviation of the scores of a user (a row) over the items."""
    return float(scores.std(axis=1).mean()) or 1.0
