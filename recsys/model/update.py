"""Bring a model up to date: add new events to the old ones, and train on what is new.

Old input vectors stay as they are, to the bit: user vectors, similar items and whatever else was
made from them stay valid. Output vectors learn on, new items get new vectors; all else is computed
as `fit` does. No other way that was tried is measurably better (recsys/studies/README.md).
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import rows_of, take
from recsys.data.events import order_events
from recsys.data.frames.items import check_items
from recsys.data.frames.names import ITEM, RATING, TIMESTAMP, USER
from recsys.data.frames.ratings import check_ratings
from recsys.data.splits import draw
from recsys.errors import DataError
from recsys.model import storage
from recsys.model.ask import Model
from recsys.model.cold import add_cold_items
from recsys.model.fit import learn, with_index
from recsys.search.exact import ExactIndex, unit_length
from recsys.search.threads import one_blas_thread
from recsys.settings import word2vec_params
from recsys.vectors.item2vec import ItemVectors, continue_item2vec

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from recsys.data.sequences import Sequences
    from recsys.model.tables import Tables

    Rows = npt.NDArray[np.integer[Any]]
    Vectors = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)

# Passes over the new events, and the learning rate at their start.
EPOCHS, ALPHA = 10, 0.05
# Drift is measured on up to N_ITEMS items with at least ENOUGH events before; by their K nearest.
N_ITEMS, ENOUGH, K = 500, 10, 10


def update_model(model: Model, ratings: pd.DataFrame, items: pd.DataFrame | None = None) -> Model:
    """Return a model that has learned new events; see `recsys.Recommender.update`."""
    started, known = time.perf_counter(), model.tables
    checked = None if items is None else check_items(items)
    merged, is_new = merge_events(known, ratings, min_rating=model.params["min_rating"])
    tables, taken = known, dict[str, float]()
    merging = time.perf_counter() - started
    if is_new.any() or items is not None:
        with one_blas_thread():
            order, events = order_events(merged)
            described = merge_items(known, checked)
            news = is_new[order][events.liked(model.params["min_rating"])]
            tables, _, taken = learn(
                events,
                described,
                model.params,
                train=lambda histories, params: _train_on_news(known, histories, news, params),
            )
            cold = None if described is None else _still_cold(known, tables, described)
            if cold is not None and len(cold):
                tables = add_cold_items(tables, cold, model.params)
    about = {**model.about, "seconds": {"merge": merging, **taken}}
    if is_new.any():
        data = {"n_ratings": len(events), "sha256": events.fingerprint()}
        about |= {"versions": storage.versions(), "data": data}
    else:
        logger.info("every event of these is known already: there is nothing to learn")
    changed = replace(model, tables=tables, about=about)
    changed = changed if tables is known else with_index(changed)
    drift = measure_drift(known, tables) | {"seconds": time.perf_counter() - started}
    return replace(changed, about={**changed.about, "drift": drift})


def merge_events(
    tables: Tables, ratings: pd.DataFrame, *, min_rating: float | None
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """Add new events, unchecked, to those that a model knows; see `recsys.Recommender.update`.

    Returns
    -------
    merged : DataFrame
        A checked frame, old events first.
    is_new : bool array, shape (n_events,)

    Raises
    ------
    DataError
        The frame cannot be used as it is, or does not fit the old events: only one of the two has
        times, ids are numbers here and text there, `min_rating` misses its ratings.
    """
    import pandas as pd

    if len(tables.user_ids) == 0:
        raise DataError("the model knows no users, whose histories are elsewhere: fit it again")
    ratings, old = check_ratings(ratings), tables.events.to_frame()
    if (TIMESTAMP in ratings) != (TIMESTAMP in old):
        ours, theirs = ("times", "none") if TIMESTAMP in old else ("no times", "some")
        raise DataError(f"the model's events have {ours} and the new ones have {theirs}")
    if min_rating is not None and RATING not in ratings:
        raise DataError(f"min_rating={min_rating:g} needs a rating column and there is none")
    ratings = ratings[list(old.columns)]
    for column in (USER, ITEM):
        old[column], ratings[column] = _one_kind(old[column], ratings[column])
    if TIMESTAMP in old:
        keys = [USER, ITEM, TIMESTAMP]
        known = old.loc[old[USER].isin(ratings[USER]), keys].drop_duplicates()
        found = ratings[keys].merge(known, how="left", indicator=True)["_merge"]
        ratings = ratings[(found == "left_only").to_numpy()]
    merged = pd.concat([old, ratings], ignore_index=True)
    return merged, np.arange(len(merged)) >= len(old)


def _one_kind(old: pd.Series, new: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Bring ids to one type, as one frame with both would have it."""
    if old.dtype == new.dtype:
        return old, new
    text = {str(ids.dtype) for ids in (old, new)} - {"int64", "uint64"}
    if text:
        ours, theirs = ("text", "numbers") if str(old.dtype) in text else ("numbers", "text")
        hint = "; read them as text with text_ids=True (--text-ids)" if ours == "text" else ""
        raise DataError(f"{old.name}: the model's ids are {ours} and the new ones {theirs}{hint}")
    if min(old.min(), new.min()) < 0:
        raise DataError(f"{old.name}: ids below 0 and ids above 2**63 do not go together")
    return old.astype("uint64"), new.astype("uint64")


