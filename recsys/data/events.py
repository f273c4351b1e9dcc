"""Keep every event that a model was given, so that later ones can be added to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import take, to_column
from recsys.data.sequences import Sequences, seconds_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True)
class Events:
    """All events in sequence order, those of items without a vector included.

    An event takes 4 bytes for its time, and 4 more for its code where some item has no vector
    (`min_count`, `min_rating`): 25 million take 100 to 200 MB.

    Attributes
    ----------
    item_ids : integer array or TextColumn, shape (n_all_items,)
        Ascending.
    sequences : Sequences
        Codes are rows of `item_ids`.
    times : uint32 or int64 array, shape (n_events,), or None
        Seconds since 1970; None where the events have an order only.
    ratings : float32 array, shape (n_events,), or None
        Kept where a `min_rating` says which of the events are interactions.
    """

    item_ids: Any
    sequences: Sequences
    times: npt.NDArray[np.integer[Any]] | None
    ratings: npt.NDArray[np.float32] | None

    @classmethod
    def of(cls, events: pd.DataFrame, sequences: Sequences, *, rated: bool) -> Events:
        """Keep the events of a frame in sequence order, whose `sequences` these are."""
        from recsys.data.frames import RATING, TIMESTAMP

        times: npt.NDArray[np.integer[Any]] | None = None
        if TIMESTAMP in events:
            times = seconds_of(events)
            if times.max() <= np.iinfo(np.uint32).max:
                times = times.astype(np.uint32)
        ratings = events[RATING].to_numpy(np.float32) if rated else None
        return cls(to_column(sequences.item_ids), sequences, times, ratings)

    def without(self, item_ids: npt.NDArray[Any]) -> Events:
        """Return the events but those of some items, integer or str array (n,)."""
        ids = take(self.item_ids)
        kept = ~np.isin(ids, item_ids)
        stays = kept[self.sequences.codes]
        named = Sequences(
            self.sequences.user_ids, ids, self.sequences.codes, self.sequences.offsets
        )
        times = None if self.times is None else self.times[stays]
        ratings = None if self.ratings is None else self.ratings[stays]
        sequences = named.where(stays).recode(ids[kept])
        return Events(to_column(ids[kept]), sequences, times, ratings)

    def to_frame(self, user_ids: Any) -> pd.DataFrame:
        """Return the events as a checked frame, in sequence order.

        Parameters
        ----------
        user_ids : integer array or TextColumn, shape (n_users,)

        Returns
        -------
        DataFrame
            `user_id`, `item_id` and, as far as they are kept, `rating` and `timestamp`.
        """
        import pandas as pd

        from recsys.data.frames import ITEM, RATING, TIMESTAMP, USER

        columns: dict[str, Any] = {
            USER: _ids(user_ids).take(self.sequences.user_rows),
            ITEM: _ids(self.item_ids).take(self.sequences.codes),
        }
        if self.ratings is not None:
            columns[RATING] = np.array(self.ratings)
        if self.times is not None:
            times = pd.Series(self.times.astype(np.int64))
            columns[TIMESTAMP] = times.astype(pd.DatetimeTZDtype("s", "UTC"))
        return pd.DataFrame(columns)


def _ids(column: Any) -> pd.Index[Any]:
    """Return the ids of a column as a frame holds them: integers, or texts of pandas' own type."""
    import pandas as pd

    ids = take(column)
    return pd.Index(ids, dtype="str" if ids.dtype == object else ids.dtype)
