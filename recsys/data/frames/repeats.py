"""Drop rows that repeat an earlier one in every column."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys.data.frames.names import TIMESTAMP
from recsys.errors import tell

_BLOCK = 2**15  # rows worked on at a time, which fit a processor's cache
_ODD = 0x9E3779B97F4A7C15  # multiplied with, modulo 2**64, whole numbers are scattered


def drop_repeats(ratings: pd.DataFrame, source: str) -> pd.DataFrame:
    """Drop rows equal to an earlier one; `duplicated` on all columns would take twice as long."""
    columns = [_codes(ratings[name]) for name in ratings]
    starts = range(0, len(ratings), _BLOCK)
    if all(_ascend(*(codes[at : at + _BLOCK + 1] for codes in columns[:2])) for at in starts):
        return ratings  # in the order of MovieLens' files, no row can be there twice
    hashes = _hash(columns)
    marked = np.zeros(2**22, dtype=bool)
    marked[_repeated(hashes) >> 10] = True
    found = (at + np.flatnonzero(marked[hashes[at : at + _BLOCK] >> 10]) for at in starts)
    alike = np.concatenate([*found])  # one in hundreds at 10 million rows
    repeats = np.zeros(len(ratings), dtype=bool)
    repeats[alike] = ratings.iloc[alike].duplicated()
    if not repeats.any():
        return ratings
    tell(
        f"{source}: {repeats.sum():,} of {len(ratings):,} rows dropped, exact duplicates of others"
    )
    return ratings[~repeats].reset_index(drop=True)


def _ascend(user: npt.NDArray[Any], item: npt.NDArray[Any]) -> bool:
    same, later = user[1:] == user[:-1], user[1:] > user[:-1]
    return bool((later | (same & (item[1:] > item[:-1]))).all())


def _hash(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.uint32]:
    """Hash rows of columns (n_rows,): the upper half of a sum of odd multiples modulo 2**64."""
    hashes = np.empty(len(columns[0]), dtype=np.uint32)
    for start in range(0, len(hashes), _BLOCK):
        total: Any = np.uint64(0)
        for power, column in enumerate(columns, 1):
            part = column[start : start + _BLOCK]
            part = np.abs(part) if part.dtype.kind == "f" else part  # makes 0 of -0
            total = total + part.view(f"u{part.itemsize}") * np.uint64(pow(_ODD, power, 2**64))
        hashes[start : start + _BLOCK] = total >> np.uint64(32)
    return hashes


def _repeated(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return the hashes that are there more than once, found in parts that fit the cache.

    A table says which hashes of a part share a place with another: one in five, to be sorted.
    """
    if len(hashes) <= 8 * _BLOCK:
        return _twice(hashes)
    starts = range(0, len(hashes), _BLOCK)
    parted, ends = np.empty_like(hashes), np.zeros((len(starts), 257), dtype=np.int64)
    for block, start in enumerate(starts):  # parted by the first 8 bits
        part = hashes[start : start + _BLOCK]
        first = (part >> np.uint32(24)).astype(np.uint8)
        parted[start : start + _BLOCK] = part.take(np.argsort(first, kind="stable"))
        ends[block] = start + np.append(0, np.cumsum(np.bincount(first, minlength=256)))
    table, found = np.empty(2**19, dtype=np.uint32), []
    for low, high in itertools.pairwise(ends.T.tolist()):
        part = np.concatenate([parted[slice(*at)] for at in zip(low, high, strict=True)])
        place, row = (part & np.uint32(2**19 - 1)).astype(np.intp), np.arange(len(part))
        table[place] = row  # the last of those that share it
        table[place[table.take(place) != row]] = len(part)
        found.append(_twice(part[table.take(place) == len(part)]))
    return np.concatenate(found)


def _twice(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    ascending = np.sort(hashes)
    return np.asarray(ascending[1:][ascending[1:] == ascending[:-1]])


def _codes(column: pd.Series) -> npt.NDArray[Any]:
    """Turn a checked column into plain numbers (n_rows,), equal where its values are."""
    if pd.api.types.is_string_dtype(column.dtype):
        return pd.factorize(column)[0]
    # Times alone would become Python objects, a million a second.
    return np.asarray(column.astype("int64") if column.name == TIMESTAMP else column)
