"""Are similar items alike, familiar, of one series, and what people go on to?"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import rows_of, take
from recsys.data.frames.names import ITEM, TITLE
from recsys.data.splits import draw
from recsys.evaluation.baselines import user_item_matrix
from recsys.evaluation.measure import MODEL, column_means
from recsys.evaluation.report import align
from recsys.evaluation.run import Study, only
from recsys.recommender import fitted
from recsys.search.exact import unit_length
from recsys.settings import TEXTBOOK
from recsys.vectors.item2vec import train_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import pandas as pd

    from recsys.evaluation.run import Trial

    Rows = npt.NDArray[np.integer[Any]]
    # The K nearest other items of some rows, (n, K); -1 where there are fewer.
    Nearest = Callable[[Rows], Rows]

K = 10
# Asked are items with this many events; a series has companions with as many, SERIES at most.
ENOUGH, SERIES = 20, 8
# Items asked at most, and components of the SVD.
MAX_ITEMS, COMPONENTS = 1000, 64
RARE = 5


def series_of(titles: list[str]) -> list[list[int]]:
    """Group the rows of titles that begin with the same words before a colon or a number.

    Examples
    --------
    >>> series_of(["Alien", "Alien 3", "Star Trek V: The Final Frontier", "Star Trek: Generations"])
    [[0, 1], [2, 3]]
    """
    groups = defaultdict(list)
    for row, title in enumerate(titles):
        name = re.sub(r"\(.*?\)|, (the|an?)\b|^(the|an?) ", "", title.lower())
        name = re.split(r":| (?:part|episode|\d+|i+|iv|vi*|ix|x)\b", name)[0]
        name = re.sub(r"\W+", " ", name).strip()
        if len(name) > 2:
            groups[name].append(row)
    return [rows for rows in groups.values() if 2 <= len(rows) <= SERIES]


def measure(trial: Trial) -> dict[str, Any]:
    """Look at the nearest items of familiar items, and at what followed one item.

    Returns
    -------
    dict
        n_items asked, n_in_series of them, n_users; and in `models`, by space, means over items of
        the agreement (Jaccard) with each of the K nearest in every column of tuples (genres, tags),
        `sequels` (share of an item's companions among them), `rare` (share of them with at most 5
        events), `median_events`; and over users, the `hit_rate@10` of the next item, asked with the
        one before. `chance` has the agreement with items drawn at random.
    """
    model, known = fitted(trial.model), trial.known
    ids = take(model.tables.item_ids)
    counts = model.tables.counts
    items = trial.items.set_index(ITEM).reindex(ids)  # type: ignore[union-attr]
    familiar = draw(np.flatnonzero(counts >= ENOUGH), MAX_ITEMS)
    groups = [[row for row in rows if counts[row] >= ENOUGH]
              for rows in series_of(items[TITLE].fillna("").tolist())]  # fmt: skip
    companions = {a: [b for b in rows if b != a] for rows in groups for a in rows if len(rows) > 1}
    cases = list(trial.split.protocols.values())[-1]
    before, after = _steps(cases.histories, ids, -1), _steps(cases.targets, ids, 0)
    asked = np.flatnonzero(before >= 0)
    features = {name: _features(items[name]) for name in items.columns if _has_tuples(items[name])}
    rng = np.random.default_rng(0)
    by_chance = rng.choice(np.flatnonzero(counts > RARE), (len(familiar), K))
    models = {}
    for name, nearest in _spaces(trial, known.recode(ids)).items():
        near = nearest(familiar)
        found: dict[str, Any] = {
            column: _agreement(has, familiar, near) for column, has in features.items()
        }
        of_series = nearest(np.array(list(companions), np.int64))
        shares = [
            len({*rows} & {*others}) / len(others)
            for rows, others in zip(of_series.tolist(), companions.values(), strict=True)
        ]
        listed = counts[near[near >= 0]]
        hits = np.zeros(len(before))
        hits[asked] = (nearest(before[asked]) == after[asked, None]).any(axis=1)
        users = np.arange(len(hits))
        models[name] = found | {
            "sequels": float(np.mean(shares)) if shares else None,
            "rare": float((listed <= RARE).mean()) if len(listed) else None,
            "median_events": float(np.median(listed)) if len(listed) else None,
            f"hit_rate@{K}": column_means(hits[:, None], users, users * 0)[0],
        }
    return {
        "n_items": len(familiar),
        "n_in_series": len(companions),
        "n_users": len(before),
        "models": models,
        "chance": {
            column: _agreement(has, familiar, by_chance) for column, has in features.items()
        },
    }


def as_text(report: dict[str, Any]) -> list[str]:
    """Set the spaces in one table."""
    found = report["neighbours"]
    columns = list(found["chance"])
    rows = [["", *columns, "sequels", "rare", "events", f"next@{K}", "95%"]]
    rows.append(["chance", *(f"{found['chance'][name]:.3f}" for name in columns)])
    rows[-1] += [""] * (len(rows[0]) - len(rows[-1]))
    for name, values in found["models"].items():
        hit = values[f"hit_rate@{K}"]
        cells = [values[key] for key in (*columns, "sequels", "rare")]
        shown = ["-" if value is None else f"{value:.3f}" for value in cells]
        interval = "-" if hit["ci95"] is None else "{:.3f}-{:.3f}".format(*hit["ci95"])
        events, mean = values["median_events"], hit["mean"]
        rows.append([name, *shown, "-" if events is None else f"{events:.0f}",
                     "-" if mean is None else f"{mean:.3f}", interval])  # fmt: skip
    return [
        "",
        f"the {K} nearest items of {found['n_items']:,} items with {ENOUGH} events or more, "
        f"{found['n_in_series']:,} of them in a series by title;",
        "agreement is Jaccard's; rare: with at most "
        f"{RARE} events; next: what {found['n_users']:,} users went on to, asked with one item",
        *align(rows),
    ]


def _spaces(trial: Trial, train: Any) -> dict[str, Nearest]:
    """Return what is compared, over the items of the model."""
    from scipy.sparse import csr_array, diags_array
    from sklearn.utils.extmath import randomized_svd

    model, matrix = fitted(trial.model), user_item_matrix(train)
    lengths = np.sqrt(np.maximum(matrix.sum(axis=0), 1))
    unit = csr_array(matrix @ diags_array(1 / lengths))
    size = max(1, min(COMPONENTS, min(matrix.shape) - 1))
    _, sizes, directions = randomized_svd(matrix, size, random_state=0)
    textbook = train_vectors(trial.known, trial.model.params | TEXTBOOK)
    vectors = np.zeros((len(model.tables.item_ids), textbook.vectors.shape[1]), np.float32)
    vectors[rows_of(textbook.item_ids, take(model.tables.item_ids))] = textbook.vectors

    def ours(rows: Rows) -> Rows:
        ids, near = take(model.tables.item_ids), np.full((len(rows), K), -1)
        for place, row in enumerate(rows):
            listed = model.similar_items(ids[row], K, None).item_ids
            near[place, : len(listed)] = rows_of(listed, ids)
        return near

    return {
        MODEL: ours,
        "input vectors": _by_product(unit_length(model.tables.vectors)),
        "textbook": _by_product(unit_length(vectors)),
        "item-knn": _by_product(unit.T.tocsr()),
        "svd": _by_product(unit_length((directions.T * sizes).astype(np.float32))),
    }


def _by_product(unit: Any) -> Nearest:
    """Rank by inner products of rows, dense or sparse, without the item itself."""

    def nearest(rows: Rows) -> Rows:
        near = np.full((len(rows), K), -1)
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            scores = unit[part] @ unit.T
            scores = np.array(scores if isinstance(scores, np.ndarray) else scores.toarray())
            scores[np.arange(len(part)), part] = -np.inf
            best = np.argsort(-scores, axis=1, kind="stable")[:, : min(K, scores.shape[1] - 1)]
            near[start : start + len(part), : best.shape[1]] = best
        return near

    return nearest


def _steps(sequences: Any, ids: npt.NDArray[Any], place: int) -> Rows:
    """Return the model's row of each user's first (0) or last (-1) item, -1 where there is none."""
    rows = np.full(len(sequences), -1)
    some = sequences.lengths > 0
    at = sequences.offsets[:-1][some] if place == 0 else sequences.offsets[1:][some] - 1
    rows[some] = rows_of(sequences.item_ids, ids)[sequences.codes[at]]
    return rows


def _has_tuples(column: pd.Series) -> bool:
    return any(isinstance(value, tuple) and value for value in column)


def _features(column: pd.Series) -> Any:
    """Lay a column of tuples out as a sparse 0/1 matrix (n_items, n_features)."""
    from sklearn.preprocessing import MultiLabelBinarizer

    entries = [value if isinstance(value, tuple) else () for value in column]
    return MultiLabelBinarizer(sparse_output=True).fit_transform(entries).astype(np.float64)


def _agreement(has: Any, rows: Rows, near: Rows) -> float:
    """Return the mean of |both| / |either| over pairs, of the rows that have any feature."""
    sizes = np.asarray(has.sum(axis=1)).ravel()
    one, other = np.repeat(rows, near.shape[1]), near.ravel()
    pairs = (other >= 0) & (sizes[one] > 0)
    one, other = one[pairs], other[pairs]
    both = np.asarray(has[one].multiply(has[other]).sum(axis=1)).ravel()
    return float((both / (sizes[one] + sizes[other] - both)).mean()) if len(one) else 0.0


STUDY = Study("neighbours", measure, only, as_text, frozenset({"one split", "items"}))
