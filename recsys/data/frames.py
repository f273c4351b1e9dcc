"""Bring ratings and items tables from anywhere into one checked form; no file is opened here."""

from __future__ import annotations

import logging
import numbers
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys.errors import DataError

logger = logging.getLogger(__name__)

USER, ITEM, RATING, TIMESTAMP = "user_id", "item_id", "rating", "timestamp"
TITLE, GENRES, YEAR = "title", "genres", "year"

#: Other names of each column, in lower case and stripped of all but letters and digits.
_ALIASES = {
    USER: ("user", "userid", "uid"),
    ITEM: ("item", "itemid", "movieid", "productid"),
    RATING: ("rating", "score", "stars"),
    TIMESTAMP: ("timestamp", "time", "ts", "date"),
    TITLE: ("title", "movietitle", "name"),
    GENRES: ("genres", "genre", "class"),
    YEAR: ("year", "releaseyear"),
}
_NO_GENRE = ("", "unknown", "(no genres listed)")
_INT64_MAX, _UINT64_MAX = 2**63 - 1, 2**64 - 1
_ID_KINDS = "ids are whole numbers or text"
_UTC_SECONDS = pd.DatetimeTZDtype("s", "UTC")
#: A time written as a number is in seconds below the first limit, in ms from there, and so on.
_TIME_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_TIME_LIMITS = (1e11, 1e14, 1e17, 1e20)

_BLOCK = 2**15  # rows worked on at a time, which fit a processor's cache
_ODD = 0x9E3779B97F4A7C15  # multiplied with, modulo 2**64, whole numbers are scattered

#: Gives the line in its file of the row at a position.
LineOf = Callable[[int], int]


def _shown(value: object) -> str:
    """Show a value in a message of one line: its beginning, with what cannot be seen escaped."""
    text = str(value)
    seen = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:60])
    return f"'{seen}'" if len(text) <= 60 else f"'{seen}...'"


@dataclass(frozen=True)
class _Place:
    """Where a table came from, for messages: rows are counted from 1 where there is no file."""

    source: str
    line_of: LineOf | None

    def at(self, positions: Sequence[int]) -> str:
        numbers = [self.line_of(p) if self.line_of else p + 1 for p in positions]
        word = "line" if self.line_of else "row"
        return f"{word}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"

    def error(self, bad: npt.ArrayLike, problem: str) -> DataError:
        """Make the error that names the first rows of a mask, bool (n_rows,)."""
        positions = np.flatnonzero(bad).tolist()
        more = f" and {len(positions) - 3:,} more" if len(positions) > 3 else ""
        return DataError(f"{self.source}, {self.at(positions[:3])}{more}: {problem}")


def rename_columns(
    frame: pd.DataFrame,
    *,
    user_col: str | None = None,
    item_col: str | None = None,
    rating_col: str | None = None,
    timestamp_col: str | None = None,
    source: str = "the frame",
) -> pd.DataFrame:
    """Keep the columns of a ratings table, recognised by their usual names.

    Parameters
    ----------
    frame : pandas.DataFrame
        A ratings table. It is not modified.
    user_col, item_col, rating_col, timestamp_col : str, optional
        Name of a column that goes by none of the usual names.
    source : str
        What to call the table in messages.

    Returns
    -------
    pandas.DataFrame
        Columns `user_id`, `item_id` and, where there, `rating` and `timestamp`, unchecked.

    Raises
    ------
    DataError
        If a required or a named column is missing, or if two columns could be meant.

    Examples
    --------
    >>> rename_columns(pd.DataFrame({"movieId": [1], "tag": ["funny"], "userId": [7]}))
       user_id  item_id
    0        7        1
    """
    wanted = {USER: user_col, ITEM: item_col, RATING: rating_col, TIMESTAMP: timestamp_col}
    return _pick_columns(frame, wanted, source)


