"""Split ratings into what a model may see and what it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import id_array
from recsys.data.frames import ITEM, RATING, TIMESTAMP, USER
from recsys.data.sequences import Sequences, offsets_from, seconds_of, sort_events
from recsys.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

# With fewer users, a protocol says too little to choose by; with more than the other, it takes
# long and says little more.
ENOUGH_USERS, MAX_USERS = 50, 2000
# After how many items of theirs new users are asked.
CURVE = (1, 2, 5, 10, 20)


@dataclass(frozen=True)
class TimeSplit:
    """Ratings before one moment, and ratings from it on.

    Attributes
    ----------
    train, validation : DataFrame
        Every time in `train` < `cutoff` <= every time in `validation`.
    cutoff : Timestamp, UTC
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    cutoff: pd.Timestamp


@dataclass(frozen=True)
class Cases:
    """The users to evaluate on: what is known of each, and what is to be found.

    Row u of all three is the same user, and all three share one vocabulary: every item of the
    ratings, those that no model can know included.

    Attributes
    ----------
    histories : Sequences
        What the user vector is made of, oldest first.
    watched : Sequences
        What is excluded from the ranking; the history and, under `min_rating`, the disliked.
    targets : Sequences
        What is to be found: at least one item a user, none twice.
    staleness : float64 array, shape (n_users,)
        Days from the last event of the history to the end of training; 0 where the user is here
        at the moment of asking.
    """

    histories: Sequences
    watched: Sequences
    targets: Sequences
    staleness: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.targets)

    def take_users(self, user_rows: npt.NDArray[np.integer]) -> Cases:
        """Return the cases of some users, in the order of `user_rows`."""
        return Cases(
            self.histories.take_users(user_rows),
            self.watched.take_users(user_rows),
            self.targets.take_users(user_rows),
            self.staleness[user_rows],
        )

    def recode(self, item_ids: npt.NDArray[Any]) -> Cases:
        """Return the same users over the items that a model knows; other items are dropped."""
        return Cases(
            self.histories.recode(item_ids),
            self.watched.recode(item_ids),
            self.targets.recode(item_ids),
            self.staleness,
        )


def split_by_time(ratings: pd.DataFrame, *, validation_fraction: float = 0.2) -> TimeSplit:
    """Cut the ratings at one moment, the same for all users.

    A cut per user, or a random one, lets a model see how other users acted after the moment that
    it is asked about; recall then comes out too high.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame with a `timestamp` column.
    validation_fraction : float in (0, 1)
        About this share of the ratings is validation; all ratings of the cutoff's second are.

    Raises
    ------
    DataError
        There are no times, or all ratings fall into one second.

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame(
    ...     {
    ...         "user_id": [1, 1, 2, 2, 3],
    ...         "item_id": [10, 20, 10, 30, 20],
    ...         "timestamp": pd.to_datetime([10, 40, 20, 30, 50], unit="s", utc=True),
    ...     }
    ... )
    >>> split = split_by_time(ratings, validation_fraction=0.4)
    >>> split.cutoff
    Timestamp('1970-01-01 00:00:30+0000', tz='UTC')
    >>> len(split.train), split.validation["item_id"].tolist()
    (2, [20, 30, 20])
    """
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must lie in (0, 1), got {validation_fraction!r}")
    if TIMESTAMP not in ratings:
        raise DataError(
            "a split by time needs a timestamp column and there is none; for data that has an "
            "order only, use --split last-out (split='last-out')"
        )
    import pandas as pd

    times = seconds_of(ratings)
    second = int(np.quantile(times, 1 - validation_fraction, method="lower"))
    late = times >= second
    if late.all():
        raise DataError(
            f"too little data: all of the first {1 - validation_fraction:.0%} of the "
            f"{len(ratings)} ratings fall into one second, so that none lie before the cutoff"
        )
    return TimeSplit(ratings[~late], ratings[late], pd.Timestamp(second, unit="s", tz="UTC"))


