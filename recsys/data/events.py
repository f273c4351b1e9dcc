"""Order a checked frame of ratings into events; everything that follows takes masks of them."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import TextColumn, id_array, take
from recsys.data.sequences import Sequences, offsets_from
from recsys.errors import DataError, warn

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Mask = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)

# Of the hash in the key that events are sorted by, at least, and 2**15 events are sorted at a time,
# at least; a test lowers both.
HASH_BITS, BLOCK_BITS = 8, 15
DAY = 86_400
FEW_USERS, FEW_ITEMS = 50, 10  # of those with two or more events: fewer teach little


@dataclass(frozen=True)
class Events:
    """All ratings or views in order: by user, then time, then a fixed hash of user and item.

    An event takes 4 bytes for its item, 4 to 8 for its time and 4 for its rating.

    Attributes
    ----------
    sequences : Sequences
        Who watched what, oldest first.
    times : uint32 or int64 array, shape (n_events,), or None
        Seconds since 1970; None where the events have an order only.
    ratings : float32 array, shape (n_events,), or None
    """

    sequences: Sequences
    times: npt.NDArray[np.integer[Any]] | None = None
    ratings: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, ratings: pd.DataFrame) -> Events:
        """Order a checked frame as `order_events` does, and log what it holds.

        A `DataWarning` says if that is too little to learn from.
        """
        events = order_events(ratings)[1]
        logger.info("%s", events.describe())
        n_users = np.count_nonzero(events.sequences.lengths >= 2)
        n_items = np.count_nonzero(events.sequences.counts() >= 2)
        if n_users < FEW_USERS or n_items < FEW_ITEMS:
            warn(
                f"too little data to learn much: {n_users} users and {n_items} items have two or "
                f"more events (good to have: {FEW_USERS} and {FEW_ITEMS}); lists may be arbitrary"
            )
        return events

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.sequences.codes)

    def where(self, keep: Mask) -> Events:
        """Return the marked events, bool (n_events,), over the same users and items."""
        times = None if self.times is None else self.times[keep]
        ratings = None if self.ratings is None else self.ratings[keep]
        return Events(self.sequences.where(keep), times, ratings)

    def compact(self) -> Events:
        """Return the same events without the users and items that have none."""
        sequences, stays = self.sequences, self.sequences.counts() > 0
        if not stays.all():
            rows = np.where(stays, np.cumsum(stays, dtype=np.int32) - 1, -1)
            sequences = sequences.renumber(rows, sequences.item_ids[stays])
        if not sequences.lengths.all():
            sequences = sequences.take_users(np.flatnonzero(sequences.lengths))
        return Events(sequences, self.times, self.ratings)

    def liked(self, min_rating: float | None) -> Mask:
        """Mark the events that count as interactions, bool (n_events,).

        Raises
        ------
        DataError
            `min_rating` is given and there are no ratings, or none reaches it.
        """
        if min_rating is None:
            return np.ones(len(self), dtype=bool)
        if self.ratings is None:
            raise DataError(f"min_rating={min_rating:g} needs a rating column and there is none")
        mask = self.ratings >= min_rating
        if not mask.any():
            left = f"0 of {len(self)} ratings are left after min_rating={min_rating:g}"
            raise DataError(f"too little data: {left}")
        return np.asarray(mask)

    @property
    def now(self) -> int | None:
        """Second of the latest event; None without times."""
        return None if self.times is None else int(self.times.max())

    def recent_counts(self, days: float, now: int) -> npt.NDArray[np.int64]:
        """Count each item's events of the last days before a second, int64 (n_items,)."""
        if self.times is None:
            raise DataError(f"popularity of the last {days:g} days needs times and there are none")
        late = self.sequences.codes[self.times >= now - days * DAY]
        return np.bincount(late, minlength=len(self.sequences.item_ids))

    def days_before(self, now: int | None) -> npt.NDArray[np.float64]:
        """Return the days from each user's last event to a second, float64 (n_users,).

        0 for users without events, and for all where there are no times: they are here now.
        """
        days, some = np.zeros(len(self.sequences)), self.sequences.lengths > 0
        if self.times is not None and now is not None:
            last = self.times[self.sequences.offsets[1:][some] - 1].astype(np.int64)
            days[some] = (now - last) / DAY
        return days

    def to_frame(self) -> pd.DataFrame:
        """Return a checked frame: `user_id`, `item_id` and, where kept, `rating`, `timestamp`."""
        import pandas as pd

        from recsys.data.frames.names import ITEM, RATING, TIMESTAMP, USER

        users, items = _index(self.sequences.user_ids), _index(self.sequences.item_ids)
        columns: dict[str, Any] = {USER: users.take(self.sequences.user_rows)}
        columns[ITEM] = items.take(self.sequences.codes)
        if self.ratings is not None:
            columns[RATING] = np.array(self.ratings)
        if self.times is not None:
            times = pd.Series(self.times.astype(np.int64))
            columns[TIMESTAMP] = times.astype(pd.DatetimeTZDtype("s", "UTC"))
        return pd.DataFrame(columns)

    def describe(self) -> str:
        """Say in one line how much there is, from when to when, and how many times are tied."""
        users, items = np.count_nonzero(self.sequences.lengths), np.unique(self.sequences.codes)
        counts = ((len(self), "rating"), (int(users), "user"), (len(items), "item"))
        ratings, by, on = (f"{n:,} {word}{'s' if n != 1 else ''}" for n, word in counts)
        text = f"{ratings} by {by} on {on}"
        if self.times is None or not len(self):
            return f"{text}, no times"
        ends = int(self.times.min()), int(self.times.max())
        first, last = (str(np.datetime64(second, "s"))[:10] for second in ends)
        who = self.sequences.user_rows
        same = np.pad((self.times[1:] == self.times[:-1]) & (who[1:] == who[:-1]), 1)
        tied = np.count_nonzero(same[1:] | same[:-1]) / len(self)
        shared = f"{tied:.0%} share a timestamp with another rating of the same user"
        return f"{text}, {first} to {last}; {shared}"

    def fingerprint(self) -> str:
        """Hash the events: sha256 in hex, the same on every machine and, given times, row order."""
        import hashlib

        events = self.compact()
        sequences = events.sequences
        digest = hashlib.sha256(b"recsys events 1")
        for ids in (sequences.user_ids, sequences.item_ids):
            column = TextColumn.of(ids) if ids.dtype == object else None
            digest.update(f"|{'text' if column else ids.dtype.name}".encode())
            for part in (column.ends, column.data) if column else (ids,):
                _update(digest, part)
        times = None if events.times is None else events.times.astype(np.int64)
        ratings = None if events.ratings is None else np.abs(events.ratings)  # 0 for -0
        for numbers in (sequences.offsets, sequences.codes, times, ratings):
            digest.update(b"|" if numbers is not None else b"|none")
            if numbers is not None:
                _update(digest, numbers)
        return digest.hexdigest()


