"""Split events into what a model may see and what it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.events import Events, seconds_of
from recsys.data.sequences import Sequences, offsets_from
from recsys.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    Mask = npt.NDArray[np.bool_]

# Too few users to choose settings by; and enough, since more take long and change little.
ENOUGH_USERS, MAX_USERS = 50, 2000


@dataclass(frozen=True)
class TimeSplit:
    """Ratings before one moment (UTC) and from it on: train < cutoff <= validation."""

    train: pd.DataFrame
    validation: pd.DataFrame
    cutoff: pd.Timestamp


@dataclass(frozen=True)
class Cases:
    """The users to evaluate on: what is known of each, and what is to be found.

    Row u of all three sequences is the same user, and they share one vocabulary.

    Attributes
    ----------
    histories : Sequences
        What the user vector is made of, oldest first.
    watched : Sequences
        What is excluded from the ranking: the history and, with `min_rating`, disliked items.
    targets : Sequences
        What is to be found: at least one item a user, none twice.
    staleness : float64 array, shape (n_users,)
        Days from the end of the history to the end of training; 0 for users present when asking.
    n_targets : int64 array, shape (n_users,)
        Targets of each user, items unknown to a model included: `recode` does not change it.
    """

    histories: Sequences
    watched: Sequences
    targets: Sequences
    staleness: npt.NDArray[np.float64]
    n_targets: npt.NDArray[np.int64] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.n_targets is None:
            object.__setattr__(self, "n_targets", self.targets.lengths)

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.targets)

    def take_users(self, user_rows: npt.NDArray[np.integer]) -> Cases:
        """Return the cases of some users, in the order of `user_rows`."""
        known, watched, asked = (part.take_users(user_rows) for part in self._sequences)
        return Cases(known, watched, asked, self.staleness[user_rows], self.n_targets[user_rows])

    def recode(self, item_ids: npt.NDArray[Any]) -> Cases:
        """Return the same users over the items that a model knows; other items are dropped."""
        known, watched, asked = (part.recode(item_ids) for part in self._sequences)
        return Cases(known, watched, asked, self.staleness, self.n_targets)

    @property
    def _sequences(self) -> tuple[Sequences, Sequences, Sequences]:
        return self.histories, self.watched, self.targets


@dataclass(frozen=True)
class Split:
    """What may be trained on, and who is asked for what."""

    train: Events  # over the same users and items as all events
    protocols: dict[str, Cases]  # by name
    cutoff: int | None = None  # second since 1970; None where the parts do not meet at one moment


def split_by_time(ratings: pd.DataFrame, *, validation_fraction: float = 0.2) -> TimeSplit:
    """Cut the ratings at one moment, the same for all users.

    A cut per user, or a random one, lets a model see how other users acted after the moment it is
    asked about; recall then comes out too high.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame with a `timestamp` column, or one of another library than pandas.
    validation_fraction : float in (0, 1)
        About this share of the ratings is validation; all ratings of the cutoff's second are.

    Raises
    ------
    DataError
        There are no times, or all ratings fall into one second.

    Examples
    --------
    >>> import pandas as pd
    >>> ratings = pd.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [10, 20, 10, 30, 20]})
    >>> ratings["timestamp"] = pd.to_datetime([10, 40, 20, 30, 50], unit="s", utc=True)
    >>> split = split_by_time(ratings, validation_fraction=0.4)
    >>> split.cutoff
    Timestamp('1970-01-01 00:00:30+0000', tz='UTC')
    >>> len(split.train), split.validation["item_id"].tolist()
    (2, [20, 30, 20])
    """
    import pandas as pd

    from recsys.data.frames.names import TIMESTAMP
    from recsys.data.frames.ratings import check_ratings

    ratings = ratings if isinstance(ratings, pd.DataFrame) else check_ratings(ratings)
    times = seconds_of(ratings) if TIMESTAMP in ratings else None
    second = cutoff_of(times, validation_fraction)
    late = np.asarray(times) >= second
    return TimeSplit(ratings[~late], ratings[late], pd.Timestamp(second, unit="s", tz="UTC"))


def cutoff_of(times: npt.NDArray[np.integer[Any]] | None, validation_fraction: float) -> int:
    """Return the second at which to cut; see `split_by_time`."""
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must lie in (0, 1), got {validation_fraction!r}")
    if times is None:
        raise DataError(
            "a split by time needs a timestamp column and there is none; for data that has an "
            "order only, use --split last-out (split='last-out')"
        )
    second = int(np.quantile(times, 1 - validation_fraction, method="lower"))
    if times.min() >= second:
        first = f"the first {1 - validation_fraction:.0%} of the {len(times)} ratings"
        problem = f"all of {first} fall into one second, so none lie before the cutoff"
        raise DataError(f"too little data: {problem}")
    return second


def split_events(events: Events, validation_fraction: float, min_rating: float | None) -> Split:
    """Cut the events at one moment, with the protocols of `time_cases`."""
    cutoff = cutoff_of(events.times, validation_fraction)
    train = events.where(_times(events) < cutoff)
    return Split(train, time_cases(events, cutoff, min_rating=min_rating), cutoff)


def time_cases(
    events: Events,
    cutoff: int | pd.Timestamp,
    *,
    min_rating: float | None = None,
    now: int | None = None,
) -> dict[str, Cases]:
    """Make the cases of the two protocols of a split by time: name -> cases.

    `warm`: users with training history and at least one item from the cutoff on that they had not
    watched before. History = their training items, targets = those new items.

    `fold-in`: every user with two or more events from the cutoff on, new users included.
    History = training items and the earlier ceil(n/2) of the n later events; targets = the rest
    that is not in the history; users left without a target are dropped.

    Parameters
    ----------
    events : Events
        Training and validation together, with times.
    cutoff : Timestamp, or second since 1970
    min_rating : float, optional
        Events below it are watched, but are neither history nor target.
    now : int, optional
        Second of the last training event, where `events` are those of some users only.
    """
    second = cutoff if isinstance(cutoff, int) else int(cutoff.timestamp())
    late = _times(events) >= second
    users = events.sequences.user_rows
    n_late, place = _places(events, late)
    n_late = n_late[users]
    rest = late & (n_late >= 2) & (place >= (n_late + 1) // 2)
    return {
        "warm": make_cases(events, ~late, late, min_rating, stale=True, cold_users=False, now=now),
        "fold-in": make_cases(events, ~late | (late & ~rest), rest, min_rating),
    }


def new_user_cases(
    events: Events, cutoff: int, sizes: tuple[int, ...], *, min_rating: float | None = None
) -> dict[int, Cases]:
    """Make the cases of new users after their first few items: size -> cases.

    Users without any event before the cutoff (of others, the model has learnt). Targets = the items
    after the first `sizes[-1]` that are not among those; users left without a target are dropped.
    Only the history grows: targets are the same each time, and all of the first `sizes[-1]` items
    are excluded from every ranking. Otherwise short histories would leave lists full of items that
    are neither known nor asked for.

    Parameters
    ----------
    events, cutoff, min_rating
        As in `time_cases`.
    sizes : ascending whole numbers above 0
        How many liked items are known.
    """
    users, late = events.sequences.user_rows, _times(events) >= cutoff
    new = np.bincount(users[~late], minlength=len(events.sequences))[users] == 0
    place = _places(events, events.liked(min_rating))[1]
    known = new & (place < sizes[-1])
    cases = make_cases(events, known, new & ~known, min_rating)
    steps = np.arange(len(cases.histories.codes))
    steps -= np.repeat(cases.histories.offsets[:-1], cases.histories.lengths)
    return {n: replace(cases, histories=cases.histories.where(steps < n)) for n in sizes}


def last_out(events: Events, *, min_rating: float | None = None) -> Split:
    """Leave out each user's last events, as papers on sequential recommendation do.

    Target = the last event (that reaches `min_rating`), history = all before it; training has
    neither it nor the event before (which papers tune on). Since users end at different times, the
    training part holds other users' future. A last item watched before stays, as a sure miss.

    Raises
    ------
    DataError
        No user has three events, so that nothing is left to train on.
    """
    likes = events.liked(min_rating)
    n_liked, place = _places(events, likes)
    left = n_liked[events.sequences.user_rows] - place
    last = likes & (left == 1)
    before = (left >= 1) & ~last
    if not (left > 2).any():
        after = "" if min_rating is None else f" after min_rating={min_rating}"
        n_users = np.count_nonzero(events.sequences.lengths)
        raise DataError(f"too little data: none of {n_users} users has three events{after}")
    cases = make_cases(events, before, last, min_rating, rewatched=True, cold_users=False)
    return Split(events.where(left > 2), {"last-out": cases})


def calibration_split(events: Events, *, min_rating: float | None = None) -> Split:
    """Split the training part once more, so that settings can be chosen on its latest part.

    `warm` and `fold-in` on the last 20%; `last-out` where either has fewer than ENOUGH_USERS, or
    where there are no times. At most MAX_USERS each, drawn at random, the same every time.

    Raises
    ------
    DataError
        Too little data for either.
    """
    try:
        split = split_events(events, 0.2, min_rating)
        enough = min(map(len, split.protocols.values())) >= ENOUGH_USERS
    except DataError:  # there are no times, or one second holds everything
        enough = False
    if not enough:
        split = last_out(events, min_rating=min_rating)
    for name, cases in split.protocols.items():
        split.protocols[name] = cases.take_users(draw(np.arange(len(cases)), MAX_USERS))
    return split


def draw(rows: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Draw up to n of some ascending rows at random, ascending; the same ones every time."""
    return rows if len(rows) <= n else np.sort(np.random.default_rng(0).permutation(rows)[:n])


