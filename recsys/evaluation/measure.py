"""Rank for the same users with every model, and average what comes out, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import rows_of, take
from recsys.evaluation import metrics
from recsys.model.ask import Model
from recsys.progress import each
from recsys.recommender import fitted
from recsys.search.exact import top_k

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from recsys.data.sequences import Sequences
    from recsys.data.splits import Cases
    from recsys.evaluation.baselines import Baseline
    from recsys.recommender import Recommender

    Rows = npt.NDArray[np.integer[Any]]
    PerUser = npt.NDArray[np.float64]

# The key of our own model among the models of a report.
MODEL = "item2vec"
# Scores that a baseline may hold at a time, 64 MB of float32.
BLOCK = 1 << 24
# Pairs of user and item that may be marked at a time, 4 MB of bool.
MARKED = 1 << 22


@dataclass(frozen=True)
class Contender:
    """A model that takes part in the comparison.

    Attributes
    ----------
    item_ids : integer or str array, shape (n_items,)
        Ascending; what it can recommend.
    rank : function (cases over `item_ids`) -> (rows, scores)
        As `recsys.search.exact.top_k`, without watched items; it does not look at the targets.
    needs_history : bool
        Whether a user without any known item is left unserved.
    unit_vectors : float32 array, shape (n_items, d), or None
        Where given, the distance within lists is measured too.
    """

    item_ids: npt.NDArray[Any]
    rank: Callable[[Cases], tuple[Rows, npt.NDArray[np.float32]]]
    needs_history: bool = True
    unit_vectors: npt.NDArray[np.float32] | None = None


def contender_of_model(
    model: Recommender | Model, k: int, *, distances: bool = False, **dials: float
) -> Contender:
    """Let a fitted model take part with lists of length k, by the code of `recommend_many`.

    `distances` asks for the distance within lists too; `dials` are popularity and diversity as in
    `recsys.Recommender.recommend`.
    """
    held = model if isinstance(model, Model) else fitted(model)

    def rank(cases: Cases) -> tuple[Rows, npt.NDArray[np.float32]]:
        given: dict[str, Any] = {"exclude": cases.watched, "staleness": cases.staleness, **dials}
        return held.rank(cases.histories, k, **given)

    unit_vectors = held.tables.unit_vectors if distances else None
    return Contender(take(held.tables.item_ids), rank, unit_vectors=unit_vectors)


def contender_of_baseline(
    baseline: Baseline, item_ids: npt.NDArray[Any], k: int, *, needs_history: bool
) -> Contender:
    """Let a baseline take part: score block by block, strike out what was watched, order."""

    def rank(cases: Cases) -> tuple[Rows, npt.NDArray[np.float32]]:
        size = max(1, BLOCK // len(item_ids))
        parts = []
        for start in range(0, len(cases), size):
            scores = baseline(cases.histories.slice_users(start, start + size))
            seen = cases.watched.slice_users(start, start + size)
            scores[seen.user_rows, seen.codes] = -np.inf
            parts.append(top_k(scores, k))
        rows, best = zip(*parts, strict=True)
        return np.concatenate(rows), np.concatenate(best)

    return Contender(item_ids, rank, needs_history)


@dataclass(frozen=True)
class Measured:
    """What every contender scored on the users of one protocol at one cutoff.

    By the contender's name: `per_user` metrics, float64 of shape (n_users,), `coverage` (None
    without users), and `n_unserved`, users who count as 0.
    """

    user_ids: npt.NDArray[Any]
    n_targets: int
    n_targets_without_vector: int
    per_user: dict[str, dict[str, PerUser]]
    coverage: dict[str, dict[str, float | None]]
    n_unserved: dict[str, int]


def measure(
    cases: Cases, contenders: dict[str, Contender], train: Sequences, ks: Sequence[int]
) -> Measured:
    """Measure every contender, one of them `MODEL`, on the users of one protocol.

    `train` holds the interactions that all were trained on; novelty goes by their counts. `ks`
    ascend.
    """
    n_targets = int(cases.n_targets.sum())
    found = Measured(cases.targets.user_ids, n_targets, n_targets, {}, {}, {})
    vocabularies: list[Cases] = []

    def over(item_ids: npt.NDArray[Any]) -> Cases:
        for known in vocabularies:
            if np.array_equal(known.targets.item_ids, item_ids):
                return known
        vocabularies.append(cases.recode(item_ids))
        return vocabularies[-1]

    for name, contender in each(contenders.items()):
        asked, n_items = over(contender.item_ids), len(contender.item_ids)
        rows, listed, served = rank_all(contender, asked, ks[-1])
        share = train.counts()[rows_of(contender.item_ids, train.item_ids)] / len(train.codes)
        found.n_unserved[name] = int((~served).sum())
        coverage, values = found.coverage.setdefault(name, {}), found.per_user.setdefault(name, {})
        for k in ks:
            top = rows[:, :k], listed[:, :k]
            coverage[f"coverage@{k}"] = metrics.coverage(*top, n_items) if len(cases) else None
            values[f"novelty@{k}"] = metrics.novelty(*top, share)
            if contender.unit_vectors is not None:
                values[f"intra_list_distance@{k}"] = metrics.intra_list_distance(
                    *top, contender.unit_vectors
                )
        values |= metrics.accuracy(listed & among(rows, asked.targets), asked.n_targets, ks)
    n_known = len(over(contenders[MODEL].item_ids).targets.codes)
    return replace(found, n_targets_without_vector=n_targets - n_known)


def recall_of(contender: Contender, cases: Cases, k: int) -> PerUser:
    """Measure the recall@k alone, float64 array of shape (n_users,)."""
    known = cases.recode(contender.item_ids)
    rows, listed, _ = rank_all(contender, known, k)
    return metrics.recall(listed & among(rows, known.targets), known.n_targets, k)


def rank_all(
    contender: Contender, known: Cases, k: int
) -> tuple[Rows, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return ranked rows (n_users, k), where a list has an entry, and who is served at all."""
    served = (known.histories.lengths > 0) | (not contender.needs_history)
    rows = np.zeros((len(known), k), np.int64)
    listed = np.zeros((len(known), k), bool)
    users = np.flatnonzero(served)
    if len(users):
        found, scores = contender.rank(known.take_users(users))
        rows[users, : found.shape[1]] = found
        listed[users, : found.shape[1]] = scores > -np.inf
    return rows, listed, served


