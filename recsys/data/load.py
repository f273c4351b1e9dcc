"""Load ratings and items from data sets, folders, zips and files, and cache what took long to read.

A text file is cached as plain parquet, one file for each way of reading it, in `.cache` in
`$RECSYS_DATA`, else in the platform's folder for caches. If an entry is missing, damaged or forged,
the source is read again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pa_compute
import pyarrow.parquet as pa_parquet
from pandas.api.types import is_integer_dtype, is_string_dtype

from recsys.data.datasets import cache_folder
from recsys.data.files import File, find_file, one_line_errors, replace_whole
from recsys.data.frames.ids import ids_from_text
from recsys.data.frames.items import check_items, rename_item_columns, split_title
from recsys.data.frames.names import (
    GENRES,
    ITEM,
    RATING,
    SCALE,
    TIMESTAMP,
    TITLE,
    USER,
    YEAR,
    find_columns,
    tell_no_times,
)
from recsys.data.frames.ratings import check_ratings
from recsys.data.frames.times import look_like_times
from recsys.data.text import line_of, owned, read_columns, read_rows, sniff
from recsys.errors import DataError, escape, listening, shown, tell

logger = logging.getLogger(__name__)

_ML_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip
_FORMAT = 3  # of the cache: raise it with every change of what is stored, or how sources are read
_MIN_BYTES = 10**6  # of a source that is cached
_SETTLED = 10**8  # ns since the last change: two changes may get the same time on a coarse clock
_STALE = 24 * 3600  # seconds after which nobody is still writing a file
_NO_ENTRY = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, RecursionError)
_IDS = (pa.int64(), pa.uint64(), pa.large_string())
_PARQUET = (".parquet", ".pq")
_CACHED = {USER: _IDS, ITEM: _IDS, RATING: (pa.float32(),), TIMESTAMP: (pa.int64(),)}
_NO_HEADER = ("u.data", "ratings.dat")  # as MovieLens writes them
_Named = Mapping[str, str | None]
_Only = Mapping[str, Sequence[Any]]


def load_ratings(
    source: str | os.PathLike[str],
    *,
    user_col: str | None = None,
    item_col: str | None = None,
    rating_col: str | None = None,
    timestamp_col: str | None = None,
    text_ids: bool = False,
    rating_scale: tuple[float, float] | None = None,
    only: Mapping[str, Any] | None = None,
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
        As for `recsys.data.frames.ratings.check_ratings`.
    only : dict of column -> value, or list of values, optional
        Read only the rows that have one of these in a column: ``{"event": "purchase"}`` takes the
        purchases out of a log.
    cache : bool
        Keep what is read from text of 1 MB or more, in `.cache` in `$RECSYS_DATA` or else in the
        platform's folder for caches, and read it from there while the file has not changed.

    Returns
    -------
    pandas.DataFrame
        As from `recsys.data.frames.ratings.check_ratings`.

    Raises
    ------
    DataError
        If there is nothing to read, or something in it is wrong.
    """
    named = {USER: user_col, ITEM: item_col, RATING: rating_col, TIMESTAMP: timestamp_col}
    wanted = {
        str(name): [value] if isinstance(value, str) or np.isscalar(value) else [*value]
        for name, value in (only or {}).items()
    }
    scale = rating_scale and [float(x) for x in rating_scale]
    with one_line_errors(source):
        file = find_file(source, "ratings")
        if file.name.endswith(_PARQUET):
            frame = _read_parquet(file, named, wanted)
            ratings = check_ratings(frame, rating_scale=rating_scale, source=str(file))
            return ratings.astype({USER: "str", ITEM: "str"}) if text_ids else ratings
        wanted = {name: sorted(map(str, values)) for name, values in wanted.items()}
        read = partial(_read_text, file, named, text_ids, rating_scale, wanted)
        ratings = _cached(file, [named, text_ids, scale, wanted], read) if cache else read()
    if scale:
        ratings.attrs[SCALE] = tuple(scale)
    return ratings


