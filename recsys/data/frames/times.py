"""Read times of any kind: datetimes, text, numbers of seconds, and dates written as numbers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys.errors import DataError, Place, shown, tell

_UTC_SECONDS = pd.DatetimeTZDtype("s", "UTC")
_TIME_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_TIME_LIMITS = (1e11, 1e14, 1e17, 1e20)  # numbers below the first are seconds, and so on
_EARLY, _LATE = 5 * 31_557_600, 7_258_118_400  # seconds: 1975 and 2200
_NO_DATE = np.iinfo(np.int64).min
_DIGITS = {
    4: "YYYY", 6: "YYYYMM", 8: "YYYYMMDD", 10: "YYYYMMDDHH", 12: "YYYYMMDDHHMM",
    14: "YYYYMMDDHHMMSS", 17: "YYYYMMDDHHMMSS and milliseconds",
}  # fmt: skip
_DAYS = {  # first and last of the numbers taken for it, and the day 0, in days since 1970
    "days since 1970": (10_957, 25_568, 0),  # 2000 to 2040
    "days as Excel counts them": (25_569, 73_050, -25_569),  # 1970 to 2099
}
ISO_DATE = r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}"


def check_times(times: pd.Series, place: Place) -> pd.Series:
    """Bring a column of times to datetime64[s, UTC], or raise `DataError`; see `check_ratings`."""
    parsed = _parse_times(times, place)
    is_date = pd.api.types.is_datetime64_any_dtype(parsed.dtype)
    values: npt.NDArray[Any]
    if is_date:
        values = parsed.to_numpy(dtype="M8[s]").view(np.int64)  # in UTC; a missing time is negative
    elif pd.api.types.is_integer_dtype(parsed.dtype) and not parsed.hasnans:
        values = parsed.to_numpy(dtype="int64")
    else:
        values = parsed.to_numpy(dtype="float64", na_value=np.nan)
    limit = _LATE if is_date else _TIME_LIMITS[-1]
    if not (values.min() >= 1 and values.max() < limit):  # nan fails both
        raise _no_time(times, ~((values >= 1) & (values < limit)), place)
    if times.dtype == _UTC_SECONDS:
        return times
    seconds = values if is_date else _to_seconds(values, place)
    if not (seconds.min() >= 1 and seconds.max() < _LATE):
        raise _no_time(times, ~((seconds >= 1) & (seconds < _LATE)), place)
    if seconds is values and parsed.dtype == np.int64:
        return parsed.astype(_UTC_SECONDS)  # pandas copies only if one of the two is changed
    return pd.Series(seconds.astype(np.int64), copy=False).astype(_UTC_SECONDS)


def _no_time(times: pd.Series, bad: npt.NDArray[np.bool_], place: Place) -> DataError:
    first = times[bad].iloc[0]
    hint = "if only the order is known, drop the time column and evaluate with --split last-out"
    if isinstance(first, str) and re.search(r"\d.*[^\d.eE+ -]|\d[-. ]+\d+[-. ]", first):
        hint = "write dates as in ISO 8601, 2024-01-31"
    return place.error(
        bad, f"timestamp {shown(first)} is not a time after 1970 and before 2200; {hint}"
    )


def _parse_times(times: pd.Series, place: Place) -> pd.Series:
    """Turn text and Python objects into datetimes or numbers, missing where they are neither."""
    dtype = times.dtype
    if isinstance(dtype, pd.PeriodDtype):
        return pd.Series(times.dt.to_timestamp())
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype):
        parsed = times
    else:
        boxed = times.astype(object)
        try:
            parsed = _parse_objects(boxed, place)
        except (TypeError, ValueError, OverflowError) as error:
            kind = pd.api.types.infer_dtype(boxed)
            raise DataError(f"{place.source}: timestamp holds {kind} values, not times") from error
    kind = parsed.dtype.kind if dtype.kind != "m" else "m"
    if kind in "bcm":
        raise DataError(f"{place.source}: timestamp holds {dtype} values, which are not times")
    return parsed


def _parse_objects(boxed: pd.Series, place: Place) -> pd.Series:
    if pd.api.types.infer_dtype(boxed) in ("datetime", "datetime64", "date"):
        return pd.to_datetime(boxed, utc=True, errors="coerce")
    as_numbers = pd.to_numeric(boxed, errors="coerce")
    if as_numbers.notna().any():
        return as_numbers
    parsed = pd.to_datetime(boxed, utc=True, format="ISO8601", errors="coerce")
    if parsed.notna().all():
        text = f"{place.source}: timestamps read as ISO dates and times, in UTC unless they say"
        tell(text, warning=False)
    return parsed


def _to_seconds(values: npt.NDArray[Any], place: Place) -> npt.NDArray[Any]:
    if form := written_dates(values):
        seconds, name = form
        if (bad := seconds == _NO_DATE).any():
            problem = f"timestamp {values[bad][0]} is no date; the column looks like {name}"
            raise place.error(bad, problem)
        tell(f"{place.source}: all {len(values):,} timestamps are taken for {name}, in UTC")
        return seconds
    low, high = np.searchsorted(_TIME_LIMITS, [values.min(), values.max()], side="right")
    if low != high:
        first, last = int(values.argmin()), int(values.argmax())
        raise DataError(
            f"{place.source}: timestamps mix units: {values[first]} in {place.at([first])} is in "
            f"{_TIME_UNITS[low]}, {values[last]} in {place.at([last])} in {_TIME_UNITS[high]}"
        )
    if low > 0:
        tell(f"{place.source}: timestamps converted from {_TIME_UNITS[low]}", warning=False)
        values = np.floor_divide(values, 1000**low)
    early = values < _EARLY
    if early.any():
        where = f"{place.at([int(early.argmax())])}: {values[early][0]}"
        tell(
            f"{place.source}: {early.sum():,} of {len(early):,} timestamps, read as seconds after "
            f"1970, lie before 1975, the first in {where}; are they times?"
        )
    return values


def written_dates(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], str] | None:
    """Read numbers that are dates as people write or spreadsheets count them.

    Returns seconds since 1970, int64 (n,), `_NO_DATE` where there is no such day, and the name of
    the form; None if the numbers are of no such form.

    Examples
    --------
    >>> [int(written_dates(np.array([n]))[0][0]) for n in (1970, 197001, 19700102, 25570.5)]
    [0, 0, 86400, 129600]
    """
    low, high = values.min(), values.max()
    for name, (first, last, zero) in _DAYS.items():
        if first <= low and high < last + 1:
            return np.floor((values + float(zero)) * 86_400).astype(np.int64), name
    n_digits = len(str(int(low)))
    unit = 10 ** (n_digits - 4)
    if n_digits not in _DIGITS or not (1900 * unit <= low and high < 2101 * unit):
        return None
    whole = values.astype(np.int64)
    seconds = _read_digits(whole // 1000 if n_digits == 17 else whole, min(n_digits, 14))
    bad = (seconds == _NO_DATE) | (whole != values)
    if n_digits == 10 and bad.any():  # seconds of 2030 to 2036 look alike
        return None
    name = f"{'years' if n_digits == 4 else 'dates'} ({_DIGITS[n_digits]})"
    return np.where(bad, _NO_DATE, seconds), name


def look_like_times(values: pd.Series) -> bool:
    """Tell that no value of a column is small enough for a rating, or all are dates."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return bool(values.str.match(ISO_DATE).all())
    plain = values.to_numpy("float64")
    return bool(plain.min() >= 10**8 or (plain.min() >= 1 and written_dates(plain)))


def _read_digits(whole: npt.NDArray[np.int64], n_digits: int) -> npt.NDArray[np.int64]:
    rest, parts = whole * 10 ** (14 - n_digits), []
    for _ in range(5):
        rest, part = np.divmod(rest, 100)
        parts.append(part)
    second, minute, hour, day, month = parts
    month, day = (month + (n_digits < 6), day + (n_digits < 8))
    of_month = ((rest - 1970) * 12 + month - 1).astype("M8[M]")
    date = of_month.astype("M8[D]") + (day - 1)
    good = (month >= 1) & (month <= 12) & (day >= 1) & (date.astype("M8[M]") == of_month)
    good &= (hour < 24) & (minute < 60) & (second < 61)
    seconds = date.astype(np.int64) * 86_400 + hour * 3600 + minute * 60 + second
    return np.where(good, seconds, _NO_DATE)
