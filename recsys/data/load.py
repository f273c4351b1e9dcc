"""Read ratings and items from data sets, folders, zips and files: the one file that knows layouts.

Nothing is unpacked: `.gz` files and members of a zip are read as streams. Text goes through
pyarrow's reader and not through pandas', which with `usecols` takes a row of too many or too few
fields without a word.
"""

from __future__ import annotations

import csv
import errno
import gzip
import io
import itertools
import logging
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pa_compute
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from recsys.data.cache import fingerprint, keep, recall
from recsys.data.frames import (
    GENRES,
    ITEM,
    RATING,
    TIMESTAMP,
    TITLE,
    USER,
    YEAR,
    check_items,
    check_ratings,
    ids_from_text,
    rename_columns,
    rename_item_columns,
    split_title,
)
from recsys.data.frames import logger as frames_logger
from recsys.errors import DataError

logger = logging.getLogger(__name__)

_RATINGS_FILES = ("ratings.csv", "u.data", "ratings.dat", "*.inter")
_ITEMS_FILES = ("movies.csv", "items.csv", "u.item", "movies.dat", "*.item")
_TABLES = ("*.csv", "*.tsv", "*.parquet", "*.pq")  # read where a folder has one table only
_DELIMITERS = ("\t", "::", ";", "|", ",")
_PART = "\x1f"  # stands in for `::`, since pyarrow wants one character
_BLOCK = 2**18  # bytes read at a time; no line may be longer
_MAX_ITEMS_BYTES = 2**28  # of an items table, unpacked, which is read as a whole
_NUMBER = r"\s*[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\s*"
_TYPED = r"^(.+):(?:token|float)(?:_seq)?$"  # a column in the header of a RecBole file
_ML_100K_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip


