"""Check ids: whole numbers or text, of one kind in a column."""

from __future__ import annotations

import numbers
import re
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys.data.frames.names import FRAME
from recsys.errors import DataError, LineOf, Place, escape, shown

_INT64_MAX, _UINT64_MAX = 2**63 - 1, 2**64 - 1
_ID_KINDS = "ids are whole numbers or text"
NUMBERS = (numbers.Real, Decimal)


def check_ids(ids: pd.Series, place: Place) -> pd.Series:
    """Return a column of ids as int64, uint64 or text, or raise `DataError`."""
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
    return as_text(ids, place)


def _bits(dtype: Any) -> int:
    """Return up to which power of 2 a kind of floats holds every whole number."""
    return int(np.finfo(getattr(dtype, "numpy_dtype", dtype)).nmant) + 1


def _not_whole(ids: pd.Series, bad: npt.NDArray[np.bool_], bits: int, place: Place) -> DataError:
    problem = f"{ids.name} {ids[bad].iloc[0]!s:.60} is not a whole number"
    return place.error(bad, f"{problem} below 2**{bits}, up to which floats are exact; {_ID_KINDS}")


def as_text(values: pd.Series, place: Place) -> pd.Series:
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
        return as_text(ids, place)
    is_text = np.array([isinstance(value, str) for value in ids])
    is_number = np.array([isinstance(v, NUMBERS) and not isinstance(v, bool) for v in ids])
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
