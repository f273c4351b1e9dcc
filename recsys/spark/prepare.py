"""Check events in Spark, put them in order, and open them on one machine as `Events`.

Only calls that Spark Connect has too, and Arrow wherever Python takes part: pandas at the border is
slower, and pyspark warns about its present version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pa_compute
import pyarrow.fs as pa_fs
import pyarrow.parquet as pa_parquet

from recsys.data.events import Events, tie_hash
from recsys.data.frames.names import ITEM, RATING, TIMESTAMP, USER, find_columns
from recsys.data.frames.times import written_dates
from recsys.data.sequences import Sequences, offsets_from
from recsys.errors import DataError, warn

if TYPE_CHECKING:
    import numpy.typing as npt
    from pyspark.sql import DataFrame, SparkSession

    Batches = Iterable[pa.RecordBatch]

TEXT = (".csv", ".tsv", ".dat", ".txt", ".inter", ".gz")
PART = 1_000_000  # events in a partition, about
CHUNK = 250_000  # events that a task of ours holds at a time, and those of one more user
CORRUPT = "_corrupt"  # column with the whole row where a row of text lacks fields or has too many
_NUMBER = r"'^\\s*-?[0-9]+([.][0-9]*)?\\s*$'"
_WHOLE = ("tinyint", "smallint", "int", "bigint")
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_LATEST = 9 * 10**18  # nanoseconds; beyond are no 64-bit numbers
_FROM, _TO = 157_788_000, 7_258_118_400  # seconds: 1975 and 2200
_EXACT = {"double": 2**53, "float": 2**24}  # up to which every whole number is held


@dataclass(frozen=True)
class Checked:
    """Events that were found valid, and what was found on the way.

    Attributes
    ----------
    frame : pyspark DataFrame
        `user_id`, `item_id` (bigint or string), `timestamp` (bigint, seconds since 1970) and,
        where there, `rating` (float).
    n_events : int
        Exact duplicates among them.
    latest : int
        Second of the latest event.
    refused : dict
        Rows left out, by problem: `{"n": how many, "example": one of them}`.
    """

    frame: DataFrame
    n_events: int
    latest: int
    refused: Mapping[str, Any]

    def where(self, condition: str) -> Checked:
        """Keep some of the events, by an expression of SQL."""
        frame = self.frame.where(condition)
        row = frame.selectExpr("count(*)", f"max({TIMESTAMP})").first()
        if not row or not row[0]:
            raise DataError(f"too little data: no event with {condition}")
        return replace(self, frame=frame, n_events=row[0], latest=row[1])


def read(source: str, session: SparkSession) -> DataFrame:
    """Open a table at a path or URL: text with a header, by its ending (`.gz` too), or Parquet.

    A row of text with too few or too many fields is kept, marked, for `check` to count.
    """
    if not source.endswith(TEXT):
        return session.read.parquet(source)
    header = session.read.text(source).first()
    if header is None:
        raise DataError(f"no ratings in {source}")
    how = {"header": True, "sep": max(("\t", "::", ";", "|", ","), key=header[0].count)}
    names = session.read.csv(source, **how).columns
    schema = ", ".join(f"{_quoted(name)} STRING" for name in [*names, CORRUPT])
    # With pruning, Spark would not look at fields that nobody asks for, nor count them.
    reader = session.read.option("columnPruning", False).option("escape", '"')
    return reader.csv(source, schema=schema, columnNameOfCorruptRecord=CORRUPT, **how)


def check(
    data: DataFrame | Checked | str,
    *,
    columns: Mapping[str, str | None] | None = None,
    text_ids: bool = False,
    drop_bad: bool = False,
) -> Checked:
    """Check events as `recsys.data.frames.ratings.check_ratings` does, counting what is refused.

    Parameters
    ----------
    data : pyspark DataFrame, or str
        One row an event, or what `read` opens. What is checked already is returned as it is.
    columns : mapping, optional
        Names of columns that have none of the usual names: `{"user_id": "customer"}`.
    text_ids : bool
        Keep ids of text as they are; otherwise a column of whole numbers only becomes numbers.
    drop_bad : bool
        Leave out rows that are refused, with a warning, instead of raising an error.

    Raises
    ------
    DataError
        A column is missing, rows are refused, units or kinds of ids are mixed, there is no time
        (rows in Spark have no order), or the session's time zone is not UTC.
    """
    if isinstance(data, Checked):
        return data
    if isinstance(data, str):
        from pyspark.sql import SparkSession

        data = read(data, SparkSession.active())
    zone = data.sparkSession.conf.get("spark.sql.session.timeZone")
    if zone not in ("UTC", "Etc/UTC", "GMT", "Z"):
        raise DataError(f"times without a zone would be read in {zone}: set "
                        "spark.sql.session.timeZone to UTC")  # fmt: skip
    wanted = dict.fromkeys((USER, ITEM, RATING, TIMESTAMP)) | dict(columns or {})
    found = find_columns(data.columns, wanted, "the data")
    if TIMESTAMP not in found:
        raise DataError("the data have no column of times, and rows in Spark have no order")
    names = [f"{_quoted(data.columns[at])} AS {name}" for name, at in found.items()]
    corrupt = CORRUPT if CORRUPT in data.columns else f"CAST(NULL AS STRING) AS {CORRUPT}"
    plain = data.selectExpr(*names, corrupt)
    kinds = _kinds(plain, text_ids=text_ids, drop_bad=drop_bad)
    judged = _judge(plain, kinds)
    n_bad, good, refused = _count(judged)
    if refused:
        shown = "; ".join(f"{one['n']:,} x {what}, such as {one['example']!r:.100}"
                          for what, one in refused.items())  # fmt: skip
        text = f"{n_bad:,} of {n_bad + good['n']:,} rows are refused: {shown}"
        if not drop_bad:
            raise DataError(f"{text}; leave them out with drop_bad=True (--drop-bad)")
        warn(text)
    if not good["n"]:
        raise DataError("no ratings in the data")
    unit = _unit(int(good["low"]), int(good["high"]))
    seconds = f"CAST(floor({TIMESTAMP}) AS BIGINT) DIV {1000**unit} AS {TIMESTAMP}"
    kept = [seconds if name == TIMESTAMP else name for name in found]
    frame = judged.where("problem IS NULL").selectExpr(*kept)
    return Checked(frame, good["n"], int(good["high"]) // 1000**unit, refused)


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _kinds(plain: DataFrame, *, text_ids: bool, drop_bad: bool) -> dict[str, str]:
    """Tell the type of each column, `number` for text that is all numbers."""
    kinds = dict(plain.drop(CORRUPT).dtypes)
    texts = [name for name in (USER, ITEM, TIMESTAMP) if kinds.get(name) == "string"]
    if not texts:
        return kinds
    counts = [
        f"named_struct('values', count_if(trim({name}) <> ''), "
        f"'numbers', count_if({name} RLIKE {_NUMBER}), "
        f"'as_text', count_if({name} RLIKE '^\\\\s*-?0[0-9]' OR ({name} RLIKE {_NUMBER} AND "
        f"abs(try_cast({name} AS DECIMAL(38, 6))) >= 9223372036854775807))) AS {name}"
        for name in texts
    ]
    row = plain.where(f"{CORRUPT} IS NULL").selectExpr(*counts).toArrow().to_pylist()[0]
    for name in texts:
        n, numbers, as_text = (row[name][count] for count in ("values", "numbers", "as_text"))
        if name == TIMESTAMP:
            kinds[name] = "number" if numbers else "string"
        elif not text_ids and numbers and not as_text:
            if numbers < n and not drop_bad:
                raise DataError(f"{name} mixes {numbers:,} numbers and {n - numbers:,} texts; read "
                                "both id columns as text with text_ids=True "
                                "(--text-ids)")  # fmt: skip
            kinds[name] = "number" if 2 * numbers > n else "string"
    return kinds


def _judge(plain: DataFrame, kinds: Mapping[str, str]) -> DataFrame:
    """Convert every column, and say of each row what is wrong with it, and show it."""
    values = {name: _value(name, kind) for name, kind in kinds.items()}
    parsed = plain.selectExpr("*", *(f"{value} AS new_{name}" for name, value in values.items()))
    cases = [f"WHEN {CORRUPT} IS NOT NULL THEN 'fewer or more fields than the header'"]
    for name in (USER, ITEM):
        cases += [
            f"WHEN {name} IS NULL OR trim(CAST({name} AS STRING)) = '' THEN '{name} is missing'",
            f"WHEN new_{name} IS NULL THEN '{name} is not a whole number below 2**63'",
        ]
    if RATING in kinds:  # NaN is above infinity, in Spark
        bad = f"new_{RATING} IS NULL OR NOT (new_{RATING} >= 0 AND new_{RATING} < FLOAT('inf'))"
        cases.append(f"WHEN {bad} THEN 'rating is not a number of 0 or more'")
    bad = f"new_{TIMESTAMP} IS NULL OR NOT new_{TIMESTAMP} BETWEEN 1 AND {_LATEST}"
    cases.append(f"WHEN {bad} THEN 'timestamp is not a time after 1970'")
    fields = ", ".join(kinds)
    shown = f"IF(problem IS NULL, NULL, coalesce({CORRUPT}, to_json(struct({fields}))))"
    marked = parsed.selectExpr("*", f"CASE {' '.join(cases)} END AS problem")
    return marked.selectExpr(
        *(f"new_{name} AS {name}" for name in kinds), "problem", f"{shown} AS example"
    )


def _value(name: str, kind: str) -> str:
    """Return the expression that converts a column; it gives NULL, never an error."""
    number = f"try_cast({name} AS DECIMAL(38, 6))"
    if kind in ("boolean", "binary") or kind.startswith(("array", "map", "struct", "interval")):
        raise DataError(f"{name} holds {kind} values")
    if name == RATING:
        return f"CAST(try_cast({name} AS DOUBLE) AS FLOAT)"
    if name == TIMESTAMP:
        is_date = kind in ("string", "date") or kind.startswith("timestamp")
        moment = f"unix_seconds(try_cast({name} AS TIMESTAMP))"
        return f"CAST({moment} AS DECIMAL(38, 6))" if is_date else number
    if kind == "string" or kind in _WHOLE:
        return f"CAST({name} AS {'STRING' if kind == 'string' else 'BIGINT'})"
    if kind.startswith(("timestamp", "date")):
        raise DataError(f"{name} holds {kind} values; ids are whole numbers or text")
    exact = f" AND abs({number}) < {_EXACT[kind]}" if kind in _EXACT else ""
    return f"IF({number} = floor({number}){exact}, try_cast(floor({number}) AS BIGINT), NULL)"


def _count(judged: DataFrame) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Count the rows by problem: all refused, what is known of the good ones, and each problem."""
    from pyspark.sql import functions as sf

    wanted = ("count(*) AS n", "min(example) AS example",
              f"min({TIMESTAMP}) AS low", f"max({TIMESTAMP}) AS high")  # fmt: skip
    rows = judged.groupBy("problem").agg(*map(sf.expr, wanted)).toArrow().to_pylist()
    refused = {row["problem"]: {"n": row["n"], "example": row["example"]}
               for row in sorted(rows, key=lambda row: (-row["n"], str(row["problem"])))
               if row["problem"]}  # fmt: skip
    good = [row for row in rows if row["problem"] is None] or [{"n": 0}]
    return sum(one["n"] for one in refused.values()), good[0], refused


