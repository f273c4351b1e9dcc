"""Measure how well items that nobody has watched yet are found, by what is known of them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import id_array, rows_of
from recsys.data.frames import GENRES, ITEM
from recsys.errors import DataError
from recsys.evaluation import metrics
from recsys.evaluation.baselines import history_matrix
from recsys.evaluation.measure import BLOCK, MODEL, among, column_means
from recsys.model.cold import feature_matrices
from recsys.search.exact import top_k

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import pandas as pd

    from recsys.data.sequences import Sequences
    from recsys.data.splits import Cases
    from recsys.recommender import Recommender

    Score = Callable[[Cases], npt.NDArray[np.floating[Any]]]
    Mask = npt.NDArray[np.bool_]


def measure_cold_items(
    model: Recommender,
    items: pd.DataFrame,
    protocols: dict[str, Cases],
    train: Sequences,
    ks: Sequence[int],
) -> dict[str, Any]:
    """Add all items that the model has no vector of, and measure how well they are found.

    All that is learned is learned from training; of the new items their metadata are known.
    Beside item2vec there are three floors. `random`. `genre-popularity`: how many training events
    an item of a genre has, the mean over the item's genres. `own-genres`: that number times the
    share of the genre in the user's history, the sum over the item's genres. Equal scores are put
    in random order, since ids may tell which item came first.

    Parameters
    ----------
    model : Recommender
        Fitted with items; it is not changed.
    items : DataFrame
        In the form of `recsys.data.frames.check_items`.
    protocols : dict of name -> Cases
    train : Sequences
        What the model was trained on.
    ks : ascending whole numbers

    Returns
    -------
    dict of protocol -> dict
        Of the users who have such items to find: n_users, n_targets, n_cold_items (candidates),
        and for the candidates `alone` (the cold items) and `whole` (all items) the recall of all
        `models` with the `differences`, as in `recsys.evaluate.evaluate`. In `others`, what cold
        items cost: n_users who have items to find that had a vector before, their recall
        `without` and `with` cold items among the candidates, and the paired `difference`.

    Raises
    ------
    DataError
        There is no item to add.
    """
    is_known = rows_of(id_array(items[ITEM]), model.items) >= 0
    known, new = items[is_known], items[~is_known]
    if len(new):
        new = new[feature_matrices(known, new)[1].getnnz(axis=1) > 0]
    if new.empty:
        raise DataError(
            "no cold items to measure: of every item that the table describes there is a vector"
        )
    added = copy.copy(model).add_items(new)
    ids = added.items
    counts = np.append(train.counts(), 0)[rows_of(ids, train.item_ids)]
    genres = items.set_index(ITEM)[GENRES].reindex(ids).tolist()
    scores = {MODEL: _model(added), **_floors(genres, counts)}
    cold = np.isin(ids, added.cold_items)
    return {
        protocol: {
            **_of_cold(cases, scores, ids, cold, ks),
            "others": _of_others(cases, model, added, ks),
        }
        for protocol, cases in protocols.items()
    }


def _model(model: Recommender) -> Score:
    return lambda cases: model.queries(cases.histories, cases.staleness) @ model.index.vectors.T


def _floors(genres: list[Any], counts: npt.NDArray[np.int64]) -> dict[str, Score]:
    """Make the floors; genres are a tuple an item, or NaN where the table has no such item."""
    from sklearn.feature_extraction.text import CountVectorizer

    def entries_of(genres: Any) -> tuple[str, ...]:
        return genres if isinstance(genres, tuple) else ()

    rng = np.random.default_rng(0)
    floors: dict[str, Score] = {
        "random": lambda cases: rng.random((len(cases), len(counts)), np.float32)
    }
    if not any(map(entries_of, genres)):
        return floors
    has = CountVectorizer(analyzer=entries_of, binary=True).fit_transform(genres)
    watched = has[counts > 0]
    popular = (counts[counts > 0] @ watched) / np.maximum(watched.getnnz(axis=0), 1)
    mean = (has @ popular) / np.maximum(has.getnnz(axis=1), 1)

    def own(cases: Cases) -> npt.NDArray[np.floating[Any]]:
        # How often a user watched each genre: his shares but for a factor, which ranks nothing.
        often = (history_matrix(cases.histories) @ has).toarray()
        return np.asarray((has @ (often * popular).T).T)

    floors["genre-popularity"] = lambda cases: np.tile(mean, (len(cases), 1))
    floors["own-genres"] = own
    return floors


def _of_cold(
    cases: Cases,
    scores: dict[str, Score],
    ids: npt.NDArray[Any],
    cold: Mask,
    ks: Sequence[int],
) -> dict[str, Any]:
    """Measure the recall of what is cold, among the cold items and among all."""
    rows = rows_of(cases.targets.item_ids, ids)
    is_cold = np.where(rows >= 0, cold[rows], True)  # what could not be added is a miss
    asked = _asked_for(cases, is_cold)
    found: dict[str, Any] = {
        "n_users": len(asked),
        "n_targets": len(asked.targets.codes),
        "n_cold_items": int(cold.sum()),
    }
    for name, candidates in (("alone", cold), ("whole", np.ones_like(cold))):
        recalls = {
            contender: _recalls(score, asked, ids, candidates, ks)
            for contender, score in scores.items()
        }
        minus = {floor: recalls[MODEL] - values for floor, values in recalls.items()}
        found[name] = {
            "models": {contender: _averaged(values, ks) for contender, values in recalls.items()},
            "differences": {f: _averaged(v, ks) for f, v in minus.items() if f != MODEL},
        }
    return found


def _of_others(
    cases: Cases, before: Recommender, after: Recommender, ks: Sequence[int]
) -> dict[str, Any]:
    """Measure the recall of what had a vector before, without and with the cold items."""
    asked = _asked_for(cases, rows_of(cases.targets.item_ids, before.items) >= 0)
    without, with_cold = (
        _recalls(_model(model), asked, model.items, np.ones(len(model.items), bool), ks)
        for model in (before, after)
    )
    return {
        "n_users": len(asked),
        "without": _averaged(without, ks),
        "with": _averaged(with_cold, ks),
        "difference": _averaged(with_cold - without, ks),
    }


def _asked_for(cases: Cases, wanted: Mask) -> Cases:
    """Leave only some items, bool (n_items,), to be found, and the users who have such."""
    targets = cases.targets.where(wanted[cases.targets.codes])
    left = replace(cases, targets=targets)
    return left.take_users(np.flatnonzero(targets.lengths > 0))


def _recalls(
    score: Score, cases: Cases, ids: npt.NDArray[Any], candidates: Mask, ks: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Return the recall of each user, (n_users, n_ks); 0 where no history has a vector."""
    known, n_targets = cases.recode(ids), cases.targets.lengths
    order = np.random.default_rng(0).permutation(np.flatnonzero(candidates))
    recalls = np.zeros((len(cases), len(ks)))
    served = np.flatnonzero(known.histories.lengths > 0)
    size = max(1, BLOCK // len(ids))
    for start in range(0, len(served), size):
        users = served[start : start + size]
        part = known.take_users(users)
        scores = score(part)
        scores[part.watched.user_rows, part.watched.codes] = -np.inf
        rows, best = top_k(scores[:, order], ks[-1])
        hits = among(order[rows], part.targets) & (best > -np.inf)
        for column, k in enumerate(ks):
            recalls[users, column] = metrics.recall(hits, n_targets[users], k)
    return recalls


def _averaged(recalls: npt.NDArray[np.float64], ks: Sequence[int]) -> dict[str, Any]:
    n_users = len(recalls)
    averaged = column_means(recalls, np.arange(n_users), np.zeros(n_users, np.int64))
    return {f"recall@{k}": entry for k, entry in zip(ks, averaged, strict=True)}