def _update(digest: Any, array: npt.NDArray[Any]) -> None:
    digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)


def _index(ids: npt.NDArray[Any]) -> Any:
    """Return ids as a frame holds them: integers, or texts of pandas' own type."""
    import pandas as pd

    ids = take(ids)  # a loaded model has a column of texts
    return pd.Index(ids, dtype="str" if ids.dtype == object else ids.dtype)


def build_sequences(ratings: pd.DataFrame) -> Sequences:
    """Order each user's items in a checked frame by time; see `order_events`.

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame({"user_id": [2, 1, 1, 2, 1], "item_id": [20, 30, 10, 10, 20]})
    >>> ratings["timestamp"] = pd.to_datetime([9, 3, 1, 5, 2], unit="s", utc=True)
    >>> sequences = build_sequences(ratings)
    >>> for row, user_id in enumerate(sequences.user_ids):
    ...     print(user_id, sequences.item_ids[sequences.items_of(row)])
    1 [10 20 30]
    2 [10 20]
    """
    return order_events(ratings)[1].sequences


def order_events(ratings: pd.DataFrame) -> tuple[npt.NDArray[np.intp], Events]:
    """Order the ratings by user, then time, then a fixed hash.

    Three quarters of ml-100k's ratings share their second with another of the same user. Ordering
    those by item id or by place in the file would leak it into the sequences, so ties go by a
    64-bit hash of (user_id, item_id), the same for any row order, and remaining ties by rating.
    Without a timestamp column the row order within a user is kept.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame (`recsys.data.frames.ratings.check_ratings`). It is not changed.

    Returns
    -------
    order : integer array, shape (n_ratings,)
        Positions of the rows, in the order of the events.
    events : Events
    """
    from recsys.data.frames.names import ITEM, RATING, TIMESTAMP, USER

    (users, user_ids), (items, item_ids) = _codes(ratings[USER]), _codes(ratings[ITEM])
    offsets = offsets_from(np.bincount(users, minlength=len(user_ids)))
    sequences = Sequences(id_array(user_ids), id_array(item_ids), np.empty_like(items), offsets)
    stars = ratings[RATING].to_numpy() if RATING in ratings else None
    seconds = seconds_of(ratings) if TIMESTAMP in ratings else None
    first, last = (0, 0) if seconds is None else (int(seconds.min()), int(seconds.max()))
    sorted_stars = None if stars is None else np.empty_like(stars)
    times: npt.NDArray[np.integer[Any]] | None = None
    if seconds is not None:
        fits = last <= np.iinfo(np.uint32).max
        times = np.empty(len(seconds), np.uint32 if fits else np.int64)
    user_hash, item_hash = _hash_ids(user_ids), _mix(_hash_ids(item_ids))
    order, ends = _by_block(users, offsets)
    for start, stop in itertools.pairwise(ends):
        rows = order[start:stop]
        who, what = users.take(rows), items.take(rows)
        rated = None if stars is None else stars.take(rows)
        key = (who - who.min(initial=len(user_ids))).astype(np.uint64)
        if seconds is None or times is None:
            place = _radix(key, int(key.max(initial=0)).bit_length())
        else:
            when, tie = seconds.take(rows), _mix(user_hash[who] ^ item_hash[what])
            place = _place(key, when - first, (last - first).bit_length(), tie, rated)
            times[start:stop] = when.take(place)
        order[start:stop] = rows.take(place)
        sequences.codes[start:stop] = what.take(place)
        if rated is not None and sorted_stars is not None:
            sorted_stars[start:stop] = rated.take(place)
    return order, Events(sequences, times, sorted_stars)


