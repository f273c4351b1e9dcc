"""Turn ratings into viewing sequences: each user's items, oldest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import id_array, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pandas as pd


# Of the key that events are sorted by; a test makes it smaller.
KEY_BITS = 64


@dataclass(frozen=True)
class Sequences:
    """Every user's items in time order, held flat in the shape of a CSR matrix.

    User row u watched `codes[offsets[u]:offsets[u + 1]]`, oldest first; a code is a row of
    `item_ids`. An event takes 4 bytes: 25 million take 100 MB.

    Attributes
    ----------
    user_ids : integer or str array, shape (n_users,)
        Ascending.
    item_ids : integer or str array, shape (n_items,)
        Ascending; the vocabulary that the codes point into.
    codes : int32 array, shape (n_events,)
    offsets : int64 array, shape (n_users + 1,)
    """

    user_ids: npt.NDArray[Any]
    item_ids: npt.NDArray[Any]
    codes: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.user_ids)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of events of each user, int64 array of shape (n_users,)."""
        return np.diff(self.offsets)

    @property
    def user_rows(self) -> npt.NDArray[np.int64]:
        """User row of each event, int64 array of shape (n_events,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def items_of(self, user_row: int) -> npt.NDArray[np.int32]:
        """Item codes of one user, oldest first, int32 array of shape (n_events_of_user,)."""
        return self.codes[self.offsets[user_row] : self.offsets[user_row + 1]]

    def counts(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each item, int64 array of shape (n_items,)."""
        return np.bincount(self.codes, minlength=len(self.item_ids))

    def take_users(self, user_rows: npt.NDArray[np.integer]) -> Sequences:
        """Return the sequences of some users, in the order of `user_rows`."""
        lengths = self.lengths[user_rows]
        offsets = offsets_from(lengths)
        # Position of each wanted event: the start of its user, plus its place within the user.
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        codes = self.codes[np.repeat(self.offsets[user_rows], lengths) + place]
        return Sequences(self.user_ids[user_rows], self.item_ids, codes, offsets)

    def where(self, keep: npt.NDArray[np.bool_]) -> Sequences:
        """Return the same users with only the events marked in `keep`, bool (n_events,)."""
        kept = np.bincount(self.user_rows[keep], minlength=len(self))
        return Sequences(self.user_ids, self.item_ids, self.codes[keep], offsets_from(kept))

    def recode(self, item_ids: npt.NDArray[Any]) -> Sequences:
        """Return the same users over another ascending vocabulary; other items are dropped."""
        code = rows_of(self.item_ids, item_ids)[self.codes]
        kept = self.where(code >= 0)
        return Sequences(self.user_ids, item_ids, code[code >= 0].astype(np.int32), kept.offsets)


