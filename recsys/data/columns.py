"""Hold ids, texts and lists of texts as arrays, and find the row of an id.

A vocabulary is an ascending column of ids, so an id is found by bisection: opening a model builds
no dictionary, and no outside id is ever used as a row number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.errors import escape

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Ids = npt.NDArray[Any]
    Rows = npt.NDArray[np.int64]

MANY = 100  # more ids than this, and than a hundredth of the column, are looked up at once


@dataclass(frozen=True, eq=False)
class TextColumn(Sequence[str]):
    """A column of texts as two arrays, so that it can be mapped from a file without a pickle."""

    data: npt.NDArray[np.uint8]  # all texts in UTF-8, one after the other
    ends: npt.NDArray[np.int64]  # (n,), where each text ends in `data`

    @classmethod
    def of(cls, texts: Iterable[str]) -> TextColumn:
        """Encode texts, of any number and length."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return self.at(np.arange(*row.indices(len(self))))
        return self._decode(0 if row in (0, -len(self)) else self.ends[row - 1], self.ends[row])

    def at(self, rows: npt.NDArray[np.integer]) -> list[str]:
        """Return the texts at some rows, integer array (n,)."""
        starts, ends = np.where(rows % len(self), self.ends[rows - 1], 0), self.ends[rows]
        return [*map(self._decode, starts.tolist(), ends.tolist())]

    def _decode(self, start: int, end: int) -> str:
        return self.data[start:end].tobytes().decode("utf-8", "surrogatepass")


def id_array(ids: pd.Index | pd.Series[Any]) -> Ids:
    """Return ids of a frame as a plain array: integers, or `str` in an object array."""
    from pandas.api.types import is_string_dtype

    return ids.to_numpy(dtype=object) if is_string_dtype(ids) else ids.to_numpy()


def to_column(ids: Ids) -> Ids | TextColumn:
    """Keep integer ids as they are and turn text ids into a column that can be mapped."""
    return TextColumn.of(ids) if ids.dtype == object else ids


def take(column: Ids | TextColumn, rows: npt.NDArray[np.integer] | None = None) -> Ids:
    """Return the ids at some rows, or all, as a plain array again."""
    if isinstance(column, TextColumn):
        return np.array(column[:] if rows is None else column.at(rows), dtype=object)
    return np.array(column if rows is None else column[rows])


def find(column: Ids | TextColumn, wanted: Any) -> int | None:
    """Return the row of an id in an ascending column, None if it is not there.

    Examples
    --------
    >>> find(np.array([10, 20, 30]), 20), find(np.array([10, 20, 30]), "20")
    (1, None)
    """
    # Python's numbers compare exactly at any size; numpy's go through float64.
    value = str if isinstance(column, TextColumn) else int
    wanted = wanted.item() if isinstance(wanted, np.generic) else wanted
    try:
        row = bisect_left(column, wanted, key=value)
        return row if row < len(column) and value(column[row]) == wanted else None
    except (TypeError, ValueError):  # text among numbers, a list, and the like
        return None


