"""Load ratings and items from data sets, folders, zips and files, and cache what took long to read.

A text file is cached as plain parquet, one file for each way of reading it, in `.cache` in the data
folder. If an entry is missing, damaged or forged, the source is read again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pa_compute
import pyarrow.parquet as pa_parquet

from recsys.data import frames
from recsys.data.datasets import data_folder
from recsys.data.files import File, find_file, one_line_errors, replace_whole
from recsys.data.frames import GENRES, ITEM, RATING, TIMESTAMP, TITLE, USER, YEAR
from recsys.data.text import line_of, owned, read_columns, read_rows, sniff

logger = logging.getLogger(__name__)

_ML_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip
_FORMAT = 2  # of the cache: raise it with every change of what is stored, or how sources are read
_MIN_BYTES = 10**6  # of a source that is cached
_SETTLED = 10**8  # ns since the last change: two changes may get the same time on a coarse clock
_STALE = 24 * 3600  # seconds after which nobody is still writing a file
_NO_ENTRY = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, RecursionError)
_IDS = (pa.int64(), pa.uint64(), pa.large_string())
_CACHED = {USER: _IDS, ITEM: _IDS, RATING: (pa.float32(),), TIMESTAMP: (pa.int64(),)}
_Named = Mapping[str, str | None]


def load_ratings(
    source: str | os.PathLike[str],
    *,
    user_col: str | None = None,
    item_col: str | None = None,
    rating_col: str | None = None,
    timestamp_col: str | None = None,
    text_ids: bool = False,
    rating_scale: tuple[float, float] | None = None,
    cache: bool = True,
) -> pd.DataFrame:
    """Load and check ratings or views.

    Parameters
    ----------
    source : str or path
        Name of a data set (`sample` or one of `recsys.data.datasets.DATASETS`); a folder or `.zip`
        in a layout of MovieLens or RecBole, or with one table in it; a text file with the delimiter
        tab, `,`, `;`, `|` or `::`, with or without header, perhaps `.gz`; or a parquet file.
        `ml-100k` is the data set and `./ml-100k` a path.
    user_col, item_col, rating_col, timestamp_col : str, optional
        Name of a column that has none of the usual names.
    text_ids : bool
        Read the ids as text, as written. Otherwise ids that are all plain numbers become numbers.
    rating_scale : (low, high), optional
        As for `recsys.data.frames.check_ratings`.
    cache : bool
        Keep what is read from text of 1 MB or more in `.cache` in the data folder, `$RECSYS_DATA`
        or the project's own, and read it from there as long as the file has not changed.

    Returns
    -------
    pandas.DataFrame
        As from `recsys.data.frames.check_ratings`.

    Raises
    ------
    DataError
        If there is nothing to read, or something in it is wrong.
    """
    named = {USER: user_col, ITEM: item_col, RATING: rating_col, TIMESTAMP: timestamp_col}
    with one_line_errors(source):
        file = find_file(source, "ratings")
        if file.name.endswith((".parquet", ".pq")):
            frame = _read_parquet(file, named)
            ratings = frames.check_ratings(frame, rating_scale=rating_scale, source=str(file))
            return ratings.astype({USER: "str", ITEM: "str"}) if text_ids else ratings
        read = partial(_read_text, file, named, text_ids, rating_scale)
        scale = rating_scale and [float(x) for x in rating_scale]
        return _cached(file, [named, text_ids, scale], read) if cache else read()


def load_items(source: str | os.PathLike[str], *, text_ids: bool = False) -> pd.DataFrame:
    """Load and check the items table that comes with ratings.

    Parameters
    ----------
    source, text_ids
        As for `load_ratings`; a file only if it is an items table itself, such as `movies.csv`.

    Returns
    -------
    pandas.DataFrame
        As from `recsys.data.frames.check_items`; the year is taken off the titles.

    Raises
    ------
    DataError
        If there is no items table, or something in it is wrong.
    """
    with one_line_errors(source):
        file = find_file(source, "items")
        lines, items = _read_items(file)
        place: Any = {"source": str(file), "line_of": lines.__getitem__}
        if not text_ids:
            items[ITEM] = frames.ids_from_text(items[ITEM], **place)
        items = frames.check_items(items, **place)
    logger.info("%s: %s items", source, f"{len(items):,}")
    return items


def _read_items(file: File) -> tuple[list[int], pd.DataFrame]:
    """Read an items table as text, with the line of each row."""
    if file.name == "u.item":
        lines, rows = read_rows(file, delimiter="|", width=5 + len(_ML_100K_GENRES))
        items = pd.DataFrame([row[:2] for row in rows], columns=[ITEM, TITLE])
        flags = [[flag == "1" for flag in row[5:]] for row in rows]
        items[GENRES] = ["|".join(itertools.compress(_ML_100K_GENRES, flag)) for flag in flags]
    elif file.name == "movies.dat":
        lines, rows = read_rows(file, delimiter="::", width=3)
        items = pd.DataFrame(rows, columns=[ITEM, TITLE, GENRES])
    else:
        (_, *lines), (names, *rows) = read_rows(file)
        items = frames.rename_item_columns(pd.DataFrame(rows, columns=names), source=str(file))
    if file.name.endswith(".item") and GENRES in items:  # RecBole's
        items[GENRES] = items[GENRES].str.replace(" ", "|")
    if TITLE in items and YEAR not in items:
        items[TITLE], items[YEAR] = frames.split_title(items[TITLE])
    return lines, items


def _read_parquet(file: File, named: _Named) -> pd.DataFrame:
    # Never from a Python object, see `recsys.data.text`.
    with _in_memory(file) if file.packed else pa.OSFile(os.fspath(file.path)) as stream:
        table = pa_parquet.ParquetFile(stream)
        names = list(table.schema_arrow.names)
        positions = frames.find_columns(names, named, str(file))
        wanted = [names[position] for position in positions.values()]
        # Without pandas' own notes: damaged ones would be an error.
        plain = table.read(columns=wanted).replace_schema_metadata(None)
        frame: pd.DataFrame = plain.to_pandas()[wanted]
    return frame.set_axis(list(positions), axis="columns")


def _in_memory(file: File) -> pa.BufferReader:
    with file.open() as stream:
        magic = stream.read(4)
        if magic != b"PAR1":
            raise pa.ArrowInvalid(f"it begins with {magic!r} and not with b'PAR1'")
        return pa.BufferReader(owned(magic + stream.read()))


def _read_text(
    file: File, named: _Named, text_ids: bool, rating_scale: tuple[float, float] | None
) -> pd.DataFrame:
    layout = sniff(file)
    positions = frames.find_columns(layout.names, named, str(file))
    kinds = {RATING: pa.float32(), TIMESTAMP: pa.int64()}
    ids = pa.string() if text_ids else pa.int64()
    wanted = {position: kinds.get(name, ids) for name, position in positions.items()}
    columns = read_columns(file, layout, wanted)
    frame = pd.DataFrame({name: columns.pop(at) for name, at in positions.items()}, copy=False)
    place: Any = {"source": str(file), "line_of": partial(line_of, file, layout)}
    for name in (USER, ITEM):
        if not text_ids and not pd.api.types.is_integer_dtype(frame[name].dtype):
            frame[name] = frames.ids_from_text(frame[name], **place)
    return frames.check_ratings(frame, rating_scale=rating_scale, **place)


def _cached(file: File, options: list[Any], read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Read a text file, or what was kept of it; the notices of the first reading come again."""
    key = {"file": [os.path.abspath(file.path), file.member], "options": options}
    state, told = _fingerprint(file.path), frames.logger.isEnabledFor(logging.INFO)
    if state and (kept := _recall([_FORMAT, key, state], with_notices=told)):
        ratings, notices = kept
        for notice in notices if told else []:
            frames.logger.info("%s%s", file, notice)
        return ratings
    with _listening(frames.logger) as said:
        ratings = read()
    if state and _fingerprint(file.path) == state:
        notices = [text.removeprefix(str(file)) for text in said]
        _keep([_FORMAT, key, state], ratings, notices if told else None)
    return ratings


