"""Read delimited text: tell how it is written, and turn it into columns block by block.

Ratings go through pyarrow's reader: pandas', with `usecols`, accepts rows of too many or too few
fields.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pa_compute
import pyarrow.csv as pa_csv

from recsys.data.files import File
from recsys.data.frames.names import ITEM, RATING, TIMESTAMP, USER
from recsys.data.frames.times import ISO_DATE
from recsys.errors import DataError, escape, tell

_DELIMITERS = ("\t", "::", ";", "|", ",")
_BARE = ("\t", "|")  # files with these are often written without quoting
_PART = "\x1f"  # stands in for `::`, since pyarrow wants one character
_BLOCK = 2**18  # bytes read at a time; no line may be longer
_MAX_BYTES = 2**28  # of a file that is read as a whole, unpacked
_NUMBER = r"\s*[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\s*"
_TYPED = r"^(.+):(?:token|float)(?:_seq)?$"  # a column in the header of a RecBole file


@dataclass(frozen=True)
class Layout:
    """How a text file of ratings is written."""

    delimiter: str
    quoted: bool
    names: list[str]
    n_skip: int  # lines before the first row


def sniff(file: File) -> Layout:
    """Tell delimiter and columns from the first two lines that are not blank."""
    with file.open() as stream:
        written = ((n, line) for n, line in enumerate(_lines(stream, file)) if line.strip())
        head = list(itertools.islice(written, 2))
    if not head:
        raise DataError(f"no ratings in {file}")
    header, *rows = (line.decode("utf-8-sig", "replace").rstrip("\r\n") for _, line in head)
    if "\ufffd" in header or "\0" in header:
        raise _not_utf8(file, head[0][0] + 1)
    delimiter = _delimiter(header)
    quoted = delimiter != "::" and not file.name.endswith(".inter")
    names = [re.sub(_TYPED, r"\1", name) for name in _split(header, delimiter)]
    filled = [name for name in names if name.strip()]
    if (
        len(filled) > 1
        and all(re.fullmatch(_NUMBER, name) for name in filled[:2])
        and all(re.fullmatch(f"{_NUMBER}|{ISO_DATE}.*", name) for name in filled)
    ):
        usual = [USER, ITEM, RATING, TIMESTAMP][: len(names)]
        return Layout(delimiter, quoted, usual + [""] * (len(names) - len(usual)), n_skip=0)
    if not rows:
        raise DataError(f"no ratings in {file}")
    # A delimiter at the end of every row makes one more column, with no name and no values.
    names += [field for field in _split(rows[0], delimiter)[len(names) :] if not field]
    return Layout(delimiter, quoted, names, n_skip=head[0][0] + 1)


def _lines(stream: IO[bytes], file: File) -> Iterator[bytes]:
    """Go through the lines; one without end, as in a zip bomb, would fill the memory."""
    for number, line in enumerate(iter(partial(stream.readline, _BLOCK + 1), b""), 1):
        if len(line) > _BLOCK:
            raise DataError(f"{file}, line {number}: longer than {_BLOCK:,} bytes; not a table")
        yield line


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=lambda delimiter: len(_split(header, delimiter)))


def _split(line: str, delimiter: str) -> list[str]:
    plain = delimiter == "::"
    return line.split("::") if plain else next(csv.reader([line], delimiter=delimiter), [])


def _not_utf8(file: File, line: int) -> DataError:
    hint = "it may be in UTF-16 or latin-1: save it as UTF-8"
    return DataError(f"{file}, line {line}: not text in UTF-8; {hint}")


def read_columns(
    file: File, layout: Layout, kinds: Mapping[int, pa.DataType]
) -> tuple[Layout, dict[int, pd.Series]]:
    """Read columns by position: as these kinds of numbers if all values are such, else as text.

    Returns the layout too: where tabs or bars part the fields and a quote does not enclose one, as
    in 5", all quotes are characters. Raises `DataError` if a row has too many or too few fields, or
    is not UTF-8.
    """
    try:
        return layout, _read_columns(file, layout, kinds)
    except _OddQuoteError:
        tell(f"{file}: a quote does not enclose a field, so all quotes are read as characters")
        layout = replace(layout, quoted=False)
        return layout, _read_columns(file, layout, kinds)


def _read_columns(
    file: File, layout: Layout, kinds: Mapping[int, pa.DataType]
) -> dict[int, pd.Series]:
    text = pa.string()
    now = {str(position): kind for position, kind in kinds.items()}
    numbers = {name: np.empty(0, now[name].to_pandas_dtype()) for name in now if now[name] != text}
    texts: dict[str, list[pa.Array]] = {name: [] for name in now}
    n_rows, n_bytes = 0, 0 if file.packed else file.path.stat().st_size
    for n_blocks, table in enumerate(_tables(file, layout, now), 1):
        end = n_rows + len(table)
        # For as many rows as there will be if they stay as long: memory is taken once.
        whole = end * n_bytes // (2 * _BLOCK * n_blocks)
        room = max(end, 33 * whole // 32 or 9 * n_rows // 8)
        for name, kind in now.items():
            column = table[name]  # to combine a single chunk would copy it
            values = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            found = None if kind == text else _as_numbers(values, kind)
            if found is not None:
                if n_rows == 0:
                    numbers[name] = np.empty(room, numbers[name].dtype)
                elif end > len(numbers[name]):  # writes zeros, so touches all of it
                    numbers[name].resize(room, refcheck=False)
                numbers[name][n_rows:end] = found
                continue
            if kind != text:
                now[name] = text
                texts[name].append(pa.array(numbers.pop(name)[:n_rows]).cast(text))
            texts[name].append(values)
        n_rows = end
    columns = {}
    for name in now:
        if name in numbers:
            numbers[name].resize(n_rows, refcheck=False)
            columns[int(name)] = pd.Series(numbers[name], copy=False)
        else:
            whole = pa.chunked_array(texts.pop(name)).to_pandas()
            columns[int(name)] = pd.Series(whole, dtype="str")
    return columns


class _OddQuoteError(Exception):
    """A quote does not enclose a field, in a file that is not parted by commas."""


def _tables(file: File, layout: Layout, kinds: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Read columns block by block: as the kinds that they have by then, or else as text.

    pyarrow gets copied blocks, never the stream: a thread of its own that still reads from a Python
    object after an error crashes the interpreter (https://github.com/apache/arrow/issues/43604).
    """
    delimiter = layout.delimiter.replace("::", _PART)
    plain, quoted = (
        pa_csv.ParseOptions(delimiter=delimiter, quote_char=q and '"', newlines_in_values=q)
        for q in (False, True)
    )
    # pyarrow knows which row is wrong only without threads.
    names = [str(position) for position in range(len(layout.names))]
    read = pa_csv.ReadOptions(use_threads=False, block_size=4 * _BLOCK, column_names=names)
    texts = dict.fromkeys(kinds, pa.string())

    def parse(rows: bytes, kinds: Mapping[str, pa.DataType]) -> pa.Table:
        stream, pool = pa.BufferReader(owned(rows)), pa.system_memory_pool()
        how = quoted if layout.quoted and b'"' in rows else plain  # which is faster
        to = pa_csv.ConvertOptions(include_columns=[*kinds], column_types=kinds, null_values=[])
        return pa_csv.read_csv(stream, read, how, to, memory_pool=pool)

    n_rows = 0
    with file.open(progress=True) as stream:
        for _ in range(layout.n_skip):
            stream.readline()
        for block in _blocks(stream, file, layout):
            rows = block.replace(b"::", _PART.encode()) if delimiter == _PART else block
            table = None
            if _is_plain(rows, delimiter):
                with suppress(pa.ArrowInvalid):
                    table = parse(rows, kinds)
            try:
                table = table or parse(rows, texts)
            except pa.ArrowInvalid as error:
                raise _bad_row(error, file, layout, n_rows) from error
            n_rows += len(table)
            yield table


