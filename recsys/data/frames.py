"""Bring ratings and items tables from anywhere into one checked form; no file is opened here."""

from __future__ import annotations

import logging
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
_TIME_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_TIME_LIMITS = (1e11, 1e14, 1e17, 1e20)  # numbers below the first are seconds, and so on
_BLOCK = 2**15  # rows worked on at a time, which fit a processor's cache
_ODD = 0x9E3779B97F4A7C15  # multiplied with, modulo 2**64, whole numbers are scattered

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


def find_columns(
    columns: Iterable[object], wanted: Mapping[str, str | None], source: str
) -> dict[str, int]:
    """Find the positions of wanted columns: name -> its name in the table, None for the usual ones.

    Raises `DataError` if an id column or a named one is missing, or two columns could be meant.

    Examples
    --------
    >>> find_columns(["movieId", "tag", "who"], {"user_id": "who", "item_id": None}, "my.csv")
    {'user_id': 2, 'item_id': 0}
    """
    names = [str(name) for name in columns]
    shown = ", ".join(map(_shown, names[:20])) or "none"
    shown += f" and {len(names) - 20} more" if len(names) > 20 else ""
    free = [p for p, name in enumerate(names) if name not in wanted.values()]
    plain = [re.sub(r"[\W_]+", "", name).lower() for name in names]
    positions: dict[str, int] = {}
    for column, name in wanted.items():
        option = column.removesuffix("_id") + "_col"
        ways = f"{option}= (--{option.replace('_', '-')})"
        if name is not None:
            matches = [p for p, found in enumerate(names) if found == name]
        else:
            matches = [p for p in free if names[p] == column]
            matches = matches or [p for p in free if plain[p] in _ALIASES[column]]
        if name is not None and not matches:
            raise DataError(f"{source} has no column '{name}' as {ways} says; found: {shown}")
        if not matches and column in (USER, ITEM):
            raise DataError(f"{source} has no column '{column}'; found: {shown}; name it by {ways}")
        if len(matches) > 1:
            both = " and ".join(_shown(names[p]) for p in matches)
            raise DataError(f"{source}: {both} could both be '{column}'; choose one by {ways}")
        if matches:
            positions[column] = matches[0]
    return positions


def check_ratings(
    frame: pd.DataFrame,
    *,
    rating_scale: tuple[float, float] | None = None,
    source: str = "the frame",
    line_of: LineOf | None = None,
) -> pd.DataFrame:
    """Check a table of ratings or views and bring it into the one form that is used after this.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns `user_id`, `item_id` and perhaps `rating` and `timestamp`, or their other usual
        names; further columns are left out. Times are datetimes (without a zone: UTC), seconds
        since 1970 (ms, us and ns are recognised by their size), or ISO text. It is not modified.
    rating_scale : (low, high), optional
        The lowest and the highest valid rating; by default, any number from 0 up is valid.
    source : str
        What to call the table in messages.
    line_of : callable, optional
        From the position of a row to its line in the file; without it messages count rows from 1.

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
        If a column is missing, there are no rows, or an id, a rating or a time is not valid.
    TypeError
        If `frame` is not a data frame.
    """
    if not isinstance(frame, pd.DataFrame):
        kind = type(frame).__name__
        raise TypeError(f"ratings must be a pandas DataFrame, not {kind}; see load_ratings")
    found = find_columns(frame, dict.fromkeys((USER, ITEM, RATING, TIMESTAMP)), source)
    if frame.empty:
        raise DataError(f"no ratings in {source}")
    ratings, place = _columns(frame, found), _Place(source, line_of)
    checked = {column: _check_ids(ratings[column], place) for column in (USER, ITEM)}
    if RATING in ratings:
        checked[RATING] = _check_rating(ratings[RATING], rating_scale or (0, np.inf), place)
    if TIMESTAMP not in ratings:
        return pd.DataFrame(checked, copy=False)
    checked[TIMESTAMP] = _check_times(ratings[TIMESTAMP], place)
    return _drop_repeats(pd.DataFrame(checked, copy=False), source)


