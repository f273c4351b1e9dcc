"""Sum up a checked ratings table: in one line for people, and in one hash for machines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys.data.frames import ITEM, RATING, TIMESTAMP, USER, codes_of


@dataclass(frozen=True)
class Summary:
    """What a ratings table holds, in numbers; prints as one line.

    Attributes
    ----------
    n_ratings, n_users, n_items : int
    first, last : pandas.Timestamp or None
        Times of the earliest and the latest rating; None where there are no times.
    share_tied : float or None
        Share of the ratings, 0 to 1, that have the time of another rating of the same user.
    """

    n_ratings: int
    n_users: int
    n_items: int
    first: pd.Timestamp | None
    last: pd.Timestamp | None
    share_tied: float | None

    def __str__(self) -> str:
        counts = ((self.n_ratings, "rating"), (self.n_users, "user"), (self.n_items, "item"))
        ratings, users, items = (f"{n:,} {word}{'s' if n != 1 else ''}" for n, word in counts)
        text = f"{ratings} by {users} on {items}"
        if self.first is None or self.last is None or self.share_tied is None:
            return f"{text}, no times"
        return (
            f"{text}, {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}; "
            f"{self.share_tied:.0%} share a timestamp with another rating of the same user"
        )


def summarise(ratings: pd.DataFrame) -> Summary:
    """Count what a checked ratings table holds.

    Parameters
    ----------
    ratings : pandas.DataFrame
        A frame as `check_ratings` returns it, or a part of one. It is not modified.

    Returns
    -------
    Summary
    """
    counts = (len(ratings), ratings[USER].nunique(), ratings[ITEM].nunique())
    if TIMESTAMP not in ratings or ratings.empty:
        return Summary(*counts, first=None, last=None, share_tied=None)
    moments = _moments(ratings)
    moments.sort()
    tied = np.count_nonzero(_tied(moments)) / len(ratings)
    times = ratings[TIMESTAMP]
    return Summary(*counts, first=times.min(), last=times.max(), share_tied=tied)


def _moments(ratings: pd.DataFrame) -> npt.NDArray[np.uint64]:
    """Give each pair of user and time its number, uint64 (n_rows,), by user and then time."""
    users = pd.factorize(ratings[USER], sort=True)[0].astype(np.uint64)
    times = codes_of(ratings[TIMESTAMP])
    elapsed = (times - times.min()).view(np.uint64)
    users *= elapsed.max() + np.uint64(1)
    users += elapsed
    return users


def _tied(ordered: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Mark the values that a sorted array (n,) holds more than once, bool (n,)."""
    same = np.pad(ordered[1:] == ordered[:-1], 1)
    tied: npt.NDArray[np.bool_] = same[1:] | same[:-1]
    return tied


def fingerprint(ratings: pd.DataFrame) -> str:
    """Hash a checked ratings table; the same on every machine and for every row order.

    Parameters
    ----------
    ratings : pandas.DataFrame
        A frame as `check_ratings` returns it. Without times the order of its rows counts, since
        then it is the order of events. It is not modified.

    Returns
    -------
    str
        sha256 in hex of the rows in order of user, time, item and rating.
    """
    digest = hashlib.sha256(b"recsys ratings 1")
    columns = {str(name): codes_of(column, ranks=True) for name, column in ratings.items()}
    for name, codes in columns.items():
        text = name in (USER, ITEM) and not pd.api.types.is_integer_dtype(ratings[name].dtype)
        digest.update(f"|{name} {'text' if text else codes.dtype.name}".encode())
        for value in sorted(ratings[name].unique()) if text else ():
            encoded = value.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    if TIMESTAMP in ratings:
        order = _canonical_order(_moments(ratings), columns)
        columns = {name: codes[order] for name, codes in columns.items()}
    for codes in columns.values():
        digest.update(np.ascontiguousarray(codes, codes.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def chained(before: str, ratings: pd.DataFrame) -> str:
    """Hash ratings that have come to others, whose hash is `before`: sha256 in hex."""
    return hashlib.sha256((before + fingerprint(ratings)).encode()).hexdigest()


def _canonical_order(
    moments: npt.NDArray[np.uint64], columns: Mapping[str, npt.NDArray[Any]]
) -> npt.NDArray[np.intp]:
    """Order rows by user, time, item and rating; 10 times as fast as sorting by all at once.

    Each time only the rows that are still level are sorted further.
    """
    order = np.argsort(moments, kind="stable")
    places, level = np.arange(len(order)), moments[order]
    for name in (ITEM, RATING):
        tied = _tied(level)
        if name not in columns or not tied.any():
            break
        places, level = places[tied], level[tied]
        rows = order[places]
        group = np.append(np.uint64(0), np.cumsum(level[1:] != level[:-1], dtype=np.uint64))
        group <<= np.uint64(32)
        group |= pd.factorize(columns[name][rows], sort=True)[0].astype(np.uint64)
        by_value = np.argsort(group, kind="stable")
        order[places], level = rows[by_value], group[by_value]
    return order