def owned(data: bytes) -> pa.Buffer:
    """Copy bytes into memory of pyarrow's own, of the pool that gives it back when done."""
    own = pa.allocate_buffer(len(data), memory_pool=pa.system_memory_pool())
    pa.FixedSizeBufferWriter(own).write(data)
    return own


def _is_plain(rows: bytes, delimiter: str) -> bool:
    """Tell that no number is written as ` 7`, 007 or 0x1f, which pyarrow reads as 7, 7 and 31."""
    if rows[:1] == b"0" or b" " in rows or (b"\t" in rows and delimiter != "\t"):
        return False
    if delimiter in ";|":  # the other delimiters sort before the digits
        rows = rows.replace(delimiter.encode(), b",")
    text = np.frombuffer(rows, np.uint8)
    leading = text[1:] == ord("0")
    leading &= text[:-1] < ord(".")  # after a delimiter, a line end or a sign
    after = text.take(np.flatnonzero(leading) + 2, mode="clip")
    return not ((after - np.uint8(48) < 10) | ((after | 32) == ord("x"))).any()


def _blocks(stream: IO[bytes], file: File, layout: Layout) -> Iterator[bytes]:
    """Cut a stream into blocks of whole rows, up to 3 * _BLOCK bytes each."""
    rest = b""
    while data := stream.read(2 * _BLOCK):
        block = rest + data
        end = _end_of_rows(block, layout)
        rows, rest = block[:end], block[end:]
        if rows and not rows.isspace():
            yield rows
        if len(rest) > _BLOCK:
            if layout.quoted and layout.delimiter in _BARE and b'"' in rest:
                raise _OddQuoteError
            problem = f"has a row longer than {_BLOCK:,} bytes; is a quote never closed?"
            raise DataError(f"{file} {problem}")
    if rest.strip():
        if layout.quoted and b'"' in rest and _end_of_rows(rest + b"\n", layout) <= len(rest):
            if layout.delimiter in _BARE:
                raise _OddQuoteError
            line = _n_lines(file) - rest.count(b"\n") + 1
            raise DataError(f"{file}, line {line}: a quote in this row is never closed")
        yield rest