@dataclass(frozen=True)
class _File:
    """A file, or a member of a zip."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """Name without folders and `.gz`, in lower case."""
        return Path(self.member or self.path).name.lower().removesuffix(".gz")

    def __str__(self) -> str:
        return f"'{self.path}'" + (f" ({self.member})" if self.member else "")

    @property
    def packed(self) -> bool:
        """Whether the bytes on the disk are not those of the table."""
        return self.member is not None or self.name != self.path.name.lower()

    @contextmanager
    def open(self, *, progress: bool = False) -> Iterator[IO[bytes]]:
        """Open for reading, decompressed; with a bar on the terminal where it takes long."""
        with ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(self.path.open("rb"))
            if progress:
                from tqdm import tqdm

                bar = tqdm.wrapattr(
                    stream, "read", total=self.path.stat().st_size, desc=f"reading {self.name}",
                    unit="B", unit_scale=True, delay=2, disable=None,
                )  # fmt: skip
                stream = stack.enter_context(bar)
            if self.member is not None:
                archive = stack.enter_context(zipfile.ZipFile(stream))
                stream = stack.enter_context(archive.open(self.member))
            if (self.member or self.path.name).lower().endswith(".gz"):
                stream = stack.enter_context(gzip.open(stream))  # type: ignore[arg-type]
            yield stream


@dataclass(frozen=True)
class _Layout:
    """How a text file of ratings is written."""

    delimiter: str
    quoted: bool
    names: list[str]
    n_skip: int  # lines before the first row


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
        Name of a column that goes by none of the usual names.
    text_ids : bool
        Take the ids as text, as written. Otherwise ids that are all plain numbers become numbers.
    rating_scale : (low, high), optional
        The least and the greatest rating there may be; without it any number from 0 up.
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
    options = {
        "user_col": user_col,
        "item_col": item_col,
        "rating_col": rating_col,
        "timestamp_col": timestamp_col,
    }
    summary = None
    with _one_line_errors(source):
        file = _find(_locate(source), _RATINGS_FILES)
        if file.name.endswith((".parquet", ".pq")):
            frame = _read_parquet(file, options)
            ratings = check_ratings(frame, rating_scale=rating_scale, source=str(file))
            ratings = ratings.astype({USER: "str", ITEM: "str"}) if text_ids else ratings
        elif cache:
            ratings, summary = _read_cached(file, options, text_ids, rating_scale)
        else:
            ratings = _read_text(file, options, text_ids, rating_scale)
    return ratings


def _read_cached(
    file: _File,
    options: Mapping[str, str | None],
    text_ids: bool,
    rating_scale: tuple[float, float] | None,
) -> tuple[pd.DataFrame, str | None]:
    """Read a text file, or what was kept of it: ratings, and a summary where one is wanted."""
    key = {
        "file": [os.path.abspath(file.path), file.member],
        "options": [dict(options), text_ids, rating_scale and [float(x) for x in rating_scale]],
    }
    state = fingerprint(file.path)
    told = logger.isEnabledFor(logging.INFO)
    if state and (kept := recall(key, state, with_notices=told)):
        ratings, notices = kept
        summary = notices.pop() if told else None
        for notice in notices if told else []:
            frames_logger.info("%s%s", file, notice)
        return ratings, summary
    with _listening(frames_logger) as said:
        ratings = _read_text(file, options, text_ids, rating_scale)
    if state is None or fingerprint(file.path) != state:
        return ratings, None
    notices = [text.removeprefix(str(file)) for text in said]
    summary = "" if told else None
    keep(key, state, ratings, [*notices, summary] if summary else None)
    return ratings, summary


@contextmanager
def _listening(to: logging.Logger) -> Iterator[list[str]]:
    """Write down what a logger says in this thread."""
    said: list[str] = []
    thread = threading.get_ident()
    handler = logging.Handler()
    handler.emit = lambda record: (  # type: ignore[method-assign]
        said.append(record.getMessage()) if record.thread == thread else None
    )
    to.addHandler(handler)
    try:
        yield said
    finally:
        to.removeHandler(handler)


def load_items(source: str | os.PathLike[str], *, text_ids: bool = False) -> pd.DataFrame:
    """Load and check the items table that comes with ratings.

    Parameters
    ----------
    source : str or path
        As for `load_ratings`; a file only if it is an items table itself, such as `movies.csv`.
    text_ids : bool
        As for `load_ratings`.

    Returns
    -------
    pandas.DataFrame
        As from `recsys.data.frames.check_items`; the year is taken off the titles.

    Raises
    ------
    DataError
        If there is no items table, or something in it is wrong.
    """
    with _one_line_errors(source):
        file = _find(_locate(source), _ITEMS_FILES)
        lines, items = _read_items(file)
        if not text_ids:
            items[ITEM] = ids_from_text(items[ITEM], source=str(file), line_of=lines.__getitem__)
        items = check_items(items, source=str(file), line_of=lines.__getitem__)
    logger.info("%s: %s items", source, f"{len(items):,}")
    return items


@contextmanager
def _one_line_errors(source: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong in reading into a `DataError` of one line."""
    try:
        yield
    except DataError:
        raise
    except csv.Error as e:
        problem = "cannot be split into rows; does a line end in \\r alone, or a quote never close?"
        raise DataError(f"'{source}' {problem} ({e})") from e
    # RuntimeError: a zip with a password, or packed in a way that zipfile does not know.
    # UnicodeDecodeError: a name in a damaged zip or parquet file.
    except (
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        RuntimeError,
        pa.ArrowInvalid,
        UnicodeDecodeError,
    ) as e:
        # A damaged zip can send zipfile to a place before its beginning: EINVAL.
        told = isinstance(e, OSError) and e.strerror and e.errno != errno.EINVAL
        if isinstance(e, RuntimeError) or told:
            problem = f"cannot be read: {getattr(e, 'strerror', None) or e}"
        else:
            problem = f"is corrupt or cut short, get it again: {e!s:.200}"
        raise DataError(" ".join(f"'{source}' {problem}".split())) from e


def _locate(source: str | os.PathLike[str]) -> Path:
    """Return the path that a source names, fetched first if it is the name of a data set."""
    from recsys.data.datasets import DATASETS, fetch, sample_folder

    name = os.fspath(source)
    if isinstance(source, str) and (name in DATASETS or name == "sample"):
        if Path(name).exists():
            logger.info("'%s' is the data set; for the path of that name write './%s'", name, name)
        return sample_folder() if name == "sample" else fetch(name)
    if not name or not Path(name).exists():
        known = ", ".join(["sample", *DATASETS])
        raise DataError(f"'{name}' is no file or folder, nor the name of a data set ({known})")
    return Path(name)