def _pick_columns(
    frame: pd.DataFrame, wanted: Mapping[str, str | None], source: str
) -> pd.DataFrame:
    names = [str(name) for name in frame.columns]
    found = ", ".join(map(_shown, names[:20])) or "none"
    found += f" and {len(names) - 20} more" if len(names) > 20 else ""
    columns: dict[str, pd.Series] = {}
    for column, name in wanted.items():
        option = column.removesuffix("_id") + "_col"
        ways = f"{option}= (--{option.replace('_', '-')})"
        others = {other for key, other in wanted.items() if key != column}
        matches = _matches(names, column, name, others)
        if name is not None and not matches:
            raise DataError(f"{source} has no column '{name}' as {ways} says; found: {found}")
        if not matches and column in (USER, ITEM):
            raise DataError(f"{source} has no column '{column}'; found: {found}; name it by {ways}")
        if len(matches) > 1:
            both = " and ".join(_shown(names[p]) for p in matches)
            raise DataError(f"{source}: {both} could both be '{column}'; choose one by {ways}")
        if matches:
            columns[column] = frame.iloc[:, matches[0]].reset_index(drop=True)
    return pd.DataFrame(columns, copy=False)


def _matches(
    names: Sequence[str], column: str, name: str | None, others: set[str | None]
) -> list[int]:
    """Positions of a column: by the name asked for, else by its own name, else by an alias."""
    if name is not None:
        return [p for p, found in enumerate(names) if found == name]
    free = [p for p, found in enumerate(names) if found not in others]
    own = [p for p in free if names[p] == column]
    return own or [p for p in free if re.sub(r"[\W_]+", "", names[p]).lower() in _ALIASES[column]]


def check_ratings(
    frame: pd.DataFrame,
    *,
    rating_scale: tuple[float, float] | None = None,
    source: str = "the frame",
    line_of: LineOf | None = None,
) -> pd.DataFrame:
    """Check a table of ratings or views and bring it into the form that all else relies on.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns `user_id`, `item_id` and perhaps `rating` and `timestamp`, or their other usual
        names; more columns are left out. Times are datetimes (without a zone: UTC), whole seconds
        since 1970 (ms, us and ns are recognised by their size), or ISO text. It is not modified.
    rating_scale : (low, high), optional
        The least and the greatest rating there may be; without it any number from 0 up.
    source : str
        What to call the table in messages.
    line_of : callable, optional
        Gives the line in its file of the row at a position; without it messages count rows from 1.

    Returns
    -------
    pandas.DataFrame
        A new frame, rows in the same order and numbered from 0: `user_id` and `item_id` (int64,
        uint64 or text) and, where there, `rating` (float32) and `timestamp`
        (datetime64[s, UTC]). Rows that repeat an earlier one in every column are dropped where
        there are times; without times a repeat is an event.

    Raises
    ------
    DataError
        If a column is missing, there are no rows, or an id, a rating or a time is no such thing.
    TypeError
        If `frame` is no data frame.
    """
    if not isinstance(frame, pd.DataFrame):
        kind = type(frame).__name__
        raise TypeError(f"ratings must be a pandas DataFrame, not {kind}; see load_ratings")
    ratings = rename_columns(frame, source=source)
    if ratings.empty:
        raise DataError(f"no ratings in {source}")
    place = _Place(source, line_of)
    checked = {column: _check_ids(ratings[column], place) for column in (USER, ITEM)}
    if RATING in ratings:
        checked[RATING] = _check_rating(ratings[RATING], rating_scale or (0, np.inf), place)
    if TIMESTAMP in ratings:
        checked[TIMESTAMP] = _check_times(ratings[TIMESTAMP], place)
    return _drop_repeats(pd.DataFrame(checked, copy=False), source)


def _check_ids(ids: pd.Series, place: _Place) -> pd.Series:
    missing = ids.isna()
    if missing.any():
        raise place.error(missing, f"{ids.name} is missing; every row needs one")
    if isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(ids.cat.categories.dtype)
    if ids.dtype == object:
        ids = _unbox_ids(ids, place)
    if pd.api.types.is_integer_dtype(ids.dtype):
        unsigned = ids.dtype != np.int64 and ids.max() > _INT64_MAX
        return ids.astype("uint64" if unsigned else "int64")
    if pd.api.types.is_float_dtype(ids.dtype):
        values = ids.to_numpy(dtype="float64")
        bad = ~((np.floor(values) == values) & (np.abs(values) < 2.0**63))
        if bad.any():
            raise place.error(
                bad, f"{ids.name} {values[bad][0]} is not a whole number; {_ID_KINDS}"
            )
        return ids.astype("int64")
    if ids.dtype != object and not pd.api.types.is_string_dtype(ids.dtype):
        raise DataError(f"{place.source}: {ids.name} holds {ids.dtype} values; {_ID_KINDS}")
    blank = ids.str.strip() == ""
    if blank.any():
        raise place.error(blank, f"{ids.name} is blank; every row needs one")
    return ids.astype("str")