def _n_lines(file: File) -> int:
    """Count the line ends of a file, only when one is to be named: it takes long."""
    with file.open() as stream:
        return sum(data.count(b"\n") for data in iter(partial(stream.read, _BLOCK), b""))


def _end_of_rows(block: bytes, layout: Layout) -> int:
    """Return where the last whole row ends: after a line end that is not inside quotes."""
    end, bare = block.rfind(b"\n") + 1, layout.delimiter in _BARE
    some = layout.quoted and b'"' in block  # to count looks at byte after byte
    n_quotes = block.count(b'"', 0, end) if some else 0
    if n_quotes == 0 or (n_quotes % 2 == 0 and not bare):
        return end
    # A quote opens a field only at its start; elsewhere it is a character like any other.
    around = re.escape(f"\n\r{layout.delimiter}").encode()
    closing = (b"", b"\n", b"\r", layout.delimiter.encode())
    end = outside = 0
    for field in re.finditer(rb'(?:\A|(?<=[%b]))"(?:[^"]|"")*("|\Z)' % around, block):
        end = block.rfind(b"\n", outside, field.start()) + 1 or end
        outside = field.end()
        if bare and field[1] and block[outside : outside + 1] not in closing:
            raise _OddQuoteError
    return block.rfind(b"\n", outside) + 1 or end


def _bad_row(error: Exception, file: File, layout: Layout, n_before: int) -> DataError:
    # pyarrow can call back with the row too, but not where that is not UTF-8.
    row = re.search(r"Row #(\d+):(?: Expected (\d+) columns, got (\d+))?", str(error))
    line = line_of(file, layout, n_before + int(row[1]) - 1) if row else 0
    if row and row[2]:
        return DataError(f"{file}, line {line}: {row[3]} fields where there should be {row[2]}")
    if row and "UTF8" in str(error):
        return _not_utf8(file, line)
    reason = escape(" ".join(str(error).split()))
    return DataError(f"{file} cannot be split into rows; is a quote never closed? ({reason})")


def line_of(file: File, layout: Layout, position: int) -> int:
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


def _as_numbers(values: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Turn text into numbers; None if one is no number or would lose its zeros."""
    try:
        numbers = values.cast(kind)
    except pa.ArrowInvalid:
        return None
    if kind == pa.int64() and values.type != kind:  # pyarrow reads 007 as 7, and 0x1f as 31
        odd = pa_compute.any(pa_compute.match_substring_regex(values, "^-?0")).as_py()
        if odd and not numbers.cast(pa.string()).equals(values):
            return None
    return numbers


def read_rows(
    file: File, *, delimiter: str | None = None, width: int | None = None
) -> tuple[list[int], list[list[str]]]:
    """Read a small table as a whole: the line of each row, from 1, and its fields as text.

    A delimiter is given for the old layouts, which have no header and may be in latin-1. Every row
    must have `width` fields, by default as many as the first.
    """
    with file.open() as stream:
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise DataError(f"{file} is larger than {_MAX_BYTES:,} bytes; not a table of items")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if delimiter is None:
            raise _not_utf8(file, data.count(b"\n", 0, error.start) + 1) from error
        text = data.decode("latin-1")
    sign = delimiter or _delimiter(text.partition("\n")[0])
    try:  # the old layouts, and RecBole's, know no quotes
        if delimiter or sign == "::" or file.name.endswith(".item") or '"' not in text:
            raise csv.Error
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, strict=True)
        numbered = [(reader.line_num, row) for row in reader if row]
    except csv.Error:
        if sign == "," and '"' in text and not delimiter:
            raise
        written = enumerate(text.split("\n"), 1)
        numbered = [(n, line.rstrip("\r").split(sign)) for n, line in written if line.strip()]
    if not numbered:
        raise DataError(f"no items in {file}")
    header = numbered[0][1]
    if delimiter is None:
        header[:] = [re.sub(_TYPED, r"\1", name) for name in header]
    width = width or len(header)
    for line, row in numbered:
        if len(row) < width or any(row[width:]):
            wanted = f"{len(row)} fields where there should be {width}"
            raise DataError(f"{file}, line {line}: {wanted}")
    return [line for line, _ in numbered], [row[:width] for _, row in numbered]