def _find(path: Path, patterns: Sequence[str]) -> _File:
    """Find the file to read: the path itself, or one of a known layout in a folder or zip."""
    kind = "items" if patterns is _ITEMS_FILES else "ratings"
    if path.is_file() and path.suffix.lower() != ".zip":
        if kind == "items" and not _having(_File(path), patterns):
            raise DataError(f"'{path}' is a ratings file; it has no items table")
        return _File(path)
    levels = _levels(path)
    tries = [(level, [pattern]) for level in levels for pattern in patterns]
    tries += [(level, list(_TABLES)) for level in levels if kind == "ratings"]
    for level, wanted in tries:
        found = [file for file in level if _having(file, wanted)]
        if len(found) > 1:
            names = ", ".join(sorted(str(file) for file in found))
            raise DataError(f"'{path}' holds more than one {kind} table; name the file: {names}")
        if found:
            return found[0]
    looked = ", ".join(patterns) + (" or a single csv, tsv or parquet file" * (kind == "ratings"))
    raise DataError(f"no {kind} found in '{path}'; looked for {looked}")


def _having(file: _File, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(file.name, pattern) for pattern in patterns)


def _levels(path: Path) -> list[list[_File]]:
    """List the files at the top of a folder or zip, and those one folder down."""
    if path.is_dir():
        inside = [list(path.iterdir()), list(path.glob("*/*"))]
        return [[_File(p) for p in ps if p.name[0] != "." and p.is_file()] for ps in inside]
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name[-1] != "/"]
    # Hidden members and those whose path leads out of the zip are not looked at.
    plain = [name for name in names if not re.search(r"(^|/)(\.|__MACOSX/|/)", name)]
    return [[_File(path, name) for name in plain if name.count("/") == depth] for depth in (0, 1)]


def _read_parquet(file: _File, options: Mapping[str, str | None]) -> pd.DataFrame:
    # Never from a Python object, see `_batches`.
    with _native(file) if file.packed else pa.OSFile(os.fspath(file.path)) as stream:
        table = pa_parquet.ParquetFile(stream)
        names = list(table.schema_arrow.names)
        positions = _positions(names, file, options)
        wanted = [names[position] for position in positions.values()]
        # Without the notes that pandas has left there: damaged, they would not even be ignored.
        plain = table.read(columns=wanted).replace_schema_metadata(None)
        frame: pd.DataFrame = plain.to_pandas()
    return frame[wanted].set_axis(list(positions), axis="columns")


def _native(file: _File) -> pa.BufferReader:
    copy = pa.BufferOutputStream()
    with file.open() as stream:
        magic = stream.read(4)
        if magic != b"PAR1":
            raise pa.ArrowInvalid(f"it begins with {magic!r} and not with b'PAR1'")
        copy.write(magic)
        while block := stream.read(_BLOCK):
            copy.write(block)
    return pa.BufferReader(copy.getvalue())


def _positions(
    names: Sequence[str], file: _File, options: Mapping[str, str | None]
) -> dict[str, int]:
    """Find the columns to read by the rules of `rename_columns`: name -> position."""
    numbered = pd.DataFrame([range(len(names))], columns=list(names))
    renamed = rename_columns(numbered, source=str(file), **options)
    return {str(name): int(position) for name, position in renamed.iloc[0].items()}


def _read_text(
    file: _File,
    options: Mapping[str, str | None],
    text_ids: bool,
    rating_scale: tuple[float, float] | None,
) -> pd.DataFrame:
    layout = _sniff(file)
    positions = _positions(layout.names, file, options)
    kinds = {RATING: pa.float32(), TIMESTAMP: pa.int64()}
    ids = pa.string() if text_ids else pa.int64()
    columns = {str(position): _Column(kinds.get(name, ids)) for name, position in positions.items()}
    for batch, expected in _batches(file, layout, columns):
        for position, column in columns.items():
            column.add(batch.column(position), expected)
    series = {name: columns.pop(str(position)).series() for name, position in positions.items()}
    frame = pd.DataFrame(series, copy=False)

    def line_of(position: int) -> int:
        return _line_of(file, layout, position)

    for name in (USER, ITEM):
        if not text_ids and not pd.api.types.is_integer_dtype(frame[name].dtype):
            frame[name] = ids_from_text(frame[name], source=str(file), line_of=line_of)
    ratings = check_ratings(frame, rating_scale=rating_scale, source=str(file), line_of=line_of)
    return ratings.astype({USER: "str", ITEM: "str"}) if text_ids else ratings