def _columns(frame: pd.DataFrame, found: Mapping[str, int]) -> pd.DataFrame:
    columns = {name: frame.iloc[:, at].reset_index(drop=True) for name, at in found.items()}
    return pd.DataFrame(columns, copy=False)


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
            shown = values[bad][0]
            raise place.error(bad, f"{ids.name} {shown} is not a whole number; {_ID_KINDS}")
        return ids.astype("int64")
    if ids.dtype != object and not pd.api.types.is_string_dtype(ids.dtype):
        raise DataError(f"{place.source}: {ids.name} holds {ids.dtype} values; {_ID_KINDS}")
    blank = ids.str.strip() == ""
    if blank.any():
        raise place.error(blank, f"{ids.name} is blank; every row needs one")
    return ids.astype("str")


def _unbox_ids(ids: pd.Series, place: _Place) -> pd.Series:
    """Give a column of Python objects the type that its values share."""
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
    is_number = np.array([isinstance(v, numbers.Real) and not isinstance(v, bool) for v in ids])
    other = ~(is_text | is_number)
    if other.any():
        value = ids[other].iloc[0]
        kind = f"{value!r:.60} is a {type(value).__name__}"
        raise place.error(other, f"{ids.name} {kind}; {_ID_KINDS}")
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
    """Turn ids read from a text file into int64 or uint64 if all are whole numbers, as `1.0` is.

    They stay as written if none is a number, or one is blank, too large or reads like `007`. Raises
    `DataError` if some are numbers and some text, or a number is not whole.
    """
    place, plain = _Place(source, line_of), ids.str.strip()
    is_number = plain.str.fullmatch(r"-?[0-9]+(\.[0-9]*)?").to_numpy(dtype=bool)
    is_blank = (plain == "").to_numpy(dtype=bool)
    if is_blank.any() or not is_number.any():
        return ids
    if not is_number.all():
        raise _mixed_ids(ids, is_number, ~is_number, place)
    fraction = plain.str.fullmatch(r".*\.0*[1-9][0-9]*").to_numpy(dtype=bool)
    if fraction.any():
        shown = plain[fraction].iloc[0][:60]
        raise place.error(fraction, f"{ids.name} {shown} is not a whole number; {_ID_KINDS}")
    if plain.str.match(r"-?0[0-9]").any():
        return ids
    # A number too large for uint64 becomes nan, which makes the column one of floats.
    whole = pd.to_numeric(plain.str.replace(r"\..*", "", regex=True), errors="coerce")
    return whole if pd.api.types.is_integer_dtype(whole.dtype) else ids


def _check_rating(rating: pd.Series, scale: tuple[float, float], place: _Place) -> pd.Series:
    parsed = rating
    if not pd.api.types.is_numeric_dtype(rating.dtype):
        parsed = pd.to_numeric(rating.astype(object), errors="coerce")
    if pd.api.types.is_bool_dtype(parsed.dtype):
        raise DataError(f"{place.source}: rating holds true and false; ratings are numbers")
    with np.errstate(over="ignore"):
        values = parsed.to_numpy(dtype="float32", na_value=np.nan)
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
        shown = _shown(times[bad].iloc[0])
        hint = "if only the order is known, drop the time column and evaluate with --split last-out"
        raise place.error(bad, f"timestamp {shown} is not a time after 1970; {hint}")
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
        raise DataError(f"{place.source}: timestamp holds {dtype} values, which are not times")
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
    """Drop rows equal to an earlier one; `duplicated` on all columns would take twice as long."""
    columns = [_codes(ratings[name]) for name in ratings]
    user, item = columns[:2]
    later = user[1:] > user[:-1]
    if (later | ((user[1:] == user[:-1]) & (item[1:] > item[:-1]))).all():
        return ratings  # in the order of MovieLens' files, no row can be there twice
    hashes = _hash(columns)
    ascending = np.sort(hashes)
    again = ascending[1:][ascending[1:] == ascending[:-1]]
    marked = np.zeros(2**22, dtype=bool)
    marked[again >> 10] = True
    alike = np.flatnonzero(marked[hashes >> 10])  # one in hundreds at 10 million rows
    repeats = np.zeros(len(ratings), dtype=bool)
    repeats[alike] = ratings.iloc[alike].duplicated()
    if not repeats.any():
        return ratings
    logger.info("%s: %s exact duplicate rows dropped", source, f"{repeats.sum():,}")
    return ratings[~repeats].reset_index(drop=True)