def find_all(column: Ids | TextColumn, wanted: Iterable[Any]) -> Rows:
    """Return the rows of those ids that are in an ascending column, in the order of the ids.

    Examples
    --------
    >>> find_all(np.array([10, 20, 30]), [30, "20", 7, 10])
    array([2, 0])
    """
    ids = several_ids(wanted)
    rows: Iterable[int | None]
    if len(ids) <= max(MANY, len(column) // MANY):
        rows = (find(column, one) for one in ids)
    elif isinstance(column, np.ndarray) and isinstance(ids, np.ndarray) and ids.dtype.kind == "i":
        at = np.minimum(np.searchsorted(column, ids), len(column) - 1) if len(column) else ids[:0]
        return np.asarray(at[column[at] == ids], dtype=np.int64)
    else:  # numbers that are equal have the same hash, whatever their type
        held = column.tolist() if isinstance(column, np.ndarray) else column[:]
        row_of = dict(zip(held, range(len(held)), strict=True))
        ids = ids.tolist() if isinstance(ids, np.ndarray) else ids
        try:
            rows = [*map(row_of.get, ids)]
        except TypeError:  # a list among the ids, or the like
            rows = [row_of.get(one) for one in ids if isinstance(one, Hashable)]
    return np.array([row for row in rows if row is not None], dtype=np.int64)


def several_ids(wanted: Any) -> Ids | list[Any]:
    """Return ids as an array, or a list in their order; those of a set in a fixed one.

    Raises
    ------
    TypeError
        One id (a text, bytes, a number), a table or a mapping, or a list of such.

    Examples
    --------
    >>> several_ids({"b", "a"}), several_ids(range(3))
    (['a', 'b'], [0, 1, 2])
    """
    ids = wanted.to_pylist() if hasattr(wanted, "to_pylist") else wanted  # pyarrow's are no ids
    tabular = getattr(ids, "ndim", 1) != 1 or hasattr(ids, "columns")
    single = isinstance(ids, (str, bytes, bytearray, memoryview, Mapping)) or not isinstance(
        ids, Iterable
    )
    if single or tabular:
        got = f"{type(ids).__name__} {ids!r:.60}" if np.ndim(ids) == 0 else type(ids).__name__
        raise TypeError(f"several ids are wanted, such as a list of them; got {escape(got)}")
    several: Ids | list[Any] = ids if isinstance(ids, np.ndarray) else [*ids]
    if isinstance(ids, (set, frozenset)):
        several = sorted(ids, key=repr)
    first = several[0] if len(several) else None
    if isinstance(first, Iterable) and not isinstance(first, (str, bytes)):
        raise TypeError(f"several ids are wanted; got several of type {type(first).__name__}")
    return several


def rows_of(ids: Ids, vocabulary: Ids) -> Rows:
    """Return the row of each id in a vocabulary, -1 where it is not there.

    Examples
    --------
    >>> rows_of(np.array([30, 7, 10]), np.array([10, 20, 30]))
    array([ 2, -1,  0])
    """
    import pandas as pd

    # pandas compares int64 with uint64 exactly, where numpy goes through float64.
    wanted = pd.Index(ids, dtype=ids.dtype)
    return pd.Index(vocabulary, dtype=vocabulary.dtype).get_indexer(wanted).astype(np.int64)


@dataclass(frozen=True)
class Lists(Sequence[tuple[str, ...]]):
    """A column of lists of texts, as arrays."""

    words: TextColumn  # every text that is in a list, ascending
    codes: npt.NDArray[np.int32]  # (n_entries,), rows of `words`, one list after the other
    ends: npt.NDArray[np.int64]  # (n,), where each list ends in `codes`

    @classmethod
    def of(cls, lists: Sequence[Sequence[str]]) -> Lists:
        """Encode lists, of any number and length."""
        words = sorted({word for entries in lists for word in entries})
        row = {word: place for place, word in enumerate(words)}
        codes = np.array([row[word] for entries in lists for word in entries], np.int32)
        return cls(TextColumn.of(words), codes, np.cumsum([len(e) for e in lists], dtype=np.int64))

    def checked(self) -> Lists:
        """Return itself, or raise ValueError where codes or ends point outside."""
        inside = not len(self.codes) or 0 <= self.codes.min() <= self.codes.max() < len(self.words)
        ends = np.concatenate([[0], self.ends])
        if not inside or (np.diff(ends) < 0).any() or ends[-1] != len(self.codes):
            raise ValueError("the codes of a column of lists point outside")
        return self

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        start = 0 if row in (0, -len(self.ends)) else self.ends[row - 1]
        return tuple(self.words[code] for code in self.codes[start : self.ends[row]].tolist())

    def having(self, word: str) -> npt.NDArray[np.bool_]:
        """Tell which lists hold a text, bool array (n,)."""
        mask, code = np.zeros(len(self), bool), find(self.words, word)
        if code is not None:
            entries = np.flatnonzero(self.codes == code)
            mask[np.searchsorted(self.ends, entries, side="right")] = True
        return mask


Column = np.ndarray[Any, np.dtype[np.float64]] | TextColumn | Lists