def _sniff(file: _File) -> _Layout:
    """Tell delimiter and columns from the first two lines that are not blank."""
    with file.open() as stream:
        written = ((n, line) for n, line in enumerate(_lines(stream, file)) if line.strip())
        head = list(itertools.islice(written, 2))
    if not head:
        raise DataError(f"no ratings in {file}")
    header, *rows = [line.decode("utf-8-sig", "replace").rstrip("\r\n") for _, line in head]
    if "\ufffd" in header or "\0" in header:
        raise _not_utf8(file, head[0][0] + 1)
    delimiter = _delimiter(header)
    quoted = delimiter != "::" and not file.name.endswith(".inter")
    names = [re.sub(_TYPED, r"\1", name) for name in _split(header, delimiter)]
    filled = [name for name in names if name.strip()]
    if len(filled) > 1 and all(re.fullmatch(_NUMBER, name) for name in filled):
        usual = [USER, ITEM, RATING, TIMESTAMP][: len(filled)]
        return _Layout(delimiter, quoted, usual + [""] * (len(names) - len(usual)), n_skip=0)
    if not rows:
        raise DataError(f"no ratings in {file}")
    # A delimiter at the end of every row makes one more column, with no name and no values.
    names += [field for field in _split(rows[0], delimiter)[len(names) :] if not field]
    return _Layout(delimiter, quoted, names, n_skip=head[0][0] + 1)


def _lines(stream: IO[bytes], file: _File) -> Iterator[bytes]:
    """Go through the lines; one without end, as in a packed bomb, would fill the memory."""
    number = 0
    while line := stream.readline(_BLOCK + 1):
        number += 1
        if len(line) > _BLOCK:
            raise DataError(f"{file}, line {number}: longer than {_BLOCK:,} bytes, so no table")
        yield line


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=lambda delimiter: len(_split(header, delimiter)))


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == "::":
        return line.split("::")
    return next(csv.reader([line], delimiter=delimiter), [])


def _not_utf8(file: _File, line: int) -> DataError:
    hint = "it may be in UTF-16 or latin-1: save it as UTF-8"
    return DataError(f"{file}, line {line}: not text in UTF-8; {hint}")


