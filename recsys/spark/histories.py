"""Keep histories in Parquet where no machine holds them, and take from all users what is a sum.

The model is trained on some users. Counts of items, and audience vectors, are sums over users:
Spark adds them up over all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from recsys.data.columns import rows_of, take, to_column
from recsys.data.events import DAY, Events
from recsys.data.frames.names import ITEM, RATING, TIMESTAMP, USER
from recsys.data.sequences import Sequences
from recsys.model.fit import with_index
from recsys.search.approximate import usable_index
from recsys.spark.prepare import PART, coded, files_of, ordered
from recsys.vectors.audience import audience_from, damped
from recsys.vectors.readout import audience_columns, log_popularity

if TYPE_CHECKING:
    import numpy.typing as npt
    from pyspark.sql import DataFrame

    from recsys.model.ask import Model
    from recsys.spark.prepare import Checked
    from recsys.vectors.audience import OfUsers

    Batches = Iterable[pa.RecordBatch]
    Counts = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float32]

BUCKETS = 64  # parts that users are hashed into, in Parquet
DENSE = 100  # events an item that a partition adds up, at least: its sum is no larger than they are
PIECE = 1 << 16  # bytes of a matrix that travel together, about


def store(checked: Checked, url: str) -> Checked:
    """Write events as Parquet, without duplicates, in parts by a hash of the user; open that."""
    frame = ordered(checked.frame, checked.n_events)
    bucket = frame.selectExpr("*", f"CAST(pmod(xxhash64({USER}), {BUCKETS}) AS INT) AS bucket")
    bucket.repartition(BUCKETS, "bucket").write.partitionBy("bucket").parquet(url)
    stored = frame.sparkSession.read.parquet(url).drop("bucket")
    return replace(checked, frame=stored, n_events=stored.count())


def with_all_users(model: Model, checked: Checked, url: str, *, index: str) -> Model:
    """Take counts, popularity and audience vectors of a model's items from all events, and index.

    `url` is a new folder for what is in between, that the executors and this machine reach; `index`
    a setting of `recsys.Recommender`.
    """
    tables, params = model.tables, model.params
    least, days = params["min_rating"], params["popularity_days"]
    liked = checked.frame if least is None else checked.frame.where(f"{RATING} >= FLOAT({least!r})")
    ids = take(tables.item_ids)
    counts, recent = _counts(liked, ids, None if days is None else checked.latest - days * DAY)
    audience = audience_of_all(liked, ids, counts, tables.vectors, url)
    columns = [tables.readout[:, : tables.vectors.shape[1] + 1]]
    if params["audience_weight"]:
        columns.append(audience_columns(audience, tables.histories, params, counts))
    columns.append(log_popularity(counts, recent)[:, None])
    readout = np.ascontiguousarray(np.hstack(columns))
    tables = replace(tables, counts=counts, audience=audience, readout=readout)
    params = {**params, "index": usable_index(index)}
    return with_index(replace(model, tables=tables, params=params))


def without_users(model: Model) -> Model:
    """Take the users out of a model."""
    tables = model.tables
    ids, nobody = take(tables.item_ids), tables.histories.take_users(np.empty(0, np.int64))
    bare = replace(
        tables,
        user_ids=to_column(take(tables.user_ids)[:0]),
        histories=nobody,
        watched=nobody,
        staleness=np.empty(0),
        events=Events(replace(nobody, item_ids=ids, user_ids=take(tables.user_ids)[:0])),
    )
    return replace(model, tables=bare)


def _counts(
    liked: DataFrame, ids: npt.NDArray[Any], since: float | None
) -> tuple[Counts, Counts | None]:
    """Count the events of each item, int64 (n_items,): all, and those since a second if given."""
    late = "false" if since is None else f"{TIMESTAMP} >= {since}"
    found = (
        liked.selectExpr(ITEM, f"IF({late}, 1, 0) AS recent", "1 AS one")
        .groupBy(ITEM)
        .agg({"one": "sum", "recent": "sum"})
        .toArrow()
    )
    rows = rows_of(np.asarray(found[ITEM].to_numpy(), ids.dtype), ids)
    counts, recent = np.zeros((2, len(ids)), np.int64)
    for array, name in ((counts, "sum(one)"), (recent, "sum(recent)")):
        array[rows[rows >= 0]] = found[name].to_numpy()[rows >= 0]
    return counts, None if since is None else recent


# ---- audience vectors


def audience_of_all(
    liked: DataFrame, item_ids: npt.NDArray[Any], counts: Counts, vectors: Floats, url: str
) -> Floats:
    """Return `recsys.vectors.audience.audience_vectors` over the users of a frame, added up there.

    What each user watched is shuffled and written once, and read for either sum. A partition adds
    up an (n_items, d) matrix: 16 bytes for each of its numbers in a Python process of an executor,
    and 4 in the shuffle that adds up the partitions. One such matrix comes to this machine.

    Parameters
    ----------
    liked : pyspark DataFrame
        `user_id`, `item_id`; other items are left out.
    item_ids, counts
        The items, ascending, and how many of these events each has.
    vectors : float32 array, shape (n_items, d)
        Input vectors.
    url
        As in `with_all_users`.
    """
    from pyspark.sql import functions as sf

    n_parts = 1 + int(counts.sum()) // max(PART, DENSE * len(item_ids))
    by_user = coded(liked, item_ids).repartition(n_parts, USER).groupBy(USER)
    # A set is no longer than the catalogue, so that no user makes a row too large.
    watched = by_user.agg(sf.collect_set("code").alias("codes")).select("codes")
    watched.write.parquet(f"{url}/watched")
    stored = liked.sparkSession.read.parquet(f"{url}/watched")
    _save(counts, f"{url}/counts.npy")  # into a folder that Spark has made

    def over_users(one: OfUsers, matrix: Floats) -> npt.NDArray[np.float64]:
        at = f"{url}/{one.__name__}"
        _save(matrix, f"{at}.npy")
        task = partial(_add_users, one=one, matrix=f"{at}.npy", counts=f"{url}/counts.npy")
        parts = stored.mapInArrow(task, PIECES).groupBy("piece")
        parts.applyInArrow(_add_parts, PIECES).write.parquet(at)
        system, path = files_of(at)
        pieces = pa_parquet.read_table(path, filesystem=system).sort_by("piece")["numbers"]
        total = np.concatenate([np.frombuffer(one.as_buffer(), np.float32) for one in pieces])
        return total.reshape(-1, matrix.shape[1]).astype(np.float64)

    return audience_from(over_users, vectors)


PIECES = "piece INT, numbers BINARY"


def _add_users(
    batches: Batches, one: OfUsers, matrix: str, counts: str
) -> Iterator[pa.RecordBatch]:
    """Add up a matrix over the users of a partition, and give it in pieces."""
    of_all = _load(counts)
    items = np.arange(len(of_all))
    parts = (part for batch in batches for part in damped(_sequences(batch, items), of_all))
    total = one(parts, _load(matrix))
    n_rows = max(1, PIECE // (4 * total.shape[1]))
    for number, start in enumerate(range(0, len(total), n_rows)):
        yield _piece(number, total[start : start + n_rows]).to_batches()[0]


def _sequences(batch: pa.RecordBatch, items: npt.NDArray[np.int64]) -> Sequences:
    """Take rows of codes as users."""
    codes = batch.column(0)
    offsets = codes.offsets.to_numpy().astype(np.int64)
    return Sequences(np.arange(len(codes)), items, codes.flatten().to_numpy(), offsets - offsets[0])


def _add_parts(pieces: pa.Table) -> pa.Table:
    """Add up one piece over all partitions."""
    total: Any = np.float64(0)
    for numbers in pieces["numbers"]:
        total = total + np.frombuffer(numbers.as_buffer(), np.float32)
    return _piece(pieces["piece"][0].as_py(), total)


def _piece(number: int, numbers: npt.NDArray[np.float64]) -> pa.Table:
    columns = {"piece": pa.array([number], pa.int32())}
    columns["numbers"] = pa.array([numbers.astype(np.float32).tobytes()], pa.binary())
    return pa.table(columns)


def _save(array: npt.NDArray[Any], url: str) -> None:
    system, path = files_of(url)
    with system.open_output_stream(path) as file:
        np.save(file, array)


def _load(url: str) -> npt.NDArray[Any]:
    system, path = files_of(url)
    with system.open_input_file(path) as file:
        return np.asarray(np.load(file))
