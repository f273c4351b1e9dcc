"""Bring tables of ratings or views from anywhere into one checked form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from recsys.data.frames.ids import check_ids
from recsys.data.frames.names import (
    FRAME,
    ITEM,
    RATING,
    SCALE,
    TIMESTAMP,
    USER,
    columns_of,
    find_columns,
    tell_no_times,
)
from recsys.data.frames.repeats import drop_repeats
from recsys.data.frames.times import check_times
from recsys.errors import DataError, LineOf, Place, shown, tell


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
    ratings, place = columns_of(table, found), Place(source, line_of)
    checked = {column: check_ids(ratings[column], place) for column in (USER, ITEM)}
    if RATING in ratings:
        checked[RATING] = _check_rating(ratings[RATING], scale, place)
    if TIMESTAMP in ratings:
        checked[TIMESTAMP] = check_times(ratings[TIMESTAMP], place)
    made = pd.DataFrame(checked, copy=False)
    made = drop_repeats(made, source) if TIMESTAMP in ratings else made
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