def _batches(
    file: _File, layout: _Layout, columns: Mapping[str, _Column]
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Read columns block by block: as what they are so far, or where that cannot be, as text.

    With each comes the number of rows to be expected altogether, 0 where that is not known.

    pyarrow is handed blocks that are its own, never the stream: its threads read ahead, and one
    that still reads from a Python object when an error has ended the rest crashes the interpreter
    (https://github.com/apache/arrow/issues/43604).
    """
    parts = layout.delimiter == "::"
    delimiter = _PART if parts else layout.delimiter
    plain, quoted = (
        pa_csv.ParseOptions(
            delimiter=delimiter, quote_char='"' if quotes else False, newlines_in_values=quotes
        )
        for quotes in (False, True)
    )
    # Only without threads pyarrow knows which row is wrong.
    read = pa_csv.ReadOptions(
        use_threads=False,
        block_size=4 * _BLOCK,
        column_names=[str(position) for position in range(len(layout.names))],
    )
    texts = dict.fromkeys(columns, pa.string())
    size = 0 if file.packed else file.path.stat().st_size
    n_rows = n_bytes = 0
    with file.open(progress=True) as stream:
        for _ in range(layout.n_skip):
            stream.readline()
        for block in _blocks(stream, file, layout):
            rows = block.replace(b"::", _PART.encode()) if parts else block
            kinds = {position: column.kind for position, column in columns.items()}
            parse = quoted if layout.quoted and b'"' in rows else plain  # which is faster
            table = None
            if _is_plain(rows, delimiter):
                with suppress(pa.ArrowInvalid):
                    table = _parse(rows, read, parse, kinds)
            try:
                table = table or _parse(rows, read, parse, texts)
            except pa.ArrowInvalid as error:
                raise _bad_row(error, file, layout, n_rows) from error
            n_rows += len(table)
            n_bytes += len(block)
            expected = int(1.01 * n_rows * size / n_bytes)
            for batch in table.to_batches():
                yield batch, expected


def _parse(
    rows: bytes,
    read: pa_csv.ReadOptions,
    parse: pa_csv.ParseOptions,
    kinds: Mapping[str, pa.DataType],
) -> pa.Table:
    pool = pa.system_memory_pool()  # the default one gives nothing back
    own = pa.allocate_buffer(len(rows), memory_pool=pool)
    pa.FixedSizeBufferWriter(own).write(rows)
    convert = pa_csv.ConvertOptions(include_columns=list(kinds), column_types=kinds, null_values=[])
    return pa_csv.read_csv(pa.BufferReader(own), read, parse, convert, memory_pool=pool)


def _is_plain(rows: bytes, delimiter: str) -> bool:
    """Tell that no number is written as ` 7`, 007 or 0x1f, which pyarrow reads as 7, 7 and 31."""
    if rows[:1] == b"0" or b" " in rows or (b"\t" in rows and delimiter != "\t"):
        return False
    if delimiter in ";|":  # the other delimiters sort before the digits
        rows = rows.replace(delimiter.encode(), b",")
    text = np.frombuffer(rows, np.uint8)
    for start in (0, 1):  # pairs of bytes: a zero after what sorts before `.` and the digits
        pairs = np.frombuffer(rows, "<u2", (len(rows) - start) // 2, start)
        ends = 2 * np.flatnonzero(pairs - np.uint16(0x3000) < ord(".")) + start + 2
        after = text.take(ends, mode="clip")
        if ((after - np.uint8(48) < 10) | ((after | 32) == ord("x"))).any():
            return False
    return True


def _blocks(stream: IO[bytes], file: _File, layout: _Layout) -> Iterator[bytes]:
    """Cut a stream into blocks of whole rows, up to 3 * _BLOCK bytes each."""
    rest = b""
    while data := stream.read(2 * _BLOCK):
        block = rest + data
        end = _end_of_rows(block, layout)
        rows = block[:end]
        if rows and not rows.isspace():
            yield rows
        rest = block[end:]
        if len(rest) > _BLOCK:
            raise DataError(
                f"{file} has a row longer than {_BLOCK:,} bytes; is a quote never closed?"
            )
    if rest.strip():
        yield rest


def _end_of_rows(block: bytes, layout: _Layout) -> int:
    """Return where the last whole row ends: after a line end that is not inside quotes."""
    end = block.rfind(b"\n") + 1
    if not layout.quoted or block.count(b'"', 0, end) % 2 == 0:
        return end
    # A quote opens a field only at its start; elsewhere it is a character like any other.
    before = re.escape(f"\n\r{layout.delimiter}").encode()
    end = outside = 0
    for field in re.finditer(rb'(?:\A|(?<=[%b]))"(?:[^"]|"")*("|\Z)' % before, block):
        end = block.rfind(b"\n", outside, field.start()) + 1 or end
        outside = field.end()
    return block.rfind(b"\n", outside) + 1 or end


def _bad_row(error: Exception, file: _File, layout: _Layout, n_before: int) -> DataError:
    # pyarrow can call back with the row too, but not where that is not UTF-8.
    row = re.search(r"Row #(\d+):(?: Expected (\d+) columns, got (\d+))?", str(error))
    line = _line_of(file, layout, n_before + int(row[1]) - 1) if row else 0
    if row and row[2]:
        return DataError(f"{file}, line {line}: {row[3]} fields where there should be {row[2]}")
    if row and "UTF8" in str(error):
        return _not_utf8(file, line)
    reason = " ".join(str(error).split())
    return DataError(f"{file} cannot be split into rows; is a quote never closed? ({reason})")


def _line_of(file: _File, layout: _Layout, position: int) -> int:
    """Count again up to the line of a row, past blank lines and line ends in quotes."""
    n_rows = n_quotes = 0
    with file.open() as stream:
        for number, line in enumerate(_lines(stream, file), 1):
            inside = n_quotes % 2 == 1
            if number <= layout.n_skip or (not inside and not line.strip(b"\r\n")):
                continue
            n_rows += not inside
            if n_rows > position:
                return number
            n_quotes += line.count(b'"') if layout.quoted else 0
    return layout.n_skip + position + 1


class _Column:
    """A column put together block by block: numbers as long as all are numbers, else text."""

    def __init__(self, kind: pa.DataType) -> None:
        self.kind = kind
        self._numbers = np.empty(0, dtype=np.dtype(kind.to_pandas_dtype()))
        self._texts: list[pa.Array] = []
        self._n_rows = 0

    def add(self, values: pa.Array, expected: int) -> None:
        """Add the next block, of this kind or text, of a table of about `expected` rows."""
        end = self._n_rows + len(values)
        if self.kind != pa.string():
            numbers = _numbers(values, self.kind)
            if numbers is not None:
                if end > len(self._numbers):
                    # Room for all, as far as is known: what is not used yet takes no memory.
                    room = np.empty(max(expected, 3 * end // 2), self._numbers.dtype)
                    room[: self._n_rows] = self._numbers[: self._n_rows]
                    self._numbers = room
                self._numbers[self._n_rows : end] = numbers
                self._n_rows = end
                return
            if self._n_rows:
                self._texts.append(pa.array(self._numbers[: self._n_rows]).cast(pa.string()))
            self.kind = pa.string()
        self._texts.append(values)

    def series(self) -> pd.Series:
        """Return the whole column."""
        if self.kind != pa.string():
            self._numbers.resize(self._n_rows, refcheck=False)
            return pd.Series(self._numbers, copy=False)
        return pd.Series(pa.chunked_array(self._texts).to_pandas(), dtype="str")


def _numbers(values: pa.Array, kind: pa.DataType) -> Any:
    """Turn text into numbers, an array (n,); None if one is no number or would lose its zeros."""
    try:
        numbers = values.cast(kind)
    except pa.ArrowInvalid:
        return None
    array = numbers.to_numpy()
    if kind == pa.int64() and values.type != kind:  # pyarrow reads 007 as 7, and 0x1f as 31
        zero = pa_compute.any(pa_compute.starts_with(values, "0")).as_py()
        if (zero or array.min() < 0) and not numbers.cast(pa.string()).equals(values):
            return None
    return array


def _read_items(file: _File) -> tuple[list[int], pd.DataFrame]:
    """Read an items table as text, with the line of each row."""
    with file.open() as stream:
        data = stream.read(_MAX_ITEMS_BYTES + 1)
    if len(data) > _MAX_ITEMS_BYTES:
        raise DataError(f"{file} is larger than {_MAX_ITEMS_BYTES:,} bytes, so no table of items")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if file.name not in ("u.item", "movies.dat"):
            raise _not_utf8(file, data.count(b"\n", 0, error.start) + 1) from error
        text = data.decode("latin-1")
    if file.name == "u.item":
        lines, rows = _rows(text, "|", file, 5 + len(_ML_100K_GENRES))
        items = pd.DataFrame([row[:2] for row in rows], columns=[ITEM, TITLE])
        flags = [[flag == "1" for flag in row[5:]] for row in rows]
        items[GENRES] = ["|".join(itertools.compress(_ML_100K_GENRES, flag)) for flag in flags]
    elif file.name == "movies.dat":
        lines, rows = _rows(text, "::", file, 3)
        items = pd.DataFrame(rows, columns=[ITEM, TITLE, GENRES])
    else:
        header, _, _ = text.partition("\n")
        (_, *lines), (names, *rows) = _rows(text, _delimiter(header), file)
        table = pd.DataFrame(rows, columns=[re.sub(_TYPED, r"\1", name) for name in names])
        items = rename_item_columns(table, source=str(file))
    if file.name.endswith(".item") and GENRES in items:  # RecBole's
        items[GENRES] = items[GENRES].str.replace(" ", "|")
    if TITLE in items and YEAR not in items:
        items[TITLE], items[YEAR] = split_title(items[TITLE])
    return lines, items


def _rows(
    text: str, delimiter: str, file: _File, width: int | None = None
) -> tuple[list[int], list[list[str]]]:
    """Split text into rows of `width` fields, by default as many as the first has."""
    if file.name.endswith(".csv") and delimiter != "::":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        numbered = [(reader.line_num, row) for row in reader if row]
    else:
        written = enumerate(text.split("\n"), 1)
        numbered = [(n, line.rstrip("\r").split(delimiter)) for n, line in written if line.strip()]
    if not numbered:
        raise DataError(f"no items in {file}")
    width = width or len(numbered[0][1])
    for line, row in numbered:
        if len(row) < width or any(row[width:]):
            fields = f"{len(row)} fields where there should be {width}"
            raise DataError(f"{file}, line {line}: {fields}")
    return [line for line, _ in numbered], [row[:width] for _, row in numbered]