def draw_users(sequences: Sequences, n_events: int) -> npt.NDArray[np.int64]:
    """Draw user rows at random until they have about n events, ascending; at least one user."""
    users = np.random.default_rng(0).permutation(np.flatnonzero(sequences.lengths > 0))
    enough = np.cumsum(sequences.lengths[users]) <= n_events
    enough[:1] = True
    return np.sort(users[enough])


def make_cases(
    events: Events,
    watched: Mask,
    target: Mask,
    min_rating: float | None,
    *,
    stale: bool = False,
    rewatched: bool = False,
    cold_users: bool = True,
    now: int | None = None,
) -> Cases:
    """Pair what is known (`watched`) with what is asked for (`target`), bool arrays (n_events,).

    Parameters
    ----------
    stale : bool
        Whether the question is asked at the end of all that is known, not after each history.
    rewatched, cold_users : bool
        Whether an item watched before may be a target, and users without a history take part.
    now : int, optional
        The end of all that is known, as a second; by default that of the events.
    """
    likes, sequences = events.liked(min_rating), events.sequences
    pairs = sequences.user_rows * len(sequences.item_ids) + sequences.codes
    target = target & likes
    if not rewatched:
        target &= ~np.isin(pairs, pairs[watched])
    once = np.zeros(len(pairs), dtype=bool)
    once[np.flatnonzero(target)[np.unique(pairs[target], return_index=True)[1]]] = True
    known, targets = events.where(watched & likes), sequences.where(once)
    if stale and now is None and watched.any():
        now = events.where(watched).now
    histories, staleness = known.sequences, known.days_before(now)
    users = np.flatnonzero((targets.lengths > 0) & ((histories.lengths > 0) | cold_users))
    return Cases(histories, sequences.where(watched), targets, staleness).take_users(users)


def _times(events: Events) -> npt.NDArray[np.integer[Any]]:
    if events.times is None:
        raise DataError("a split by time needs times and there are none")
    return events.times


def _places(events: Events, mask: Mask) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count each user's marked events; place every event among them (marked ones from 0)."""
    counts = np.bincount(events.sequences.user_rows[mask], minlength=len(events.sequences))
    before = np.cumsum(mask, dtype=np.int64) - mask
    return counts, before - np.repeat(offsets_from(counts)[:-1], events.sequences.lengths)