def load_items(
    source: str | os.PathLike[str],
    *,
    item_col: str | None = None,
    title_col: str | None = None,
    genres_col: str | None = None,
    year_col: str | None = None,
    text_ids: bool = False,
) -> pd.DataFrame:
    """Load and check a table of items.

    Parameters
    ----------
    source : str or path
        As for `load_ratings`; of a folder or zip, its items table; or a table of any name.
    item_col, title_col, genres_col, year_col : str, optional
        Name of a column that has none of the usual names.
    text_ids : bool
        As for `load_ratings`.

    Returns
    -------
    pandas.DataFrame
        As from `recsys.data.frames.items.check_items`; the year is taken off the titles.

    Raises
    ------
    DataError
        If there is no items table, or something in it is wrong.
    """
    named = {ITEM: item_col, TITLE: title_col, GENRES: genres_col, YEAR: year_col}
    with one_line_errors(source):
        file = find_file(source, "items")
        place: Any = {"source": str(file)}
        if file.name.endswith(_PARQUET):
            with _parquet(file) as stored:
                items = rename_item_columns(_to_pandas(stored.read()), named, **place)
        else:
            lines, items = _read_items(file, named)
            place["line_of"] = lines.__getitem__
            if not text_ids:
                items[ITEM] = ids_from_text(items[ITEM], **place)
        if TITLE in items and YEAR not in items and is_string_dtype(items[TITLE].dtype):
            items[TITLE], items[YEAR] = split_title(items[TITLE])
        items = check_items(items, **place)
    logger.info("%s: %s items", escape(source), f"{len(items):,}")
    return items.astype({ITEM: "str"}) if text_ids else items


def _read_items(file: File, named: _Named) -> tuple[list[int], pd.DataFrame]:
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
        table = pd.DataFrame(rows, columns=names)
        items = rename_item_columns(table, named, source=str(file))
    if file.name.endswith(".item") and GENRES in items:  # RecBole's
        items[GENRES] = items[GENRES].str.replace(" ", "|")
    return lines, items


@contextmanager
def _parquet(file: File) -> Iterator[pa_parquet.ParquetFile]:
    # Never from a Python object, see `recsys.data.text`.
    with _in_memory(file) if file.packed else pa.OSFile(os.fspath(file.path)) as stream:
        yield pa_parquet.ParquetFile(stream)


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """Make a frame without pandas' own notes: damaged ones would be an error."""
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    return frame


def _read_parquet(file: File, named: _Named, only: _Only) -> pd.DataFrame:
    with _parquet(file) as stored:
        names = list(stored.schema_arrow.names)
        positions = find_columns(names, named, str(file))
        wanted = [names[at] for at in {*positions.values(), *_places(only, names, file).values()}]
        table = _to_pandas(stored.read(columns=wanted))
    if TIMESTAMP not in positions:
        tell_no_times(str(file), [name for name in names if name not in wanted])
    mask = _rows_of({name: table[name] for name in only}, only, file)
    frame = table[[names[at] for at in positions.values()]].set_axis(list(positions), axis=1)
    return frame if mask is None else frame[mask]


def _places(only: _Only, names: Sequence[str], file: File) -> dict[str, int]:
    """Find the positions of the columns that choose rows."""
    wanted: dict[str, str | None] = {name: name for name in only}
    return find_columns(names, wanted, str(file), "only= (--only)")


def _written(values: pd.Series) -> pd.Series:
    """Return values as text in which 1.0 is 1 and True is true."""
    texts = values.astype("str").str.strip()
    return texts.str.replace(r"^(-?[0-9]+)\.0*$", r"\1", regex=True).str.lower()


def _rows_of(
    columns: Mapping[str, pd.Series], only: _Only, file: File
) -> npt.NDArray[np.bool_] | None:
    """Tell in which rows every column has one of its wanted values; None if none is given."""
    mask: npt.NDArray[np.bool_] | None = None
    for name, column in columns.items():
        texts, wanted = _written(column), set(_written(pd.Series(only[name], dtype=object)))
        if not texts.isin(wanted).any():
            there = ", ".join(map(shown, texts.unique()[:5]))
            problem = f"no row has {' or '.join(map(shown, only[name])) or 'no value'} as"
            raise DataError(f"{file}: {problem} {shown(name)}, but such as {there}")
        matches = texts.isin(wanted).to_numpy(bool)
        mask = matches if mask is None else mask & matches
    if mask is not None:
        if not mask.any():
            raise DataError(f"{file}: no row has all that only= (--only) asks for")
        text = f"{file}: {mask.sum():,} of {len(mask):,} rows taken, which have {dict(only)}"
        tell(escape(text), warning=False)
    return mask


def _in_memory(file: File) -> pa.BufferReader:
    with file.open() as stream:
        magic = stream.read(4)
        if magic != b"PAR1":
            raise pa.ArrowInvalid(f"it begins with {magic!r} and not with b'PAR1'")
        return pa.BufferReader(owned(magic + stream.read()))