def _hash(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.uint32]:
    """Hash rows of columns (n_rows,): the upper half of a sum of odd multiples modulo 2**64."""
    hashes = np.empty(len(columns[0]), dtype=np.uint32)
    for start in range(0, len(hashes), _BLOCK):
        total: Any = np.uint64(0)
        for power, column in enumerate(columns, 1):
            part = column[start : start + _BLOCK]
            total = total + part.view(f"u{part.itemsize}") * np.uint64(pow(_ODD, power, 2**64))
        hashes[start : start + _BLOCK] = total >> np.uint64(32)
    return hashes


def _codes(column: pd.Series) -> npt.NDArray[Any]:
    """Turn a checked column into whole numbers (n_rows,), equal where its values are."""
    if pd.api.types.is_string_dtype(column.dtype):
        return pd.factorize(column)[0]
    # Times alone would become Python objects, a million a second.
    codes = np.asarray(column.astype("int64") if column.name == TIMESTAMP else column)
    return np.abs(codes).view(np.uint32) if column.name == RATING else codes  # makes 0 of -0


def rename_item_columns(frame: pd.DataFrame, *, source: str = "the frame") -> pd.DataFrame:
    """Name the columns of an items table, unchecked; of two with one name, the first is kept."""
    found = find_columns(frame, dict.fromkeys((ITEM, TITLE, GENRES, YEAR)), source)
    for place, name in enumerate(map(str, frame)):
        if name in found and found[name] != place:
            logger.warning("%s: of the columns named %s, the first is used", source, _shown(name))
        elif place not in found.values() and name.strip():
            found[name] = place
    return _columns(frame, found)


def check_items(
    frame: pd.DataFrame, *, source: str = "the frame", line_of: LineOf | None = None
) -> pd.DataFrame:
    """Check a table of items and bring it into the one form that is used after this.

    Parameters
    ----------
    frame : pandas.DataFrame
        Column `item_id` and perhaps `title`, `genres` (sequences of text, or text separated by
        `|`) and `year`, or their other usual names, and any others. It is not modified.
    source, line_of
        As in `check_ratings`.

    Returns
    -------
    pandas.DataFrame
        A new frame, rows in the same order and numbered from 0: `item_id` (as in
        `check_ratings`), `title` (text, empty where not known), `genres` (tuples of text),
        `year` (Int16, may be missing), and further columns as float64 if all known values are
        numbers, tuples of text if all are sequences, or else text.

    Raises
    ------
    DataError
        If there is no `item_id`, there are no rows, an id is not valid, or an item is listed twice.
    """
    items = rename_item_columns(frame, source=source)
    if items.empty:
        raise DataError(f"no items in {source}")
    place = _Place(source, line_of)
    ids = _check_ids(items[ITEM], place)
    twice = ids.duplicated()
    if twice.any():
        raise place.error(twice, f"item {_shown(ids[twice].iloc[0])} is listed twice")
    empty = pd.Series(pd.NA, index=items.index, dtype=object)
    titles = items.get(TITLE, empty).astype(object)
    years = pd.to_numeric(items.get(YEAR, empty).astype(object), errors="coerce").astype("float64")
    further = items.drop(columns=[ITEM, TITLE, GENRES, YEAR], errors="ignore")
    known = {
        ITEM: ids,
        TITLE: titles.where(titles.notna(), "").astype("str"),
        GENRES: items.get(GENRES, empty).astype(object).map(_as_tuple),
        YEAR: years.where(years.between(1, 9999)).floordiv(1).astype("Int16"),
    }
    return pd.DataFrame(known | {name: _plain(further[name]) for name in further})


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
