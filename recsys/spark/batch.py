"""Recommend to many users at once: each executor maps the model folder and answers for its part."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recsys.data.columns import find_all, take
from recsys.data.frames.names import ITEM, USER
from recsys.errors import DataError, UnknownUserError
from recsys.model import storage
from recsys.model.ask import NO_ROWS, Model, check_count
from recsys.spark.prepare import check, events_of, ids_of, ordered, whole_users

if TYPE_CHECKING:
    import numpy.typing as npt
    from pyspark.sql import DataFrame

    from recsys.data.events import Events
    from recsys.spark.prepare import Checked

    Batches = Iterable[pa.RecordBatch]
    Rows = npt.NDArray[np.integer[Any]]

USERS = 20_000  # that a task answers at a time, in one search


def recommend_many(
    folder: str | Path,
    k: int = 10,
    *,
    users: DataFrame | None = None,
    events: DataFrame | Checked | str | None = None,
    where: str | None = None,
    watched: bool = False,
) -> DataFrame:
    """Recommend k items to each of many users by exact search, as `Recommender.recommend_many`.

    Every executor needs the model folder at the same path: on a shared disk, or copied there.

    Parameters
    ----------
    folder : path
        Of the model.
    users : pyspark DataFrame, optional
        Column `user_id`: the users of the model to answer; without it, and `events`, all.
    events : pyspark DataFrame, Checked or str, optional
        Histories of users whom the model need not know, as `recsys.spark.check` takes or gives
        them. The latest of all events is now.
    where, watched
        As in `Recommender.recommend`.

    Returns
    -------
    pyspark DataFrame
        `user_id`, `rank` (from 1), `item_id`, `score`, not computed yet: write it as Parquet. Users
        without a known item are left out.

    Raises
    ------
    ValueError
        k is not a whole number above 0, or `where` cannot be read.
    ModelError
        There is no model.
    UnknownUserError
        When computed: one of `users` is not in the model.
    """
    from pyspark.sql import SparkSession

    folder, k = str(Path(folder).absolute()), check_count(k)
    if users is not None and events is not None:
        raise ValueError("give users of the model, or events, not both")
    stamp = storage.stamp(Path(folder))
    tables = open_model(folder, stamp, where)[0].tables
    asked: dict[str, Any] = {"k": k, "watched": watched, "opened": (folder, stamp, where)}
    kinds = [_kind(ids) for ids in (tables.user_ids, tables.item_ids)]
    if events is not None:
        checked = check(events)
        frame, answer = ordered(checked.frame, checked.n_events), partial(_for_events, **asked)
        answer, kinds[0] = partial(answer, now=checked.latest), dict(frame.dtypes)[USER]
    elif users is not None:
        frame, answer = users.select(USER), partial(_for_users, **asked)
    else:
        n = len(tables.user_ids)
        frame, answer = SparkSession.active().range(n), partial(_for_rows, **asked)
    return frame.mapInArrow(answer, f"{USER} {kinds[0]}, rank INT, {ITEM} {kinds[1]}, score FLOAT")


@functools.lru_cache(maxsize=2)
def open_model(
    folder: str, stamp: tuple[int, ...], where: str | None = None
) -> tuple[Model, npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Open a model once a process: with the ids of its items, and those that `where` leaves."""
    model = Model.load(Path(folder), verify=False)
    return model, take(model.tables.item_ids), model.allowed(NO_ROWS, None, None, where)


def _kind(ids: Any) -> str:
    if isinstance(ids, np.ndarray) and ids.dtype == np.uint64:
        raise DataError("ids above 2**63 are no numbers of Spark: fit with ids of text")
    return "BIGINT" if isinstance(ids, np.ndarray) else "STRING"


def _for_rows(batches: Batches, opened: Any, k: int, watched: bool) -> Iterator[pa.RecordBatch]:
    """Answer rows of the model's users."""
    for batch in batches:
        yield from _lists(open_model(*opened), batch.column(0).to_numpy(), k, watched)


def _for_users(batches: Batches, opened: Any, k: int, watched: bool) -> Iterator[pa.RecordBatch]:
    """Answer ids of the model's users."""
    held = open_model(*opened)
    for batch in batches:
        ids = ids_of(batch.column(0))
        rows = find_all(held[0].tables.user_ids, ids)
        if len(rows) < len(ids):
            known = set(take(held[0].tables.user_ids, rows).tolist())
            unknown = next(one for one in ids.tolist() if one not in known)
            raise UnknownUserError(f"unknown user {unknown!r}: pass histories as events")
        yield from _lists(held, rows, k, watched)


def _lists(held: Any, rows: Rows, k: int, watched: bool) -> Iterator[pa.RecordBatch]:
    model, item_ids, allowed = held
    for start in range(0, len(rows), USERS):
        who, place, found, scores = model.recommend_many(
            rows[start : start + USERS], k, watched=watched, allowed=allowed
        )
        yield _batch(take(model.tables.user_ids, who), place, item_ids[found], scores)


def _for_events(
    batches: Batches, opened: Any, k: int, watched: bool, now: int
) -> Iterator[pa.RecordBatch]:
    """Answer the users of ordered events."""
    model, item_ids, allowed = open_model(*opened)
    for table in whole_users(batches):
        events = events_of(table)
        liked = events.where(liked_of(events, model.params["min_rating"]))
        histories = liked.sequences.recode(item_ids)
        warm = np.flatnonzero(histories.lengths)
        rows, scores = model.rank(
            histories.take_users(warm),
            k,
            exclude=None if watched else events.sequences.recode(item_ids).take_users(warm),
            staleness=liked.days_before(now)[warm],
            allowed=allowed,
        )
        who, place = np.nonzero(scores > -np.inf)
        users = events.sequences.user_ids[warm[who]]
        yield _batch(users, place, item_ids[rows[who, place]], scores[who, place])


def liked_of(events: Events, min_rating: float | None) -> npt.NDArray[np.bool_]:
    """Mark the events that count, of some users: unlike `Events.liked`, it may be none."""
    if min_rating is None or events.ratings is None:
        return events.liked(min_rating)
    return np.asarray(events.ratings >= min_rating)


def _batch(users: Any, place: Rows, items: Any, scores: Any) -> pa.RecordBatch:
    """Lay out lists as Spark is told that they come."""
    columns = {
        USER: _arrow(users),
        "rank": pa.array(place + 1, pa.int32()),
        ITEM: _arrow(items),
        "score": pa.array(scores, pa.float32()),
    }
    return pa.RecordBatch.from_pydict(columns)


def _arrow(ids: npt.NDArray[Any]) -> pa.Array:
    return pa.array(ids, pa.string() if ids.dtype == object else pa.int64())