def among(rows: Rows, targets: Sequences) -> npt.NDArray[np.bool_]:
    """Mark the entries of ranked lists (n_users, k) that are among their user's targets."""
    found = np.zeros(rows.shape, bool)
    size = 1 + MARKED // len(targets.item_ids)
    wanted = np.zeros((size, len(targets.item_ids)), bool)
    for start in range(0, len(rows), size):
        bounds = targets.offsets[start : start + size + 1]
        users = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        codes = targets.codes[bounds[0] : bounds[-1]]
        wanted[users, codes] = True
        listed = rows[start : start + size]
        found[start : start + size] = wanted[np.arange(len(listed))[:, None], listed]
        wanted[users, codes] = False
    return found


def averaged(cutoffs: Sequence[Measured]) -> dict[str, Any]:
    """Average all metrics and paired differences of one protocol, at one or more cutoffs.

    As in `recsys.evaluation.metrics.means_with_ci95`, in one bootstrap; the result is a protocol of
    `recsys.evaluate.evaluate`.
    """
    ids = [measured.user_ids for measured in cutoffs]
    users, user_rows = np.unique(np.concatenate(ids), return_inverse=True)
    tables = [_columns(measured) for measured in cutoffs]
    values = np.vstack([np.column_stack(list(table.values())) for table in tables])
    entries = column_means(values, user_rows, np.repeat(np.arange(len(ids)), [*map(len, ids)]))
    names = list(cutoffs[0].per_user)
    models: dict[str, dict[str, Any]] = {name: {} for name in names}
    differences: dict[str, dict[str, Any]] = {name: {} for name in names if name != MODEL}
    for (name, other, metric), entry in zip(tables[0], entries, strict=True):
        (models[name] if other is None else differences[other])[metric] = entry
    for name, found in models.items():
        for metric in cutoffs[0].coverage[name]:
            shares = (measured.coverage[name][metric] for measured in cutoffs)
            known = [share for share in shares if share is not None]
            found[metric] = {"mean": float(np.mean(known)) if known else None, "ci95": None}
        found["n_users_unserved"] = sum(measured.n_unserved[name] for measured in cutoffs)
    return {
        "n_users": len(users),
        "n_targets": sum(measured.n_targets for measured in cutoffs),
        "n_targets_without_vector": sum(m.n_targets_without_vector for m in cutoffs),
        "models": models,
        "differences": differences,
    }


def _columns(measured: Measured) -> dict[tuple[str, str | None, str], PerUser]:
    """Lay out (name, None, metric), and (MODEL, name, metric) for the differences."""
    columns: dict[tuple[str, str | None, str], PerUser] = {}
    for name, values in measured.per_user.items():
        columns |= {(name, None, metric): v for metric, v in values.items()}
        if name != MODEL:
            for metric, ours in measured.per_user[MODEL].items():
                columns[MODEL, name, metric] = ours - values[metric]
    return columns


def column_means(
    table: PerUser, users: npt.NDArray[np.int64], cutoffs: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Average the columns of a (n_rows, n_columns) table; null where nobody has a value."""
    nothing: dict[str, Any] = {"mean": None, "ci95": None}
    if len(table) == 0:
        return [nothing] * table.shape[1]
    means, intervals = metrics.means_with_ci95(table, users=users, cutoffs=cutoffs)
    return [
        nothing if np.isnan(mean) else {"mean": float(mean), "ci95": interval.tolist()}
        for mean, interval in zip(means, intervals, strict=True)
    ]