@dataclass(frozen=True)
class _Events:
    """Ratings in sequence order as arrays, each of shape (n_events,)."""

    frame: pd.DataFrame
    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    liked: npt.NDArray[np.bool_]
    user_ids: npt.NDArray[Any]
    item_ids: npt.NDArray[Any]

    @classmethod
    def of(cls, ratings: pd.DataFrame, min_rating: float | None) -> _Events:
        import pandas as pd

        frame = sort_events(ratings)
        users, user_ids = pd.factorize(frame[USER], sort=True)
        items, item_ids = pd.factorize(frame[ITEM], sort=True)
        return cls(
            frame,
            users.astype(np.int64),
            items.astype(np.int64),
            liked(frame, min_rating),
            id_array(user_ids),
            id_array(item_ids),
        )

    @property
    def pairs(self) -> npt.NDArray[np.int64]:
        """One number per (user, item)."""
        return self.users * len(self.item_ids) + self.items

    def places(
        self, mask: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Count each user's marked events; place every event among them (marked ones from 0)."""
        counts = np.bincount(self.users[mask], minlength=len(self.user_ids))
        before = np.cumsum(mask, dtype=np.int64) - mask
        return counts, before - np.repeat(offsets_from(counts)[:-1], np.bincount(self.users))

    def sequences(self, mask: npt.NDArray[np.bool_]) -> Sequences:
        counts = np.bincount(self.users[mask], minlength=len(self.user_ids))
        codes = self.items[mask].astype(np.int32)
        return Sequences(self.user_ids, self.item_ids, codes, offsets_from(counts))

    def cases(
        self,
        watched: npt.NDArray[np.bool_],
        target: npt.NDArray[np.bool_],
        *,
        stale: bool = False,
        rewatched: bool = False,
        cold_users: bool = True,
    ) -> Cases:
        """Pair what is known (`watched`) with what is asked (`target`), two marks on the events.

        The question is asked right after each history, or (`stale`) after all that is known.
        """
        target, pairs = target & self.liked, self.pairs
        if not rewatched:
            target &= ~np.isin(pairs, pairs[watched])
        once = np.zeros(len(pairs), dtype=bool)
        once[np.flatnonzero(target)[np.unique(pairs[target], return_index=True)[1]]] = True
        histories, targets = self.sequences(watched & self.liked), self.sequences(once)
        staleness = np.zeros(len(self.user_ids))
        if stale:
            staleness = days_since_last(
                self.frame[watched & self.liked], histories, self.frame[watched]
            )
        users = np.flatnonzero((targets.lengths > 0) & ((histories.lengths > 0) | cold_users))
        return Cases(histories, self.sequences(watched), targets, staleness).take_users(users)


def liked(ratings: pd.DataFrame, min_rating: float | None) -> npt.NDArray[np.bool_]:
    """Mark the ratings that count as interactions, bool array of shape (n_ratings,).

    Raises
    ------
    DataError
        `min_rating` is asked for and there are no ratings, or none reaches it.
    """
    if min_rating is None:
        return np.ones(len(ratings), dtype=bool)
    if RATING not in ratings:
        raise DataError(f"min_rating={min_rating} needs a rating column and there is none")
    mask = ratings[RATING].to_numpy() >= min_rating
    if not mask.any():
        raise DataError(
            f"too little data: 0 of {len(ratings)} ratings are left after min_rating={min_rating}"
        )
    return np.asarray(mask)


def days_since_last(
    events: pd.DataFrame, histories: Sequences, ratings: pd.DataFrame
) -> npt.NDArray[np.float64]:
    """Return the days from each user's last event to the latest rating of all, (n_users,).

    Parameters
    ----------
    events : DataFrame
        In sequence order (`sort_events`), those of the histories and no other.
    histories : Sequences
    ratings : DataFrame
        Without times, all users are here now: 0 days. So is a user without a history.
    """
    days = np.zeros(len(histories))
    some = histories.lengths > 0
    if TIMESTAMP in ratings and some.any():
        last = seconds_of(events)[histories.offsets[1:][some] - 1]
        days[some] = (seconds_of(ratings).max() - last) / 86_400
    return days


def time_cases(
    ratings: pd.DataFrame, cutoff: pd.Timestamp, *, min_rating: float | None = None
) -> dict[str, Cases]:
    """Make the cases of the two protocols of a split by time.

    `warm`: users with training history and at least one item after the cutoff that they had not
    watched before. History = their training items, targets = those new items.

    `fold-in`: every user with two or more events from the cutoff on, brand-new users included.
    History = training items and the earlier ceil(n/2) of the n later events; targets = the rest,
    as far as they are not in the history; users left without a target are dropped.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame: training and validation together.
    cutoff : Timestamp
        As `split_by_time` gives it.
    min_rating : float
        Events below it are watched, but are neither history nor target.

    Returns
    -------
    dict of protocol -> Cases
    """
    events = _Events.of(ratings, min_rating)
    late = (events.frame[TIMESTAMP] >= cutoff).to_numpy()
    n_late, place = events.places(late)
    n_late = n_late[events.users]
    rest = late & (n_late >= 2) & (place >= (n_late + 1) // 2)
    return {
        "warm": events.cases(~late, late, stale=True, cold_users=False),
        "fold-in": events.cases(~late | (late & ~rest), rest),
    }


def curve_cases(
    ratings: pd.DataFrame,
    cutoff: pd.Timestamp,
    *,
    min_rating: float | None = None,
    sizes: tuple[int, ...] = CURVE,
) -> dict[int, Cases]:
    """Make the cases of new users after their first so many items.

    Users without any event before the cutoff. Targets = the items after the first `sizes[-1]`
    that are not among those; users left without a target are dropped. The history alone grows.
    The same users are asked for the same targets each time, and all of the first `sizes[-1]`
    items are excluded from every ranking, those not yet told included: otherwise a list would
    be filled with what is neither told nor asked for, and the more so the shorter the history.

    Users with training history do not take part with it dropped: the model was trained on them.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame: training and validation together.
    cutoff : Timestamp
        As `split_by_time` gives it.
    min_rating : float
        Events below it are watched, but are neither history nor target, and are not counted.
    sizes : ascending whole numbers above 0

    Returns
    -------
    dict of size -> Cases
        In that order. `watched` and `targets` are the same for all.
    """
    events = _Events.of(ratings, min_rating)
    late = (events.frame[TIMESTAMP] >= cutoff).to_numpy()
    new = np.bincount(events.users[~late], minlength=len(events.user_ids))[events.users] == 0
    place = events.places(events.liked)[1]
    known = new & (place < sizes[-1])
    cases = events.cases(known, new & ~known)
    steps = np.arange(len(cases.histories.codes))
    steps -= np.repeat(cases.histories.offsets[:-1], cases.histories.lengths)
    return {n: replace(cases, histories=cases.histories.where(steps < n)) for n in sizes}


def last_out(
    ratings: pd.DataFrame, *, min_rating: float | None = None
) -> tuple[pd.DataFrame, Cases]:
    """Leave out each user's last events, as papers on sequential recommendation do.

    Target = the last event, history = all before it; training has neither it nor the event
    before (which papers tune on). Since every user ends at another time, the training part
    holds other users' future. A last item that was watched before stays, as a sure miss.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame; without a timestamp column the rows are taken to be in order.
    min_rating : float
        "Last" means the last event that reaches it.

    Returns
    -------
    train : DataFrame
    cases : Cases

    Raises
    ------
    DataError
        No user has three events, so that nothing is left to train on.
    """
    events = _Events.of(ratings, min_rating)
    n_liked, place = events.places(events.liked)
    left = n_liked[events.users] - place
    last = events.liked & (left == 1)
    before = (left >= 1) & ~last
    train = events.frame[left > 2]
    if train.empty:
        raise DataError(
            f"too little data: none of {len(n_liked)} users has three events"
            + ("" if min_rating is None else f" after min_rating={min_rating}")
        )
    return train, events.cases(before, last, rewatched=True, cold_users=False)


def calibration_split(
    ratings: pd.DataFrame, *, min_rating: float | None = None
) -> tuple[pd.DataFrame, dict[str, Cases], pd.Timestamp | None]:
    """Split what a model is given once more, so that its settings can be chosen on the later part.

    `warm` and `fold-in` on the last 20%; `last-out` where either has fewer than 50 users, or
    where there are no times.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame: what may be trained on.
    min_rating : float

    Returns
    -------
    train : DataFrame
    cases : dict of protocol -> Cases
        Of at most MAX_USERS users each, drawn at random, the same ones every time.
    cutoff : Timestamp or None
        None for `last-out`.

    Raises
    ------
    DataError
        Too little data for either.
    """
    if TIMESTAMP in ratings:
        try:
            split = split_by_time(ratings)
        except DataError:
            split = None  # one second holds everything: there is an order only
        if split is not None:
            cases = time_cases(ratings, split.cutoff, min_rating=min_rating)
            if min(map(len, cases.values())) >= ENOUGH_USERS:
                sampled = {name: _sampled(each) for name, each in cases.items()}
                return split.train, sampled, split.cutoff
    train, last = last_out(ratings, min_rating=min_rating)
    return train, {"last-out": _sampled(last)}, None


def _sampled(cases: Cases) -> Cases:
    drawn = np.random.default_rng(0).permutation(len(cases))[:MAX_USERS]
    return cases.take_users(np.sort(drawn))