def _by_block(
    users: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], list[int]]:
    """Order the rows by block of neighbouring users; return where each block ends too, from 0.

    Up to 256 blocks, which fit the processor's cache: what is done block by block takes as long an
    event however many there are.
    """
    n_events = int(offsets[-1])
    shift = max(BLOCK_BITS, n_events.bit_length() - 8)
    block = (np.maximum(offsets[1:] - 1, 0) >> shift).astype(np.uint8)  # of each user
    ends = offsets[1:-1][block[1:] != block[:-1]]
    return np.argsort(block[users], kind="stable"), [0, *ends.tolist(), n_events]


def _place(
    key: npt.NDArray[np.uint64],
    elapsed: npt.NDArray[np.int64],
    n_time: int,
    tie: npt.NDArray[np.uint64],
    stars: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.intp]:
    """Pack user (`key`), second and some bits of the hash into one key, which is fast to sort."""
    # `check_ratings` refuses seconds from 10**11 on, so 2**27 users fit.
    n_bits = int(key.max()).bit_length() + n_time
    size = min(-(-(n_bits + HASH_BITS) // 16) * 16, 64)
    left = np.uint64(size - n_bits)
    key = (key << np.uint64(n_time) | elapsed.view(np.uint64)) << left
    key |= tie >> (np.uint64(64) - left)
    place = _radix(key, size)
    ordered = key.take(place)
    same = ordered[1:] == ordered[:-1]
    if same.any():  # ordered by the whole hash, then
        places = np.flatnonzero(np.append(same, False) | np.append(False, same))
        rows = place[places]
        keys: list[npt.NDArray[Any]] = [tie[rows], key[rows]]
        if stars is not None:
            keys.insert(0, stars[rows])
        place[places] = rows[np.lexsort(keys)]
    return place


def _radix(key: npt.NDArray[np.uint64], n_bits: int) -> npt.NDArray[np.intp]:
    """Order keys by 16 bits at a time: of so few, numpy's stable sort compares nothing."""
    digits = key.astype("<u8", copy=False).view("<u2").reshape(-1, 4)[:, : -(-n_bits // 16) or 1]
    place = np.argsort(digits[:, 0], kind="stable")
    for digit in np.ascontiguousarray(digits.T[1:]):
        place = place.take(np.argsort(digit.take(place), kind="stable"))
    return place


def tie_hash(users: pd.Index, items: pd.Index) -> npt.NDArray[np.uint64]:
    """Return what `order_events` breaks ties by: a hash of each pair of ids, uint64 (n_pairs,)."""
    return _mix(_hash_ids(users) ^ _mix(_hash_ids(items)))


def _codes(ids: pd.Series) -> tuple[npt.NDArray[np.int32], pd.Index]:
    """Return the rank of each id, int32 array (n_ratings,), and the distinct ids, ascending."""
    import pandas as pd

    if ids.dtype == np.int64 and len(ids):
        low, high = int(ids.min()), int(ids.max())
        if high - low < 2 * len(ids):  # a table is faster than hashing
            steps, there = ids.to_numpy() - low, np.zeros(high - low + 1, bool)
            there[steps] = True
            codes = np.cumsum(there, dtype=np.int32) - np.int32(1)
            return codes[steps], pd.Index(np.flatnonzero(there) + low)
    found, unique = pd.factorize(ids, sort=True)
    return found.astype(np.int32), unique


def seconds_of(ratings: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the times as whole seconds since 1970, int64 array of shape (n_ratings,)."""
    from recsys.data.frames.names import TIMESTAMP

    return np.asarray(ratings[TIMESTAMP].dt.as_unit("s").astype("int64"))


def _hash_ids(ids: pd.Index) -> npt.NDArray[np.uint64]:
    """Hash ids to uint64 by value alone: no process seed, no position."""
    import pandas as pd

    return pd.util.hash_array(id_array(ids), categorize=False)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scatter near keys in place, as splitmix64 does (Steele, Lea & Flood 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x