def _unbox_ids(ids: pd.Series, place: _Place) -> pd.Series:
    """Give a column of Python objects the type that its values have in common."""
    kind = pd.api.types.infer_dtype(ids, skipna=False)
    if kind == "integer":
        low, high = ids.min(), ids.max()
        if low >= -_INT64_MAX - 1 and high <= _INT64_MAX:
            return ids.astype("int64")
        return ids.astype("uint64" if low >= 0 and high <= _UINT64_MAX else "str")
    if kind in ("floating", "mixed-integer-float"):
        return ids.astype("float64")
    if kind == "string":
        return ids.astype("str")
    is_text = np.array([isinstance(value, str) for value in ids])
    is_bool = np.array([isinstance(value, bool) for value in ids])
    is_number = np.array([isinstance(value, numbers.Real) for value in ids]) & ~is_bool
    other = ~(is_text | is_number)
    if other.any():
        first = ids[other].iloc[0]
        raise place.error(
            other, f"{ids.name} {first!r:.60} is a {type(first).__name__}; {_ID_KINDS}"
        )
    raise _mixed_ids(ids, is_number, is_text, place)


def _mixed_ids(
    ids: pd.Series, is_number: npt.NDArray[np.bool_], is_text: npt.NDArray[np.bool_], place: _Place
) -> DataError:
    number, text = int(is_number.argmax()), int(is_text.argmax())
    return DataError(
        f"{place.source}: {ids.name} mixes numbers ({ids.iloc[number]!s:.60} in "
        f"{place.at([number])}) and text ({_shown(ids.iloc[text])} in {place.at([text])}); make "
        "them one kind, or read both id columns of a file as text with text_ids=True (--text-ids)"
    )


def ids_from_text(
    ids: pd.Series, *, source: str = "the frame", line_of: LineOf | None = None
) -> pd.Series:
    """Turn ids read from a text file into numbers where all are plain whole numbers.

    Parameters
    ----------
    ids : pandas.Series of str
        Ids as written. It is not modified.
    source, line_of
        As in `check_ratings`.

    Returns
    -------
    pandas.Series
        int64 or uint64 where every id is a number that fits (`1.0` is one); the text as written
        where none is a number, or one has leading zeros or is too large. Blank ids stay.

    Raises
    ------
    DataError
        If some ids are numbers and some are text, or a number is not whole.

    Examples
    --------
    >>> ids_from_text(pd.Series(["7", "12"])).tolist()
    [7, 12]
    >>> ids_from_text(pd.Series(["007", "12"])).tolist()
    ['007', '12']
    """
    place = _Place(source, line_of)
    plain = ids.str.strip()
    is_number = plain.str.fullmatch(r"-?[0-9]+(\.[0-9]*)?").to_numpy(dtype=bool)
    is_blank = (plain == "").to_numpy(dtype=bool)
    if is_blank.any() or not is_number.any():
        return ids
    if not is_number.all():
        raise _mixed_ids(ids, is_number, ~is_number, place)
    fraction = plain.str.fullmatch(r".*\.0*[1-9][0-9]*").to_numpy(dtype=bool)
    if fraction.any():
        raise place.error(
            fraction, f"{ids.name} {plain[fraction].iloc[0]:.60} is not a whole number; {_ID_KINDS}"
        )
    if plain.str.match(r"-?0[0-9]").any():
        return ids
    # What is too large for uint64 becomes nan, so the column no column of integers.
    whole = pd.to_numeric(plain.str.replace(r"\..*", "", regex=True), errors="coerce")
    return whole if pd.api.types.is_integer_dtype(whole.dtype) else ids


def _check_rating(rating: pd.Series, scale: tuple[float, float], place: _Place) -> pd.Series:
    parsed = rating
    if not pd.api.types.is_numeric_dtype(rating.dtype):
        parsed = pd.to_numeric(rating.astype(object), errors="coerce")
    if pd.api.types.is_bool_dtype(parsed.dtype):
        raise DataError(f"{place.source}: rating holds true and false; ratings are numbers")
    with np.errstate(over="ignore"):
        values = (
            parsed.to_numpy()  # no copy
            if parsed.dtype == np.float32
            else parsed.to_numpy(dtype="float32", na_value=np.nan)
        )
    low, high = scale
    if not (values.min() >= low and values.max() <= high and values.max() < np.inf):  # or is nan
        bad = ~((values >= low) & (values <= high) & (values < np.inf))
        wanted = "of 0 or more" if high == np.inf else f"from {low:g} to {high:g}"
        raise place.error(bad, f"rating {_shown(rating[bad].iloc[0])} is not a number {wanted}")
    return rating if rating.dtype == np.float32 else pd.Series(values)