@contextmanager
def _listening(to: logging.Logger) -> Iterator[list[str]]:
    """Write down what a logger says in this thread."""
    said: list[str] = []
    thread = threading.get_ident()
    handler = logging.Handler()
    handler.addFilter(lambda record: record.thread == thread)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    to.addHandler(handler)
    try:
        yield said
    finally:
        to.removeHandler(handler)


def _fingerprint(path: Path) -> list[int] | None:
    """Return what tells a file from every other state of it; None where it is not to be cached."""
    state, folder = path.stat(), data_folder()
    age = time.time_ns() - max(state.st_ctime_ns, state.st_mtime_ns)
    # Anybody's `data` in the current folder is left alone.
    ours = "RECSYS_DATA" in os.environ or (folder / "sample").is_dir()
    if state.st_size < _MIN_BYTES or age < _SETTLED or not (ours and folder.is_dir()):
        return None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _entry(identity: list[Any]) -> Path:
    key = json.dumps(identity[1], sort_keys=True)  # an edited source replaces its entry
    return data_folder() / ".cache" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.parquet"


def _keep(identity: list[Any], ratings: pd.DataFrame, notices: list[str] | None) -> None:
    """Keep checked ratings, with what was said in reading them; do nothing if that fails."""
    plain = ratings.astype({name: "int64" for name in ratings if name == TIMESTAMP})
    table = pa.Table.from_pandas(plain, preserve_index=False)
    facts = json.dumps([*identity, notices])
    checksum = zlib.crc32(facts.encode())
    for column in table.columns:
        checksum = _checksum(column, checksum)
    metadata = {"recsys": facts, "crc32": str(checksum)}
    try:
        path = _entry(identity)
        path.parent.mkdir(exist_ok=True)
        for old in path.parent.glob("*.part"):  # of a process that was killed
            if time.time() - old.stat().st_mtime > _STALE:
                old.unlink()
        with replace_whole(path) as made:
            pa_parquet.write_table(table.replace_schema_metadata(metadata), made, compression=None)
    except OSError as error:
        logger.debug("not cached: %s", error)


