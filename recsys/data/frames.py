"""Bring ratings and items tables from anywhere into one checked form; no file is opened here."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import math
import numbers
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys.data.times import check_times
from recsys.errors import DataError, LineOf, Place, escape, shown, tell

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
_NUMBERS = (numbers.Real, Decimal)
_SEVERAL = (list, tuple, set, frozenset, np.ndarray)
_PLAIN = (str, *_NUMBERS, dt.date, dt.time, dt.timedelta, np.generic, pd.Period, uuid.UUID)
_WRITTEN_NUMBER = r"\s*-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\s*"
_BLOCK = 2**15  # rows worked on at a time, which fit a processor's cache
_ODD = 0x9E3779B97F4A7C15  # multiplied with, modulo 2**64, whole numbers are scattered

SCALE = "rating_scale"  # in the attrs of a frame
FRAME = "the frame"  # what a table that came from no file is called


def find_columns(
    columns: Iterable[object],
    wanted: Mapping[str, str | None],
    source: str,
    option: str | None = None,
) -> dict[str, int]:
    """Find the positions of wanted columns: name -> its name in the table, None for the usual ones.

    `option` is what names them, for messages.

    Raises `DataError` if an id column or a named one is missing, or two columns could be meant.

    Examples
    --------
    >>> find_columns(["movieId", "tag", "who"], {"user_id": "who", "item_id": None}, "my.csv")
    {'user_id': 2, 'item_id': 0}
    """
    names = [str(name) for name in columns]
    there = ", ".join(map(shown, names[:20])) or "none"
    there += f" and {len(names) - 20} more" if len(names) > 20 else ""
    free = [p for p, name in enumerate(names) if name not in wanted.values()]
    plain = [re.sub(r"[\W_]+", "", name).lower() for name in names]
    positions: dict[str, int] = {}
    for column, name in wanted.items():
        word = column.removesuffix("_id") + "_col"
        flag = "items-id-col" if column == ITEM and TITLE in wanted else word.replace("_", "-")
        ways = f"{word}= (--{flag})" if source != FRAME else f"renaming it to '{column}'"
        ways = option or ways
        if name is not None:
            matches = [p for p, found in enumerate(names) if found == name]
        else:
            matches = [p for p in free if names[p] == column]
            matches = matches or [p for p in free if plain[p] in _ALIASES[column]]
            if column == ITEM and TITLE in wanted:
                matches = matches or [p for p in free if plain[p] == "id"]
        if name is not None and not matches:
            raise DataError(f"{source} has no column {shown(name)} as {ways} says; found: {there}")
        if not matches and column in (USER, ITEM):
            raise DataError(f"{source} has no column '{column}'; found: {there}; name it by {ways}")
        if len(matches) > 1:
            both = " and ".join(shown(names[p]) for p in matches)
            raise DataError(f"{source}: {both} could both be '{column}'; choose one by {ways}")
        if matches:
            positions[column] = matches[0]
    return positions


def check_ratings(
    frame: Any,
    *,
    rating_scale: tuple[float, float] | None = None,
    source: str = FRAME,
    line_of: LineOf | None = None,
) -> pd.DataFrame:
    """Check a table of ratings or views and bring it into the one form that is used after this.

    Parameters
    ----------
    frame : data frame, or scipy sparse matrix
        Of pandas, polars, pyarrow or whatever else narwhals knows; or users (rows) by items, whose
        entries other than 0 are ratings, or views if all are 1, without times. Of a data frame:
        columns `user_id`, `item_id` and perhaps `rating` and `timestamp`, or their other usual
        names; further columns are left out. Times are datetimes (without a zone: UTC), seconds
        since 1970 (ms, us and ns are recognised by their size), ISO text or, with a warning, dates
        written as numbers such as 20240131, years, and days as Excel counts them. It is not
        modified.
    rating_scale : (low, high), optional
        The lowest and the highest valid rating; by default those of `frame.attrs["rating_scale"]`,
        where the frame that is returned has them, or else any number from 0 up is valid.
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
    table = to_pandas(frame, "ratings")
    found = find_columns(table, dict.fromkeys((USER, ITEM, RATING, TIMESTAMP)), source)
    if table.empty:
        raise DataError(f"no ratings in {source}")
    scale = rating_scale or table.attrs.get(SCALE) or (0, np.inf)
    if not scale[0] <= scale[1]:
        raise ValueError(f"{SCALE} must be the lowest and the highest rating, got {scale!r}")
    further = [name for at, name in enumerate(table) if at not in found.values()]
    if TIMESTAMP not in found and further:
        tell_no_times(source, further)
    ratings, place = _columns(table, found), Place(source, line_of)
    checked = {column: _check_ids(ratings[column], place) for column in (USER, ITEM)}
    if RATING in ratings:
        checked[RATING] = _check_rating(ratings[RATING], scale, place)
    if TIMESTAMP in ratings:
        checked[TIMESTAMP] = check_times(ratings[TIMESTAMP], place)
    made = pd.DataFrame(checked, copy=False)
    made = _drop_repeats(made, source) if TIMESTAMP in ratings else made
    if scale != (0, np.inf):
        made.attrs[SCALE] = tuple(map(float, scale))
    return made