def _check_times(times: pd.Series, place: _Place) -> pd.Series:
    parsed = _parse_times(times, place)
    is_date = pd.api.types.is_datetime64_any_dtype(parsed.dtype)
    if is_date:
        values = parsed.to_numpy(dtype="M8[s]").view(np.int64)  # in UTC; a missing time is negative
    elif pd.api.types.is_integer_dtype(parsed.dtype) and not parsed.hasnans:
        values = parsed.to_numpy(dtype="int64")
    else:
        values = parsed.to_numpy(dtype="float64", na_value=np.nan)
    if not (values.min() >= 1 and values.max() < _TIME_LIMITS[-1]):  # nan fails both
        bad = ~((values >= 1) & (values < _TIME_LIMITS[-1]))
        raise place.error(
            bad,
            f"timestamp {_shown(times[bad].iloc[0])} is no time after 1970; where only the order "
            "is known, leave the time column out and evaluate with --split last-out",
        )
    if times.dtype == _UTC_SECONDS:
        return times
    seconds = values if is_date else _to_seconds(values, place)
    if seconds is values and parsed.dtype == np.int64:
        return parsed.astype(_UTC_SECONDS)  # pandas copies only if one of the two is changed
    return pd.Series(seconds.astype(np.int64), copy=False).astype(_UTC_SECONDS)


def _parse_times(times: pd.Series, place: _Place) -> pd.Series:
    """Turn text and Python objects into datetimes or numbers, missing where they are neither."""
    dtype = times.dtype
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        raise DataError(f"{place.source}: timestamp holds {dtype} values, which are no times")
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        return times
    boxed = times.astype(object)
    if pd.api.types.infer_dtype(boxed) in ("datetime", "datetime64", "date"):
        return pd.to_datetime(boxed, utc=True, errors="coerce")
    as_numbers = pd.to_numeric(boxed, errors="coerce")
    if as_numbers.notna().any():
        return as_numbers
    parsed = pd.to_datetime(boxed, utc=True, format="ISO8601", errors="coerce")
    logger.info("%s: timestamps read as ISO dates and times, in UTC unless they say", place.source)
    return parsed


def _to_seconds(values: npt.NDArray[Any], place: _Place) -> npt.NDArray[Any]:
    """Bring positive numbers (n_rows,) of one unit to seconds."""
    low, high = np.searchsorted(_TIME_LIMITS, [values.min(), values.max()], side="right")
    if low != high:
        first, last = int(values.argmin()), int(values.argmax())
        raise DataError(
            f"{place.source}: timestamps mix units: {values[first]} in {place.at([first])} is in "
            f"{_TIME_UNITS[low]}, {values[last]} in {place.at([last])} in {_TIME_UNITS[high]}"
        )
    if low > 0:
        logger.info("%s: timestamps converted from %s", place.source, _TIME_UNITS[low])
        values = np.floor_divide(values, 1000**low)
    return values


def _drop_repeats(ratings: pd.DataFrame, source: str) -> pd.DataFrame:
    """Drop rows equal to an earlier one; `duplicated` on all rows would take as long as reading."""
    if TIMESTAMP not in ratings:
        return ratings
    exact = {name: ratings[name] if name == RATING else codes_of(ratings[name]) for name in ratings}
    columns = [np.asarray(values) for values in exact.values()]
    if _ascend(columns[0], columns[1]):  # as in MovieLens' files
        return ratings
    doubles = _doubles(columns)
    repeats = doubles[ratings.iloc[doubles].duplicated()]
    if len(repeats) == 0:
        return ratings
    logger.info("%s: %s exact duplicate rows dropped", source, f"{len(repeats):,}")
    keep = np.ones(len(ratings), dtype=bool)
    keep[repeats] = False
    return ratings[keep].reset_index(drop=True)


