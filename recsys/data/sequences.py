"""Hold viewing sequences: each user's items, oldest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


@dataclass(frozen=True)
class Sequences:
    """Every user's items in time order, held flat in the shape of a CSR matrix.

    User row u watched `codes[offsets[u]:offsets[u + 1]]`, oldest first; a code is a row of
    `item_ids`. An event takes 4 bytes.

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

    def slice_users(self, start: int, stop: int) -> Sequences:
        """Return the sequences of neighbouring users; the codes are not copied."""
        offsets = self.offsets[start : stop + 1]
        codes = self.codes[offsets[0] : offsets[-1]]
        return Sequences(self.user_ids[start:stop], self.item_ids, codes, offsets - offsets[0])

    def where(self, keep: npt.NDArray[np.bool_]) -> Sequences:
        """Return the same users with only the events marked in `keep`, bool (n_events,)."""
        offsets = offsets_from(keep)[self.offsets]
        return Sequences(self.user_ids, self.item_ids, self.codes[keep], offsets)

    def recode(self, item_ids: npt.NDArray[Any]) -> Sequences:
        """Return the same users over another ascending vocabulary; other items are dropped."""
        if item_ids is self.item_ids:
            return self
        return self.renumber(rows_of(self.item_ids, item_ids), item_ids)

    def renumber(self, rows: npt.NDArray[np.integer], item_ids: npt.NDArray[Any]) -> Sequences:
        """Give each item another code, (n_items,), a row of `item_ids`; -1 drops its events."""
        codes = rows[self.codes]
        kept = codes >= 0
        offsets = self.offsets if kept.all() else self.where(kept).offsets
        return Sequences(self.user_ids, item_ids, codes[kept].astype(np.int32), offsets)


def offsets_from(lengths: npt.NDArray[np.integer | np.bool_]) -> npt.NDArray[np.int64]:
    """Return where each user starts, int64 (n_users + 1,), from how many events each has."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def training_pairs(sequence: Sequence[object], *, window: int) -> list[tuple[object, object]]:
    """List the (centre, context) pairs that skip-gram trains on for one sequence.

    Parameters
    ----------
    sequence : sequence of tokens
        Words of a sentence, or items of a viewing history.
    window : int, at least 1
        How many neighbours on EACH side count as context, as in gensim: one centre with one
        neighbour to each side, often called a "window of 3", is `window=1`.

    References
    ----------
    Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector Space".

    Examples
    --------
    >>> sentence = "the quick brown fox jumps over it".split()
    >>> pairs = training_pairs(sentence, window=1)
    >>> for centre in sentence:
    ...     print(centre, [context for word, context in pairs if word == centre])
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
