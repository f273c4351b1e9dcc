"""How well are items found that nobody has watched yet, by what is known of them?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import id_array, rows_of, take
from recsys.data.frames.names import GENRES, ITEM
from recsys.errors import DataError
from recsys.evaluation import metrics
from recsys.evaluation.baselines import user_item_matrix
from recsys.evaluation.measure import BLOCK, MODEL, among, column_means
from recsys.evaluation.report import (
    align,
    list_lengths,
    recall_cells,
    show_difference,
    show_number,
)
from recsys.evaluation.run import Study, only
from recsys.model.cold import add_cold_items, feature_matrices
from recsys.recommender import fitted
from recsys.search.exact import top_k

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from recsys.data.splits import Cases
    from recsys.evaluation.run import Trial
    from recsys.model.ask import Model

    Score = Callable[[Cases], npt.NDArray[np.floating[Any]]]
    Mask = npt.NDArray[np.bool_]


def measure(trial: Trial) -> dict[str, Any]:
    """Add all items that the model has no vector of, and measure how well they are found.

    Of the new items only their metadata are known. Three floors: `random`; `genre-popularity`, the
    mean number of training events of a genre's items, averaged over the item's genres;
    `own-genres`, that number times the share of the genre in the user's history, summed. Equal
    scores are put in random order, since ids may tell which item came first.

    Returns
    -------
    dict of protocol -> dict
        Of the users who have such items to find: n_users, n_targets, n_cold_items, and among the
        cold items `alone` and the `whole` catalogue the recall of all `models` and the
        `differences`, as in `recsys.evaluate.evaluate`. In `others`, what cold items cost users
        who have other items to find: n_users, recall `without` and `with` cold items among the
        candidates, and the paired `difference`.

    Raises
    ------
    DataError
        There is no item to add.
    """
    model, items, known = fitted(trial.model), trial.items, trial.known
    if items is None:
        raise DataError("the study cold-items needs a table of items and there is none")
    is_known = rows_of(id_array(items[ITEM]), trial.model.items) >= 0
    new = items[~is_known]
    if len(new):
        new = new[feature_matrices(items[is_known], new)[1].getnnz(axis=1) > 0]
    if new.empty:
        raise DataError("no cold items to measure: every item of the table has a vector")
    added = replace(model, tables=add_cold_items(model.tables, new, model.params))
    ids = take(added.tables.item_ids)
    counts = np.append(known.counts(), 0)[rows_of(ids, known.item_ids)]
    genres = items.set_index(ITEM)[GENRES].reindex(ids).tolist()
    scores = {MODEL: _score(added), **_floors(genres, counts)}
    return {
        protocol: {
            **_measure_cold(cases, scores, ids, added.tables.is_cold, trial.ks),
            "others": _measure_others(cases, model, added, trial.ks),
        }
        for protocol, cases in trial.split.protocols.items()
    }


def as_text(report: dict[str, Any]) -> list[str]:
    """Show one table a protocol."""
    found = report["cold_items"].items()
    return [line for name, one in found for line in ["", *_protocol_lines(name, one)]]


def _protocol_lines(protocol: str, result: dict[str, Any]) -> list[str]:
    lines = [f"cold items, {protocol}: what training has never seen, with vectors by metadata"]
    if result["n_users"] == 0:
        return [*lines, "nobody has such items to be found"]
    lines.append(
        f"{result['n_users']:,} users, {result['n_targets']:,} such items to be found, among the "
        f"{result['n_cold_items']:,} alone or in the whole catalogue"
    )
    alone, whole = result["alone"], result["whole"]["models"]
    ks, k = list_lengths(alone["models"])
    rows = [
        ["alone:", "recall", *[""] * (len(ks) - 1), "95% of", "item2vec minus this,", "whole:"],
        ["", *ks, f"recall{k}", f"recall{k} and 95%", f"recall{k}"],
    ]
    for name, values in alone["models"].items():
        difference = show_difference(alone["differences"].get(name), k)
        in_whole = show_number(whole[name][f"recall{k}"]["mean"])
        rows.append([*recall_cells(name, values, ks, k), difference, in_whole])
    lines += align(rows)
    others = result["others"]
    if others["n_users"]:
        without, beside = (others[name][f"recall{k}"]["mean"] for name in ("without", "with"))
        lines.append(
            f"recall{k} of the other items: {without:.3f} without cold ones, {beside:.3f} beside "
            f"them, {show_difference(others['difference'], k)}, {others['n_users']:,} users"
        )
    return lines


def _score(model: Model) -> Score:
    return lambda cases: model.queries(cases.histories, cases.staleness) @ model.tables.readout.T


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
        # How often a user watched each genre: their shares but for a factor, which ranks nothing.
        often = (user_item_matrix(cases.histories) @ has).toarray()
        return np.asarray((has @ (often * popular).T).T)

    floors["genre-popularity"] = lambda cases: np.tile(mean, (len(cases), 1))
    floors["own-genres"] = own
    return floors


def _measure_cold(
    cases: Cases, scores: dict[str, Score], ids: npt.NDArray[Any], cold: Mask, ks: Sequence[int]
) -> dict[str, Any]:
    """Measure the recall of what is cold, among the cold items and among all."""
    rows = rows_of(cases.targets.item_ids, ids)
    is_cold = np.where(rows >= 0, cold[rows], True)  # what could not be added is a miss
    asked = _asked_for(cases, is_cold)
    found: dict[str, Any] = {"n_users": len(asked), "n_targets": len(asked.targets.codes)}
    found["n_cold_items"] = int(cold.sum())
    for name, candidates in (("alone", cold), ("whole", np.ones(len(ids), bool))):
        recalls = {n: _recalls(score, asked, ids, candidates, ks) for n, score in scores.items()}
        minus = {n: recalls[MODEL] - values for n, values in recalls.items() if n != MODEL}
        found[name] = {
            "models": {n: _averaged(values, ks) for n, values in recalls.items()},
            "differences": {n: _averaged(values, ks) for n, values in minus.items()},
        }
    return found


def _measure_others(cases: Cases, before: Model, after: Model, ks: Sequence[int]) -> dict[str, Any]:
    """Measure the recall of what had a vector before, without and with the cold items."""
    asked = _asked_for(cases, rows_of(cases.targets.item_ids, take(before.tables.item_ids)) >= 0)
    without, with_cold = (
        _recalls(_score(model), asked, ids, np.ones(len(ids), bool), ks)
        for model, ids in ((m, take(m.tables.item_ids)) for m in (before, after))
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
    left = replace(cases, targets=targets, n_targets=targets.lengths)
    return left.take_users(np.flatnonzero(targets.lengths > 0))


def _recalls(
    score: Score, cases: Cases, ids: npt.NDArray[Any], candidates: Mask, ks: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Return the recall of each user, (n_users, n_ks); 0 where no history has a vector."""
    known = cases.recode(ids)
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
            recalls[users, column] = metrics.recall(hits, part.n_targets, k)
    return recalls


def _averaged(recalls: npt.NDArray[np.float64], ks: Sequence[int]) -> dict[str, Any]:
    users = np.arange(len(recalls))
    averaged = column_means(recalls, users, users * 0)
    return {f"recall@{k}": entry for k, entry in zip(ks, averaged, strict=True)}


STUDY = Study("cold-items", measure, only, as_text, frozenset({"time", "one split", "items"}))