def to_pandas(table: Any, kind: str) -> pd.DataFrame:
    """Make a pandas frame of any table that narwhals knows, or of a sparse matrix of ratings."""
    if isinstance(table, pd.DataFrame):
        return table
    is_sparse = type(table).__module__.startswith("scipy.sparse") and table.ndim == 2
    if is_sparse and kind == "ratings":
        return _from_matrix(table)
    import narwhals

    try:
        known = narwhals.from_native(table)
        eager = known.collect() if isinstance(known, narwhals.LazyFrame) else known
        return eager.to_pandas()
    except TypeError as error:
        found = type(table).__name__
        matrix = " or a sparse matrix" * (kind == "ratings")
        message = f"{kind} must be a data frame{matrix}, not {found}; see load_{kind}"
        raise TypeError(message) from error


def _from_matrix(matrix: Any) -> pd.DataFrame:
    """List the entries of a matrix of users by items, but zeros, in a random order: it has none."""
    entries = matrix.tocoo()
    entries.sum_duplicates()
    order = np.random.default_rng(0).permutation(np.flatnonzero(entries.data))
    users, items = entries.coords
    frame = pd.DataFrame({USER: users[order], ITEM: items[order]})
    tell(f"a matrix of {len(order):,} entries has no times: they are taken in a random order")
    values = entries.data[order]
    return frame if (values == 1).all() else frame.assign(**{RATING: values})


def tell_no_times(source: str, further: Sequence[object]) -> None:
    """Say that the order of the rows is taken for that of the events."""
    names = ", ".join(map(shown, further[:10])) + ", ..." * (len(further) > 10)
    how = "timestamp_col= (--timestamp-col)" if source != FRAME else f"renaming it to '{TIMESTAMP}'"
    hint = f"; if one of {names} is the time, name it by {how}" if further else ""
    tell(f"{source} has no column of times: rows are taken to be in order, oldest first{hint}")


def _columns(frame: pd.DataFrame, found: Mapping[str, int]) -> pd.DataFrame:
    columns = {name: frame.iloc[:, at].reset_index(drop=True) for name, at in found.items()}
    return pd.DataFrame(columns, copy=False)


def _check_ids(ids: pd.Series, place: Place) -> pd.Series:
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
        values, bits = ids.to_numpy(dtype="float64"), _bits(ids.dtype)
        bad = ~((np.floor(values) == values) & (np.abs(values) < 2.0**bits))
        if bad.any():
            raise _not_whole(ids, bad, bits, place)
        return ids.astype("int64")
    if ids.dtype != object and not pd.api.types.is_string_dtype(ids.dtype):
        raise DataError(f"{place.source}: {ids.name} holds {ids.dtype} values; {_ID_KINDS}")
    blank = ids.str.strip() == ""
    if blank.any():
        raise place.error(blank, f"{ids.name} is blank; every row needs one")
    return _as_text(ids, place)


def _bits(dtype: Any) -> int:
    """Return up to which power of 2 a kind of floats holds every whole number."""
    return int(np.finfo(getattr(dtype, "numpy_dtype", dtype)).nmant) + 1


def _not_whole(ids: pd.Series, bad: npt.NDArray[np.bool_], bits: int, place: Place) -> DataError:
    problem = f"{ids.name} {ids[bad].iloc[0]!s:.60} is not a whole number"
    return place.error(bad, f"{problem} below 2**{bits}, up to which floats are exact; {_ID_KINDS}")


def _as_text(values: pd.Series, place: Place) -> pd.Series:
    """Make a column of texts; half of a surrogate pair, which is no text, is an error."""
    try:
        return values.astype("str")
    except UnicodeEncodeError as error:
        bad = np.array([bool(re.search("[\ud800-\udfff]", str(value))) for value in values])
        problem = f"{values.name} {shown(values[bad].iloc[0])} holds half of a surrogate pair"
        raise place.error(bad, f"{problem}, which is no text") from error