def merge_items(tables: Tables, items: pd.DataFrame | None) -> pd.DataFrame | None:
    """Lay a checked table of items over what a model knows of them; None if there is neither."""
    import pandas as pd

    if tables.catalogue is None:
        return items
    known = tables.catalogue.to_frame(tables.item_ids)
    if items is None:
        return known
    return check_items(pd.concat([known, items]).drop_duplicates(ITEM, keep="last"))


def _train_on_news(
    tables: Tables, histories: Sequences, is_new: npt.NDArray[np.bool_], params: Any
) -> ItemVectors:
    """Continue the training of old tables on the marked events, and what surrounds them."""
    warm = np.flatnonzero(~tables.is_cold)
    contexts = None if tables.contexts is None else tables.contexts[warm]
    old = ItemVectors(take(tables.item_ids, warm), tables.vectors[warm], contexts)
    news = with_context(histories, is_new, params["window"])
    word2vec = word2vec_params(params) | {"epochs": EPOCHS, "alpha": ALPHA}
    return continue_item2vec(old, tables.counts[warm], histories, news, **word2vec)


def _still_cold(before: Tables, after: Tables, items: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of the items that were added and that nobody has watched since."""
    cold = take(before.item_ids, np.flatnonzero(before.is_cold))
    return items[items[ITEM].isin(cold) & ~items[ITEM].isin(take(after.item_ids))]


def with_context(histories: Sequences, new: npt.NDArray[np.bool_], window: int) -> Sequences:
    """Keep the events marked as new, and those of the same user within a window of one.

    Examples
    --------
    >>> from recsys.data.sequences import Sequences
    >>> one = Sequences(np.array([7]), np.arange(6), np.arange(6, dtype=np.int32), np.array([0, 6]))
    >>> with_context(one, np.arange(6) == 4, 2).codes
    array([2, 3, 4, 5], dtype=int32)
    """
    users, place = histories.user_rows, np.arange(len(new))
    first = np.maximum(histories.offsets[users], place - window)
    last = np.minimum(histories.offsets[users + 1], place + window + 1)
    n_before = np.concatenate([[0], np.cumsum(new)])
    near = histories.where(n_before[last] > n_before[first])
    return near.take_users(np.flatnonzero(near.lengths))


def measure_drift(before: Tables, after: Tables) -> dict[str, Any]:
    """Say how much an update has changed.

    Returns
    -------
    dict
        JSON-able: `n_new_events`, `n_new_users`, `n_new_items` (items that got a vector);
        `similar`, the share of an item's 10 nearest by the cosine of input vectors that are still
        among its 10 nearest, new items included; `answers`, the same for the items that answer it
        best, popularity apart. Means over up to 500 items with 10 events before; None without.
    """
    rows = draw(np.flatnonzero(before.counts >= ENOUGH), N_ITEMS)
    now = rows_of(take(before.item_ids), take(after.item_ids))
    shares: dict[str, float | None] = {}
    for name in ("similar", "answers"):
        was, stays = now[_nearest(name, before, rows)], _nearest(name, after, now[rows])
        kept = [len(np.intersect1d(*pair)) / len(pair[0]) for pair in zip(was, stays, strict=True)
                if len(pair[0])]  # fmt: skip
        shares[name] = float(np.mean(kept)) if kept else None
    return {
        "n_new_events": len(after.events) - len(before.events),
        "n_new_users": len(after.user_ids) - len(before.user_ids),
        "n_new_items": len(after.item_ids) - len(before.item_ids),
        **shares,
    }


def _nearest(kind: str, tables: Tables, rows: Rows) -> Rows:
    """Return the K best other items of each of some rows, int64 (n_rows, up to K)."""
    targets = unit_length(tables.vectors)
    asked = targets[rows]
    if kind == "answers":
        targets = tables.readout[:, : tables.vectors.shape[1] + 1]
        asked = np.column_stack([tables.vectors[rows], np.ones(len(rows), np.float32)])
    exclude = (np.arange(len(rows) + 1), rows)
    return ExactIndex(targets).query(asked, min(K, len(targets) - 1), exclude=exclude)[0]
