"""What the columns of ratings and items are called, and how they are found in a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from recsys.errors import DataError, shown, tell

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


def tell_no_times(source: str, further: Sequence[object]) -> None:
    """Say that the order of the rows is taken for that of the events."""
    names = ", ".join(map(shown, further[:10])) + ", ..." * (len(further) > 10)
    how = "timestamp_col= (--timestamp-col)" if source != FRAME else f"renaming it to '{TIMESTAMP}'"
    hint = f"; if one of {names} is the time, name it by {how}" if further else ""
    tell(f"{source} has no column of times: rows are taken to be in order, oldest first{hint}")


def columns_of(frame: pd.DataFrame, found: Mapping[str, int]) -> pd.DataFrame:
    """Take the columns that `find_columns` has found, under their usual names, rows from 0."""
    columns = {name: frame.iloc[:, at].reset_index(drop=True) for name, at in found.items()}
    return pd.DataFrame(columns, copy=False)
