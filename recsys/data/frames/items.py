"""Bring tables of items from anywhere into one checked form."""

from __future__ import annotations

import datetime as dt
import math
import numbers
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from recsys.data.frames.ids import NUMBERS, as_text, check_ids
from recsys.data.frames.names import FRAME, GENRES, ITEM, TITLE, YEAR, columns_of, find_columns
from recsys.data.frames.ratings import to_pandas
from recsys.errors import DataError, LineOf, Place, escape, shown, tell

_NO_GENRE = ("", "unknown", "(no genres listed)")
_SEVERAL = (list, tuple, set, frozenset, np.ndarray)
_PLAIN = (str, *NUMBERS, dt.date, dt.time, dt.timedelta, np.generic, pd.Period, uuid.UUID)
_WRITTEN_NUMBER = r"\s*-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\s*"


def rename_item_columns(
    frame: pd.DataFrame, named: Mapping[str, str | None] | None = None, *, source: str = FRAME
) -> pd.DataFrame:
    """Name the columns of an items table, unchecked; of two with one name, the first is kept."""
    wanted = dict.fromkeys((ITEM, TITLE, GENRES, YEAR)) | dict(named or {})
    found = find_columns(frame, wanted, source)
    for place, name in enumerate(map(str, frame)):
        if name in found and found[name] != place:
            tell(f"{source}: of the columns named {shown(name)}, the first is used")
        elif place not in found.values() and name.strip():
            found[name] = place
    return columns_of(frame, found)


def check_items(frame: Any, *, source: str = FRAME, line_of: LineOf | None = None) -> pd.DataFrame:
    """Check a table of items and bring it into the one form that is used after this.

    Parameters
    ----------
    frame : data frame, as for `check_ratings`
        Column `item_id` and perhaps `title`, `genres` (lists or sets of text, or text separated
        by `|`) and `year`, or their other usual names, and any others. It is not modified.
    source, line_of
        As in `check_ratings`.

    Returns
    -------
    pandas.DataFrame
        A new frame, rows in the same order and numbered from 0: `item_id` (as in
        `check_ratings`), `title` (text, empty where not known), `genres` (tuples of text),
        `year` (Int16, may be missing), and further columns as float64 if all known values are
        numbers that a float holds as written, tuples of text if some are lists, or else text.

    Raises
    ------
    DataError
        If there is no `item_id`, there are no rows, an id is not valid, an item is listed twice, or
        a column holds values that are no text, numbers, times or lists.
    """
    items = rename_item_columns(to_pandas(frame, "items"), source=source)
    if items.empty:
        raise DataError(f"no items in {source}")
    place = Place(source, line_of)
    ids = check_ids(items[ITEM], place)
    twice = ids.duplicated()
    if twice.any():
        raise place.error(twice, f"item {shown(ids[twice].iloc[0])} is listed twice")
    empty = pd.Series(pd.NA, index=items.index, dtype=object)
    years = pd.to_numeric(items.get(YEAR, empty).astype(object), errors="coerce")
    if years.dtype.kind == "c":
        raise DataError(f"{source}: {YEAR} holds complex numbers")
    years = years.astype("float64")
    genres = _tuples(items.get(GENRES, empty).astype(object), GENRES, place)
    further = items.drop(columns=[ITEM, TITLE, GENRES, YEAR], errors="ignore")
    known = {
        ITEM: ids,
        TITLE: _texts(items.get(TITLE, empty).astype(object), TITLE, place),
        GENRES: genres.map(lambda found: tuple(g for g in found if g.lower() not in _NO_GENRE)),
        YEAR: years.where(years.between(1, 9999)).floordiv(1).astype("Int16"),
    }
    return pd.DataFrame(known | {name: _plain(further[name], str(name), place) for name in further})


def _plain(values: pd.Series, name: str, place: Place) -> pd.Series:
    """Bring a column of any kind down to numbers, tuples of text, or text."""
    is_number = pd.api.types.is_numeric_dtype(values.dtype)  # truth values among them
    exact = not pd.api.types.is_integer_dtype(values.dtype) or values.between(-(2**53), 2**53).all()
    if is_number and exact and values.dtype.kind != "c":
        return values.astype("float64")
    boxed = values.astype(object)
    if boxed.map(lambda value: isinstance(value, _SEVERAL)).any():
        return _tuples(boxed, name, place)
    texts = _texts(boxed, name, place)
    known = texts[texts != ""]
    if known.empty:
        return texts
    if pd.api.types.infer_dtype(boxed) == "boolean":
        return boxed.astype("float64")
    # As text stay 007, codes of more digits than a float holds, and whatever else would change.
    is_long = known.str.fullmatch(r"\s*-?[0-9]{16,}\s*")
    if known.str.fullmatch(_WRITTEN_NUMBER).all() and not is_long.any():
        found = pd.to_numeric(texts, errors="coerce").astype("float64")
        if found.abs().max() < np.inf:
            return found
    return texts


def _texts(boxed: pd.Series, name: str, place: Place) -> pd.Series:
    """Make texts of values of plain kinds, empty where they are missing."""
    missing = boxed.isna()
    strange = ~missing & ~boxed.map(lambda value: isinstance(value, _PLAIN)).astype(bool)
    if strange.any():
        raise _strange(boxed, strange, name, place)
    return as_text(boxed.where(~missing, "").rename(name), place)


def _tuples(boxed: pd.Series, name: str, place: Place) -> pd.Series:
    """Make tuples of texts, the same in every process, of whatever may hold several."""
    found = boxed.map(_entries)
    strange = found.isna()
    if strange.any():
        raise _strange(boxed, strange, name, place)
    return found


def _strange(boxed: pd.Series, strange: pd.Series, name: str, place: Place) -> DataError:
    value = boxed[strange].iloc[0]
    problem = f"{shown(name)} holds {escape(repr(value)[:60])}, a {type(value).__name__}"
    return place.error(strange, f"{problem}; make it text, numbers or lists of text, or drop it")


def _entries(value: object) -> tuple[str, ...] | None:
    """Return the texts of a value that may hold several; None where a kind is not known."""
    parts: list[Any]
    value = value.tolist() if isinstance(value, np.ndarray) else value  # one value if of no shape
    if isinstance(value, str):
        parts = value.split("|")
    elif isinstance(value, (set, frozenset)):  # whose order is another in every process
        parts = sorted(value, key=str)
    else:
        parts = [*value] if isinstance(value, _SEVERAL) else [value]
    kept = [part for part in parts if not _is_missing(part)]
    if not all(isinstance(part, (str, numbers.Real)) for part in kept):
        return None
    whole = [int(p) if isinstance(p, float) and p.is_integer() else p for p in kept]
    return tuple(text for text in map(str, whole) if text.strip())


def _is_missing(value: object) -> bool:
    no_number = isinstance(value, numbers.Real) and math.isnan(value)
    return no_number or value is None or value is pd.NA or value is pd.NaT


def split_title(titles: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Take the year, or the first of a range, off titles: titles and years (Int16, or missing).

    Examples
    --------
    >>> title, year = split_title(pd.Series(["Toy Story (1995)", "Fargo", "Friends (1994-2004) "]))
    >>> title.tolist(), year.tolist()
    (['Toy Story', 'Fargo', 'Friends'], [1995, <NA>, 1994])
    """
    parts = titles.str.extract(r"^\s*(.*\S)\s*\((\d{4})(?:\s*[-\u2013]\s*(?:\d{4})?)?\s*\)\s*$")
    year = pd.to_numeric(parts[1]).astype("Int16")
    return parts[0].where(parts[0].notna(), titles.str.strip()), year