def _recall(identity: list[Any], *, with_notices: bool) -> tuple[pd.DataFrame, list[str]] | None:
    """Return what was kept, ratings and notices; None where the source is to be read."""
    try:
        with pa_parquet.ParquetFile(_entry(identity)) as file:
            schema, columns = file.schema_arrow, {}
            *found, notices = json.loads(schema.metadata[b"recsys"])
            if found != identity or (with_notices and notices is None):
                return None
            notices = [str(notice) for notice in notices or []]
            if schema.names != [name for name in _CACHED if name in (USER, ITEM, *schema.names)]:
                raise ValueError("not the columns of ratings")
            checksum = zlib.crc32(schema.metadata[b"recsys"])
            for name in schema.names:  # one by one, which takes less memory, so less time
                column = file.read([name], use_threads=False)[name]
                column.validate(full=True)
                if column.type not in _CACHED[name] or column.null_count:
                    raise ValueError(f"not the values of {name}")
                checksum = _checksum(column, checksum)
                series = column.to_pandas()  # from one chunk, this cannot be written to
                columns[name] = series.copy() if column.num_chunks == 1 else series
        if checksum != int(schema.metadata[b"crc32"]):
            raise ValueError("altered")
        ratings = pd.DataFrame(columns, copy=False)
    except _NO_ENTRY as error:
        logger.debug("nothing in the cache: %s", error)
        return None
    if TIMESTAMP in ratings:
        ratings[TIMESTAMP] = ratings[TIMESTAMP].astype(pd.DatetimeTZDtype("s", "UTC"))
    return ratings, notices


def _checksum(column: pa.ChunkedArray, checksum: int) -> int:
    """Go on with a checksum by the values of a column, however it is cut into chunks."""
    text = column.type == pa.large_string()
    for chunk in (pa_compute.binary_length(column) if text else column).chunks:
        checksum = zlib.crc32(chunk.to_numpy(), checksum)
    for chunk in column.chunks if text else ():
        ends = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset :]
        letters = memoryview(chunk.buffers()[2])[ends[0] : ends[len(chunk)]]
        checksum = zlib.crc32(letters, checksum)
    return checksum