def _unbox_ids(ids: pd.Series, place: Place) -> pd.Series:
    """Give a column of Python objects the type that its values share."""
    kind = pd.api.types.infer_dtype(ids, skipna=False)
    if kind == "integer":
        low, high = ids.min(), ids.max()
        if low >= -_INT64_MAX - 1 and high <= _INT64_MAX:
            return ids.astype("int64")
        return ids.astype("uint64" if low >= 0 and high <= _UINT64_MAX else "str")
    if kind == "string":
        return _as_text(ids, place)
    is_text = np.array([isinstance(value, str) for value in ids])
    is_number = np.array([isinstance(v, _NUMBERS) and not isinstance(v, bool) for v in ids])
    if is_number.all():
        whole = pd.Series([_whole(value) for value in ids], dtype=object, name=ids.name)
        if whole.isna().any():
            raise _not_whole(ids, whole.isna().to_numpy(), 53, place)
        return _unbox_ids(whole, place)
    other = ~(is_text | is_number)
    if other.any():
        value = ids[other].iloc[0]
        kind = f"{escape(repr(value)[:60])} is a {type(value).__name__}"
        raise place.error(other, f"{ids.name} {kind}; {_ID_KINDS}")
    raise _mixed_ids(ids, is_number, is_text, place)


def _whole(value: Any) -> int | None:
    """Return a number as a whole one; None if it is not, or a float that has lost digits."""
    try:
        whole = int(value)
    except (OverflowError, ValueError):  # infinity, and Decimal's kinds of nan
        return None
    bits = _bits(value.dtype) if isinstance(value, np.floating) else 53
    lossy = isinstance(value, (float, np.floating)) and abs(value) >= 2**bits
    return None if lossy or whole != value else whole


def _mixed_ids(
    ids: pd.Series, is_number: npt.NDArray[np.bool_], is_text: npt.NDArray[np.bool_], place: Place
) -> DataError:
    number, text = int(is_number.argmax()), int(is_text.argmax())
    return DataError(
        f"{place.source}: {ids.name} mixes numbers ({ids.iloc[number]!s:.60} in "
        f"{place.at([number])}) and text ({shown(ids.iloc[text])} in {place.at([text])}); make "
        "them one kind, or read both id columns of a file as text with text_ids=True (--text-ids)"
    )


def ids_from_text(
    ids: pd.Series, *, source: str = FRAME, line_of: LineOf | None = None
) -> pd.Series:
    """Turn ids read from a text file into int64 or uint64 if all are whole numbers, as `1.0` is.

    They stay as written if none is a number, or one is blank, too large or reads like `007`. Raises
    `DataError` if some are numbers and some text, or a number is not whole.
    """
    place, plain = Place(source, line_of), ids.str.strip()
    is_number = plain.str.fullmatch(r"-?[0-9]+(\.[0-9]*)?").to_numpy(dtype=bool)
    is_blank = (plain == "").to_numpy(dtype=bool)
    if is_blank.any() or not is_number.any():
        return ids
    if not is_number.all():
        raise _mixed_ids(ids, is_number, ~is_number, place)
    fraction = plain.str.fullmatch(r".*\.0*[1-9][0-9]*").to_numpy(dtype=bool)
    if fraction.any():
        first = plain[fraction].iloc[0][:60]
        raise place.error(fraction, f"{ids.name} {first} is not a whole number; {_ID_KINDS}")
    if plain.str.match(r"-?0[0-9]").any():
        return ids
    # A number too large for uint64 becomes nan, which makes the column one of floats.
    whole = pd.to_numeric(plain.str.replace(r"\..*", "", regex=True), errors="coerce")
    return whole if pd.api.types.is_integer_dtype(whole.dtype) else ids


def _check_rating(rating: pd.Series, scale: tuple[float, float], place: Place) -> pd.Series:
    parsed = rating
    if not pd.api.types.is_numeric_dtype(rating.dtype):
        parsed = pd.to_numeric(rating.astype(object), errors="coerce")
    if pd.api.types.is_bool_dtype(parsed.dtype) or pd.api.types.is_complex_dtype(parsed.dtype):
        kind = "complex numbers" if parsed.dtype.kind == "c" else "true and false"
        raise DataError(f"{place.source}: rating holds {kind}; ratings are plain numbers")
    with np.errstate(over="ignore"):
        values = parsed.to_numpy(dtype="float32", na_value=np.nan)
    low, high = scale
    if not (values.min() >= low and values.max() <= high and values.max() < np.inf):  # or is nan
        bad = ~((values >= low) & (values <= high) & (values < np.inf))
        wanted = "of 0 or more" if high == np.inf else f"from {low:g} to {high:g}"
        if high == np.inf and -np.inf < values[bad][0] < 0:
            ways = ("rating_scale= (--rating-scale)", f"attrs['{SCALE}'] of the frame")
            wanted += f"; {ways[place.source == FRAME]} states a scale with negative ones"
        raise place.error(bad, f"rating {shown(rating[bad].iloc[0])} is not a number {wanted}")
    return rating if rating.dtype == np.float32 else pd.Series(values)


def _drop_repeats(ratings: pd.DataFrame, source: str) -> pd.DataFrame:
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
    return _columns(frame, found)


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
    ids = _check_ids(items[ITEM], place)
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
    return _as_text(boxed.where(~missing, "").rename(name), place)


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