def offsets_from(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return where each user starts, int64 (n_users + 1,), from how many events each has."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def order_events(ratings: pd.DataFrame) -> tuple[npt.NDArray[np.intp], Sequences]:
    """Order the ratings by user, then time, then a fixed hash.

    Three quarters of ml-100k's ratings share their second with another of the same user. Ordering
    those by item id or by place in the file would leak it into the sequences, so ties go by a
    64-bit hash of (user_id, item_id), the same for any row order, and what is left by rating.
    Without a timestamp column the row order within a user is kept.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame (`recsys.data.frames.check_ratings`).

    Returns
    -------
    order : integer array, shape (n_ratings,)
        Positions of the rows, in sequence order.
    sequences : Sequences
    """
    from recsys.data.frames import ITEM, USER

    (users, user_ids), (items, item_ids) = _codes(ratings[USER]), _codes(ratings[ITEM])
    order = _order(ratings, users, user_ids, items, item_ids)
    offsets = offsets_from(np.bincount(users, minlength=len(user_ids)))
    return order, Sequences(id_array(user_ids), id_array(item_ids), items[order], offsets)


def _order(
    ratings: pd.DataFrame,
    users: npt.NDArray[np.int32],
    user_ids: pd.Index,
    items: npt.NDArray[np.int32],
    item_ids: pd.Index,
) -> npt.NDArray[np.intp]:
    """Pack user, second and as many bits of the hash as fit into one key, which is fast to sort.

    `check_ratings` lets no later second through than 10**11, so that 2**27 users fit.
    """
    from recsys.data.frames import RATING, TIMESTAMP

    if TIMESTAMP not in ratings:
        return np.argsort(users, kind="stable")
    elapsed = seconds_of(ratings)
    elapsed = elapsed - elapsed.min()
    n_time, n_user = int(elapsed.max()).bit_length(), (len(user_ids) - 1).bit_length()
    left = np.uint64(KEY_BITS - n_time - n_user)
    user_hash, item_hash = _hash_ids(user_ids), _mix(_hash_ids(item_ids))

    def tie(rows: Any) -> npt.NDArray[np.uint64]:
        return _mix(user_hash[users[rows]] ^ item_hash[items[rows]])

    key = users.astype(np.uint64)
    for start in range(0, len(key), 1 << 15):  # what is in between stays in the cache
        part = slice(start, start + (1 << 15))
        key[part] = (key[part] << np.uint64(n_time) | elapsed[part].view(np.uint64)) << left
        key[part] |= tie(part) >> (np.uint64(64) - left)
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    same = ordered[1:] == ordered[:-1]
    if same.any():  # ordered by the whole hash, then
        places = np.flatnonzero(np.append(same, False) | np.append(False, same))
        rows = order[places]
        keys = [tie(rows), key[rows]]
        if RATING in ratings:
            keys.insert(0, ratings[RATING].to_numpy()[rows])
        order[places] = rows[np.lexsort(keys)]
    return order


def _codes(ids: pd.Series) -> tuple[npt.NDArray[np.int32], pd.Index]:
    """Return the rank of each id, int32 array (n_ratings,), and the distinct ids, ascending."""
    import pandas as pd

    if ids.dtype == np.int64 and len(ids):
        values = ids.to_numpy()
        low = values.min()
        if int(values.max()) - int(low) < 2 * len(ids):  # a table is faster than hashing
            steps = values - low
            there = np.zeros(int(steps.max()) + 1, bool)
            there[steps] = True
            codes = np.cumsum(there, dtype=np.int32) - np.int32(1)
            return codes[steps], pd.Index(np.flatnonzero(there) + low)
    found, unique = pd.factorize(ids, sort=True)
    return found.astype(np.int32), unique


def sort_events(ratings: pd.DataFrame) -> pd.DataFrame:
    """Return the ratings in sequence order, see `order_events`."""
    return ratings.iloc[order_events(ratings)[0]].reset_index(drop=True)


def seconds_of(ratings: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the times as whole seconds since 1970, int64 array of shape (n_ratings,)."""
    from recsys.data.frames import TIMESTAMP

    return np.asarray(ratings[TIMESTAMP].dt.as_unit("s").astype("int64"))


def recent_counts(
    ratings: pd.DataFrame, item_ids: npt.NDArray[Any], *, days: float, now: int
) -> npt.NDArray[np.int64]:
    """Count each item's events of the last days, int64 array of shape (n_items,).

    Parameters
    ----------
    ratings : DataFrame
        A checked frame with times.
    item_ids : integer or str array, shape (n_items,)
        Ascending; the events of other items are left out.
    days : float
    now : int
        The second since 1970 from which the days are reckoned back.
    """
    from recsys.data.frames import ITEM

    late = seconds_of(ratings) >= now - days * 86_400
    codes = rows_of(id_array(ratings[ITEM][late]), item_ids)
    return np.bincount(codes[codes >= 0], minlength=len(item_ids))


def _hash_ids(ids: pd.Index) -> npt.NDArray[np.uint64]:
    """Hash ids to uint64 by value alone: no process seed, no position."""
    import pandas as pd

    values = ids.to_numpy(dtype=object) if pd.api.types.is_string_dtype(ids) else ids.to_numpy()
    return pd.util.hash_array(values, categorize=False)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Finalise as splitmix64 does (Steele, Lea & Flood 2014), so that near keys fall far apart.

    In place, which is twice as fast.
    """
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x


def build_sequences(ratings: pd.DataFrame) -> Sequences:
    """Order each user's items by time.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame with `user_id`, `item_id` and, optionally, `timestamp`. It is not changed.

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame(
    ...     {
    ...         "user_id": [2, 1, 1, 2, 1],
    ...         "item_id": [20, 30, 10, 10, 20],
    ...         "timestamp": pd.to_datetime([9, 3, 1, 5, 2], unit="s", utc=True),
    ...     }
    ... )
    >>> sequences = build_sequences(ratings)
    >>> for row, user_id in enumerate(sequences.user_ids):
    ...     print(user_id, sequences.item_ids[sequences.items_of(row)])
    1 [10 20 30]
    2 [10 20]
    """
    return order_events(ratings)[1]


def training_pairs(sequence: Sequence[object], *, window: int) -> list[tuple[object, object]]:
    """List the (centre, context) pairs that skip-gram trains on for one sequence.

    Parameters
    ----------
    sequence : sequence of tokens
        Words of a sentence, or items of a viewing history.
    window : int, at least 1
        How many neighbours on EACH side count as context, as in gensim. The "window of 3" of the
        usual picture, one centre with a neighbour to each side, is `window=1`.

    References
    ----------
    Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector Space".

    Examples
    --------
    >>> sentence = "the quick brown fox jumps over it".split()
    >>> for centre in range(7):
    ...     print(
    ...         sentence[centre],
    ...         [b for a, b in training_pairs(sentence, window=1) if a == sentence[centre]],
    ...     )
    the ['quick']
    quick ['the', 'brown']
    brown ['quick', 'fox']
    fox ['brown', 'jumps']
    jumps ['fox', 'over']
    over ['jumps', 'it']
    it ['over']
    >>> training_pairs(["Alien", "Aliens", "Heat"], window=2)[:3]
    [('Alien', 'Aliens'), ('Alien', 'Heat'), ('Aliens', 'Alien')]
    """
    return [
        (centre, sequence[j])
        for i, centre in enumerate(sequence)
        for j in range(max(0, i - window), min(len(sequence), i + window + 1))
        if j != i
    ]