def _unit(low: int, high: int) -> int:
    """Tell seconds (0), milliseconds (1), ... by the size of the first and the last time.

    What may be no number of seconds at all is refused, or warned of.
    """
    first, last = (sum(int(time >= 10**digits) for digits in (11, 14, 17)) for time in (low, high))
    if first != last:
        raise DataError(f"timestamps mix units: {low} is in {_UNITS[first]}, "
                        f"{high} in {_UNITS[last]}")  # fmt: skip
    if form := written_dates(np.array([low, high], np.float64)):
        raise DataError(f"timestamps such as {low} look like {form[1]}: make them timestamps of "
                        "Spark, or seconds since 1970")  # fmt: skip
    if high >= _TO * 1000**first:
        raise DataError(f"timestamp {high} is not a time before 2200")
    if low < _FROM * 1000**first:
        warn(f"timestamps as early as {low}, in {_UNITS[first]} after 1970, lie before 1975; are "
             "they times?")  # fmt: skip
    return first


# ---- order


def ordered(frame: DataFrame, n_events: int) -> DataFrame:
    """Sort checked events as `recsys.data.events.order_events` does, without exact duplicates.

    All events of a user are in one partition, in order; partitions ascend by user. Spark sorts on
    disk where memory ends, so no row and no task ever holds a whole history.
    """
    schema = ", ".join(f"{name} {kind}" for name, kind in frame.dtypes)
    by = [USER, TIMESTAMP, "tie", *([RATING] if RATING in frame.columns else [])]
    parts = frame.repartitionByRange(1 + n_events // PART, USER)
    # The hash comes after the shuffle, in which it would be half of all bytes.
    tied = parts.mapInArrow(_add_tie, f"{schema}, tie BIGINT")
    return tied.sortWithinPartitions(*by).mapInArrow(_drop_repeats, schema)


def _add_tie(batches: Batches) -> Iterator[pa.RecordBatch]:
    """Add the hash that orders the events of one second."""
    for batch in batches:
        users, items = (pd.Index(batch.column(name).to_pandas()) for name in (USER, ITEM))
        # Spark has no unsigned numbers: with the first bit turned, signed ones sort alike.
        tie = (tie_hash(users, items) ^ np.uint64(1 << 63)).view(np.int64)
        names = [*batch.schema.names, "tie"]
        yield pa.RecordBatch.from_arrays([*batch.columns, pa.array(tie)], names)


def _drop_repeats(batches: Batches) -> Iterator[pa.RecordBatch]:
    """Drop each row that equals the one before it, and the column of hashes."""
    last: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows == 0:
            continue
        both = pa.concat_batches([*last, batch])
        new = np.zeros(both.num_rows, bool)
        new[0] = not last
        for column in both.columns:
            differs = pa_compute.not_equal(column.slice(1), column.slice(0, len(column) - 1))
            new[1:] |= differs.to_numpy(zero_copy_only=False)
        last = [batch.slice(batch.num_rows - 1)]
        yield batch.filter(pa.array(new[-batch.num_rows :])).drop_columns(["tie"])


def whole_users(batches: Batches) -> Iterator[pa.Table]:
    """Join the batches of an ordered partition into tables that end where a user ends."""
    held: list[pa.RecordBatch] = []
    n_held = 0
    for batch in batches:
        held.append(batch)
        n_held += batch.num_rows
        if n_held >= CHUNK:
            table = pa.Table.from_batches(held)
            users = table[USER]
            start = pa_compute.index(users, users[-1]).as_py()  # of the user who may go on
            if start:
                yield table.slice(0, start)
            held, n_held = table.slice(start).to_batches(), n_held - start
    if n_held:
        yield pa.Table.from_batches(held)


def events_of(table: pa.Table) -> Events:
    """Take ordered rows as `Events`, over the users and items that are in them."""
    users, user_ids = _codes(table[USER])
    items, item_ids = _codes(table[ITEM])
    offsets = offsets_from(np.bincount(users, minlength=len(user_ids)))
    ratings = table[RATING].to_numpy() if RATING in table.column_names else None
    return Events(
        Sequences(user_ids, item_ids, items, offsets), table[TIMESTAMP].to_numpy(), ratings
    )


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """Return the rank of each id, int32 array (n_rows,), and the distinct ids, ascending."""
    encoded = column.combine_chunks().dictionary_encode()
    ids = ids_of(encoded.dictionary)
    order = np.argsort(ids, kind="stable")
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    return rank[encoded.indices.to_numpy()], ids[order]


def ids_of(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return ids as plain numbers, or `str` in an object array."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


# ---- one machine


def files_of(url: str) -> tuple[Any, str]:
    """Open what Spark reads and writes at a URL from here, as Arrow's file system and a path.

    Examples
    --------
    >>> files_of("s3a://shop/tmp?region=eu-west-1")[1]
    'shop/tmp'
    """
    system, path = pa_fs.FileSystem.from_uri(re.sub("^s3[an]:", "s3:", url))
    return system, path


def vocabulary(frame: DataFrame) -> npt.NDArray[Any]:
    """Collect the ids of the items, ascending: all that ever comes to one machine but files."""
    return np.sort(ids_of(frame.select(ITEM).distinct().toArrow()[ITEM]))


def coded(frame: DataFrame, item_ids: npt.NDArray[Any]) -> DataFrame:
    """Add each item's row in the vocabulary, `code`; other items are dropped."""
    codes = pa.table({ITEM: item_ids, "code": np.arange(len(item_ids), dtype=np.int32)})
    known = frame.sparkSession.createDataFrame(codes)
    return frame.join(known.hint("broadcast"), ITEM)


def open_events(url: str, item_ids: npt.NDArray[Any], latest: int, scratch: Path) -> Events:
    """Map ordered, coded events from Parquet files, in the order of their names.

    Copies them column by column into files of `scratch`, which are mapped: 12 to 16 bytes an event
    on disk, and in memory one batch and 16 bytes a user (with text ids, about 70).
    """
    system, root = files_of(url)
    found = [one.path for one in system.get_file_info(pa_fs.FileSelector(root))]
    # The number in a name has five digits, or more.
    names = sorted((path for path in found if path.endswith(".parquet")), key=lambda p: (len(p), p))
    opened = partial(pa_parquet.ParquetFile, filesystem=system)  # a file holds what was read of it
    heads = [opened(name).metadata for name in names]
    n, columns = sum(head.num_rows for head in heads), heads[0].schema.names
    time = np.uint32 if latest <= np.iinfo(np.uint32).max else np.int64
    kinds = {"code": np.int32, TIMESTAMP: time, RATING: np.float32}
    arrays = {name: np.asarray(np.memmap(scratch / name, kind, "w+", shape=(n,)))
              for name, kind in kinds.items() if name in columns}  # fmt: skip
    user_ids: list[npt.NDArray[Any]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    start = 0
    for name in names:
        for batch in opened(name).iter_batches(1 << 20):
            for column, array in arrays.items():
                array[start : start + batch.num_rows] = batch.column(column).to_numpy()
            start += batch.num_rows
            users = batch.column(USER).dictionary_encode()
            ids, counts = ids_of(users.dictionary), np.bincount(users.indices.to_numpy())
            if user_ids and user_ids[-1][-1] == ids[0]:  # goes on from the batch before
                lengths[-1][-1] += counts[0]
                ids, counts = ids[1:], counts[1:]
            if len(ids):
                user_ids.append(ids)
                lengths.append(counts)
    offsets = offsets_from(np.concatenate(lengths))
    sequences = Sequences(np.concatenate(user_ids), item_ids, arrays["code"], offsets)
    return Events(sequences, arrays[TIMESTAMP], arrays.get(RATING))