def _ascend(users: npt.NDArray[Any], items: npt.NDArray[Any]) -> bool:
    """Tell whether each (user, item), arrays (n_rows,), is greater than the one before."""
    for start in range(0, len(users) - 1, _BLOCK):
        user, item = users[start : start + _BLOCK + 1], items[start : start + _BLOCK + 1]
        later_item = (user[1:] == user[:-1]) & (item[1:] > item[:-1])
        if not (later_item | (user[1:] > user[:-1])).all():
            return False
    return True


def _doubles(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Find the rows of columns (n_rows,) that are equal to another: positions (n,), ascending.

    Each row writes its number into the slot of its hash. A row that finds another there is equal to
    that one, or tries again by another hash, with all rows that lost their slots. To sort hashes
    would take twice as long, and more memory.
    """
    n_rows = len(columns[0])
    n_bits = n_rows.bit_length()
    slots = np.empty(2**n_bits, dtype=np.uint32 if n_bits <= 32 else np.int64)
    odds = np.array([pow(_ODD, n + 1, 2**64) for n in range(len(columns))], dtype=np.uint64)
    doubles = []
    rows = None  # all
    while rows is None or len(rows):
        for part, at in _parts(rows, n_rows, slots.dtype):
            slots[_hash(columns, at, odds, n_bits)] = part
        lost = []
        for part, at in _parts(rows, n_rows, slots.dtype):
            winner = slots[_hash(columns, at, odds, n_bits)]
            other = np.flatnonzero(winner != part)
            loser, winner = part[other], winner[other]
            equal = np.arange(len(other))
            for codes in reversed(columns):  # times differ most
                equal = equal[codes[loser[equal]] == codes[winner[equal]]]
            doubles += [loser[equal], winner[equal]]
            lost.append(np.delete(loser, equal))
        rows = np.concatenate(lost)
        odds *= np.uint64(_ODD)
    return np.unique(np.concatenate(doubles))


def _parts(
    rows: npt.NDArray[Any] | None, n_rows: int, dtype: npt.DTypeLike
) -> Iterator[tuple[npt.NDArray[Any], slice | npt.NDArray[Any]]]:
    """Go through some rows, or all, block by block: their numbers, and how to index them."""
    for start in range(0, n_rows if rows is None else len(rows), _BLOCK):
        at = slice(start, min(start + _BLOCK, n_rows))
        if rows is None:
            yield np.arange(at.start, at.stop, dtype=dtype), at
        else:
            yield rows[at], rows[at]


def _hash(
    columns: Sequence[npt.NDArray[Any]],
    at: slice | npt.NDArray[Any],
    odds: npt.NDArray[np.uint64],
    n_bits: int,
) -> npt.NDArray[np.int64]:
    """Hash some rows to whole numbers below 2**n_bits."""
    hashes = np.zeros(1, dtype=np.uint64)
    for column, odd in zip(columns, odds, strict=True):
        part = column[at]
        if part.dtype == np.float32:
            part = np.abs(part).view(np.uint32)  # 0 and -0 are equal
        hashes = hashes + part.view(f"u{part.itemsize}") * odd
    return (hashes >> np.uint64(64 - n_bits)).view(np.int64)


def codes_of(column: pd.Series, *, ranks: bool = False) -> npt.NDArray[Any]:
    """Turn a checked column into whole numbers (n_rows,), equal where its values are.

    Texts are numbered as they come, or by rank.
    """
    codes: npt.NDArray[Any]
    if column.name == TIMESTAMP:  # to_numpy would make a million objects a second of these
        codes = column.astype("int64").to_numpy()
    elif column.name == RATING:
        codes = np.abs(column.to_numpy()).view(np.uint32)  # makes 0 of -0
    elif pd.api.types.is_integer_dtype(column.dtype):
        codes = column.to_numpy()
    else:
        codes = pd.factorize(column, sort=ranks)[0]
    return codes


def rename_item_columns(frame: pd.DataFrame, *, source: str = "the frame") -> pd.DataFrame:
    """Name the columns of an items table, recognised as in `rename_columns`, unchecked.

    Further columns stay, under the names that they have; of two with one name, the first.
    """
    items = _pick_columns(frame, dict.fromkeys((ITEM, TITLE, GENRES, YEAR)), source)
    names = pd.Index(frame.columns).map(str)
    used = {name for column in [*items] for name in _matches([*names], str(column), None, set())}
    for place, name in enumerate(names):
        if name in items and place not in used:
            logger.warning("%s: of the columns '%s' the first is taken", source, _shown(name))
        elif place not in used and name.strip():
            items[name] = frame.iloc[:, place].reset_index(drop=True)
    return items


def check_items(
    frame: pd.DataFrame, *, source: str = "the frame", line_of: LineOf | None = None
) -> pd.DataFrame:
    """Check a table of items and bring it into the form that all else relies on.

    Parameters
    ----------
    frame : pandas.DataFrame
        Column `item_id` and perhaps `title`, `genres` (sequences of text, or text separated by
        `|`) and `year`, or their other usual names; and any more. It is not modified.
    source, line_of
        As in `check_ratings`.

    Returns
    -------
    pandas.DataFrame
        A new frame, rows in the same order and numbered from 0: `item_id` (as in
        `check_ratings`), `title` (text, empty where not known), `genres` (tuples of text),
        `year` (Int16, may be missing), and further columns as float64 (where all that is known is
        a number), tuples of text (where all that is known are sequences), or else text.

    Raises
    ------
    DataError
        If there is no `item_id`, there are no rows, an id is no such thing, or an item is there
        twice.
    """
    items = rename_item_columns(frame, source=source)
    if items.empty:
        raise DataError(f"no items in {source}")
    place = _Place(source, line_of)
    ids = _check_ids(items[ITEM], place)
    twice = ids.duplicated()
    if twice.any():
        raise place.error(twice, f"item {_shown(ids[twice].iloc[0])} is there already")
    empty = pd.Series(pd.NA, index=items.index, dtype=object)
    titles = items.get(TITLE, empty).astype(object)
    years = pd.to_numeric(items.get(YEAR, empty).astype(object), errors="coerce").astype("float64")
    further = items.drop(columns=[ITEM, TITLE, GENRES, YEAR], errors="ignore")
    return pd.DataFrame(
        {
            ITEM: ids,
            TITLE: titles.where(titles.notna(), "").astype("str"),
            GENRES: items.get(GENRES, empty).astype(object).map(_as_tuple),
            YEAR: years.where(years.between(1, 9999)).floordiv(1).astype("Int16"),
            **{name: _plain(further[name]) for name in further},
        }
    )


def _plain(values: pd.Series) -> pd.Series:
    """Bring a column of any kind down to numbers, tuples of text, or text."""
    if pd.api.types.is_numeric_dtype(values.dtype):  # truth values among them
        return values.astype("float64")
    known = values.astype(object).where(values.notna() & (values.astype("str") != ""))
    if known.notna().any():
        if known.dropna().map(lambda value: isinstance(value, (tuple, list, np.ndarray))).all():
            lists = known.where(known.notna(), "")
            return lists.map(lambda entries: tuple(map(str, entries)))
        numbers = pd.to_numeric(known, errors="coerce")
        if numbers.notna().sum() == known.notna().sum():
            return numbers.astype("float64")
    return known.where(known.notna(), "").astype("str")


def _as_tuple(genres: object) -> tuple[str, ...]:
    if isinstance(genres, str):
        genres = genres.split("|")
    if not isinstance(genres, (Sequence, np.ndarray)):
        return ()
    return tuple(genre for genre in map(str, genres) if genre.strip().lower() not in _NO_GENRE)


def split_title(titles: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Take the year off the end of titles.

    Parameters
    ----------
    titles : pandas.Series of str
        Titles such as `Toy Story (1995)`. The series is not modified.

    Returns
    -------
    title : pandas.Series of str
        Titles without the year and the space around them.
    year : pandas.Series of Int16
        Year, the first of a range; missing where a title has none.

    Examples
    --------
    >>> title, year = split_title(pd.Series(["Toy Story (1995)", "Fargo", "Friends (1994-2004) "]))
    >>> title.tolist(), year.tolist()
    (['Toy Story', 'Fargo', 'Friends'], [1995, <NA>, 1994])
    """
    parts = titles.str.extract(r"^\s*(.*\S)\s*\((\d{4})(?:\s*[-\u2013]\s*(?:\d{4})?)?\s*\)\s*$")
    year = pd.to_numeric(parts[1]).astype("Int16")
    return parts[0].where(parts[0].notna(), titles.str.strip()), year