def _read_text(
    file: File,
    named: _Named,
    text_ids: bool,
    rating_scale: tuple[float, float] | None,
    only: _Only,
) -> pd.DataFrame:
    layout = sniff(file)
    positions = find_columns(layout.names, named, str(file))
    places = _places(only, layout.names, file)
    # Without a header, what stands third may be a time, of which a float32 would lose digits.
    kinds = {RATING: pa.float32() if layout.n_skip else pa.float64(), TIMESTAMP: pa.int64()}
    ids = pa.string() if text_ids else pa.int64()
    wanted = {at: pa.string() for at in places.values()}
    wanted |= {at: kinds.get(name, ids) for name, at in positions.items()}
    layout, columns = read_columns(file, layout, wanted)
    frame = pd.DataFrame({name: columns[at] for name, at in positions.items()}, copy=False)
    mask = _rows_of({name: columns[at] for name, at in places.items()}, only, file)
    columns.clear()
    line: Callable[[int], int] = partial(line_of, file, layout)
    if mask is not None:
        kept, whole = np.flatnonzero(mask), line
        frame, line = frame.iloc[kept].reset_index(drop=True), lambda at: whole(int(kept[at]))
    place: Any = {"source": str(file), "line_of": line}
    if layout.n_skip == 0:
        frame = _without_header(frame, file)
    if TIMESTAMP not in frame:
        at = {*positions.values(), *places.values()}
        further = [name for n, name in enumerate(layout.names) if n not in at and name.strip()]
        tell_no_times(str(file), further)
    for name in (USER, ITEM):
        if not text_ids and not is_integer_dtype(frame[name].dtype):
            frame[name] = ids_from_text(frame[name], **place)
    return check_ratings(frame, rating_scale=rating_scale, **place)


def _without_header(frame: pd.DataFrame, file: File) -> pd.DataFrame:
    """Name the columns of a file without a header: their places, unless the values tell better."""
    for name in (TIMESTAMP, RATING):  # a delimiter ends every row
        if name in frame and is_string_dtype(frame[name].dtype):
            if not (frame[name].str.strip() == "").all():
                break
            frame = frame.drop(columns=name)
    if RATING in frame and look_like_times(frame[RATING]):
        if TIMESTAMP in frame:
            problem = "without a header, its third column is the rating, but looks like times"
            raise DataError(f"{file}: {problem}; write a first line of names above it")
        frame = frame.rename(columns={RATING: TIMESTAMP})
    if file.name not in _NO_HEADER:
        names = ", ".join(map(str, frame))
        tell(f"{file} has no header: its columns are taken for {names}")
    return frame


def _cached(file: File, options: list[Any], read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Read a text file, or what was kept of it; what was said at the first reading comes again."""
    key = {"file": [os.path.abspath(file.path), file.member], "options": options}
    state = _fingerprint(file.path)
    if state and (kept := _recall([_FORMAT, key, state])):
        ratings, said = kept
        for warning, text in said:
            tell(f"{file}{text}", warning=warning)
        return ratings
    with listening() as told:
        ratings = read()
    if state and _fingerprint(file.path) == state:
        said = [(warning, text.removeprefix(str(file))) for warning, text in told]
        _keep([_FORMAT, key, state], ratings, said)
    return ratings


def _fingerprint(path: Path) -> list[int] | None:
    """Return what tells a file from every other state of it; None where it is not to be cached."""
    state = path.stat()
    age = time.time_ns() - max(state.st_ctime_ns, state.st_mtime_ns)
    if state.st_size < _MIN_BYTES or age < _SETTLED:
        return None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _entry(identity: list[Any]) -> Path:
    key = json.dumps(identity[1], sort_keys=True)  # an edited source replaces its entry
    return cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.parquet"


def _keep(identity: list[Any], ratings: pd.DataFrame, said: list[tuple[bool, str]]) -> None:
    """Keep checked ratings, with what was said in reading them; do nothing if that fails."""
    plain = ratings.astype({name: "int64" for name in ratings if name == TIMESTAMP})
    table = pa.Table.from_pandas(plain, preserve_index=False)
    facts = json.dumps([*identity, said])
    checksum = zlib.crc32(facts.encode())
    for column in table.columns:
        checksum = _checksum(column, checksum)
    metadata = {"recsys": facts, "crc32": str(checksum)}
    try:
        path = _entry(identity)
        path.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
        for old in path.parent.glob("*.part"):  # of a process that was killed
            if time.time() - old.stat().st_mtime > _STALE:
                old.unlink()
        with replace_whole(path) as made:
            pa_parquet.write_table(table.replace_schema_metadata(metadata), made, compression=None)
    except OSError as error:
        logger.debug("not cached: %s", error)


def _recall(identity: list[Any]) -> tuple[pd.DataFrame, list[tuple[bool, str]]] | None:
    """Return what was kept, ratings and what was said; None where the source is to be read."""
    try:
        with pa_parquet.ParquetFile(_entry(identity)) as file:
            schema, columns = file.schema_arrow, {}
            *found, told = json.loads(schema.metadata[b"recsys"])
            if found != identity:
                return None
            said = [(warning is True, str(text)) for warning, text in told]
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
    return ratings, said


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
