"""Generate synthetic ratings of any size that behave like MovieLens.

Patterns of MovieLens are planted, so that methods can be told apart: favourites that change with
time, tastes, series that are watched in order, sittings whose ratings share timestamps.
``python -m tests.benchmarks.generator``, run in the repository, writes ``data/sample`` again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

SAMPLE_RATINGS = 20_000
SAMPLE_SEED = 7

START = np.datetime64("2015-03-01", "s")
DAYS = 300  # ml-100k spans 215; the same for every size, so that every size splits alike
STEP = 3  # days for which popularity is held constant
SERIES = 6  # films that belong together and are watched in order
GENRES = (
    "Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
)
# 21, 22 and 23 words have no common divisor: 10,626 series have names before one comes again.
TITLE_WORDS = (
    "Ample Brisk Civil Drowsy Eager Frugal Gentle Humble Idle Jolly Keen Lofty Mellow Nimble "
    "Odd Patient Quaint Rusty Sturdy Tidy Wobbly",
    "Amber Beige Bronze Cobalt Copper Coral Cream Ebony Fawn Grey Indigo Ivory Khaki Lilac "
    "Lime Maroon Mauve Ochre Pewter Plum Teal White",
    "Abacus Bobbin Bookend Colander Corkscrew Doorstop Easel Eggcup Funnel Gasket Grommet "
    "Inkwell Kettle Ladle Oilcan Paperclip Sieve Spatula Stapler Teapot Thimble Trivet Whisk",
)
README = """\
SYNTHETIC data: no real people, films or ratings. Made in the repository of the project by

    tests.benchmarks.generator.generate({call})

in the layout of MovieLens (times in seconds since 1970, UTC), with planted tastes, series,
sittings and changing favourites. What is measured on it says nothing about real data.
Free to use under the MIT licence of the project.
"""

Ints = npt.NDArray[np.int64]
Steps = npt.NDArray[np.int16]  # sorts ten times faster than int64
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Catalogue:
    """Items in the order cluster, series, release; all arrays but `bounds` are (n_items,)."""

    bounds: Ints  # (n_clusters + 1,): cluster c has the rows bounds[c] to bounds[c + 1] - 1
    first: Ints  # row of the first item of its series
    size: Ints  # number of items in its series
    release: Floats  # days after START, negative for the old stock
    moment: Floats  # days after START of its peak: its release, or a revival
    fame: Floats  # popularity apart from time

    def popularity(self, day: int) -> Floats:
        """Weigh all items on a day: a peak at their moment that decays, 0 before the release."""
        since = day - self.moment
        buzz = np.where(since < 0, 0, np.exp(-np.maximum(since, 0) / 60))
        return np.where(self.release > day, 0, self.fame * (1 + 100 * buzz))


@dataclass(frozen=True)
class _Events:
    """Who rates when: arrays of shape (n_ratings,), by user and sitting."""

    user: Ints  # 0 to n_users - 1
    opens: Bools  # the first rating of a sitting
    step: Steps  # when the sitting began, in STEP days after START
    seconds: Ints  # after START


def generate(
    n_ratings: int, *, n_users: int | None = None, n_items: int | None = None, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Generate ratings and their items; the same seed gives the same frames.

    There are exactly `n_ratings` ratings, no pair twice, as `load_ratings` returns them. Sizes that
    are None follow MovieLens (100,000 ratings: 1,000 users, 1,700 items). Every user has a rating;
    an item may have none. The items have `item_id`, `title`, `genres` (the first is the taste that
    the item belongs to) and `year`.

    Raises
    ------
    ValueError
        If a size is below 1, users are more than ratings, or ratings more than half of all pairs.
    """
    if n_users is None:  # ml-1m has 6,040, ml-10m 69,878, ml-25m 162,541
        n_users = min(375 + n_ratings // 160, max(1, n_ratings // 40))
    if n_items is None:
        n_items = 100 + round(1600 * (max(n_ratings, 0) / 100_000) ** 0.66)
        n_items = max(n_items, 4 * n_ratings // max(n_users, 1))
    most = (n_items + 1) // 2  # of one user; more would take long to draw without repeats
    if min(n_users, n_items) < 1 or not n_users <= n_ratings <= n_users * most:
        raise ValueError(
            f'"n_ratings" is {n_ratings}, but {n_users} users and {n_items} items can have '
            f"{n_users} to {n_users * most}; change one of the three"
        )
    rng = np.random.default_rng(seed)
    catalogue = _make_catalogue(rng, n_items)
    events = _make_events(rng, _make_counts(rng, n_ratings, n_users, most))
    item, liked = _choose_items(rng, catalogue, events)
    user_ids, item_ids = _make_ids(rng, n_users), _make_ids(rng, n_items)
    kind, good, mood = (rng.standard_normal(n, np.float32) for n in (n_users, n_items, n_ratings))
    stars = 3.2 + 0.5 * liked + 0.4 * kind[events.user] + 0.5 * good[item] + 0.8 * mood
    ratings = pd.DataFrame(
        {
            "user_id": user_ids[events.user],
            "item_id": item_ids[item],
            "rating": np.clip(np.rint(stars * 2) / 2, 0.5, 5).astype(np.float32),
            "timestamp": START + events.seconds.astype("timedelta64[s]"),
        }
    )
    ratings["timestamp"] = ratings["timestamp"].dt.tz_localize("UTC")
    order = np.argsort(user_ids[events.user] * (item_ids.max() + 1) + item_ids[item])
    return ratings.take(order).reset_index(drop=True), _name_items(rng, catalogue, item_ids)


def _make_ids(rng: np.random.Generator, n: int) -> Ints:
    """Make n distinct ids from 1 in random order, about every second number left out."""
    return np.cumsum(rng.integers(1, 4, n))[np.argsort(rng.random(n))]


def _apportion(total: int, weights: Floats) -> Ints:
    """Share out a total in whole numbers, in proportion to the weights."""
    edges = np.cumsum(weights)
    return np.diff(np.rint(edges * (total / edges[-1])), prepend=0).astype(np.int64)


def _make_catalogue(rng: np.random.Generator, n_items: int) -> _Catalogue:
    """Plan the items: clusters of about 160 or more, of series; 3 in 10 items are released late."""
    n_clusters = min(max(n_items // 160, 1), len(GENRES.split()))
    sizes = _apportion(n_items, 1 + rng.random(n_clusters))
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    heads = (np.arange(n_items) - np.repeat(bounds[:-1], sizes)) % SERIES == 0
    series = np.cumsum(heads) - 1
    age = np.minimum(1 - 4_500 * np.log1p(-rng.random(n_items)), 30_000)  # 12 years on average
    is_new = np.argsort(rng.random(n_items)) < int(0.3 * n_items)
    release = np.where(is_new, DAYS * rng.random(n_items), -age)
    release = release[np.lexsort((release, series))]
    revival = (DAYS + 60) * rng.random(n_items) - 60
    luck = rng.standard_normal(n_items) + rng.standard_normal(n_items)[series]
    return _Catalogue(
        bounds=bounds,
        first=np.flatnonzero(heads)[series],
        size=np.bincount(series)[series],
        release=release,
        moment=np.where(release < 0, revival, release),
        fame=1 / (np.argsort(np.argsort(luck)) + 3) ** 1.4,  # as Zipf has it
    )


def _make_counts(rng: np.random.Generator, n_ratings: int, n_users: int, most: int) -> Ints:
    """Give each user's number of ratings: a minimum of 20 if possible and a log-normal rest."""
    least = max(1, min(20, n_ratings // (2 * n_users)))
    eagerness: Floats = np.exp(rng.standard_normal(n_users))
    counts = np.minimum(least + _apportion(n_ratings - least * n_users, eagerness), most)
    room = most - counts + 1e-9  # weights must not all be 0
    counts += _apportion(n_ratings - int(counts.sum()), room)
    return counts


def _make_events(rng: np.random.Generator, counts: Ints) -> _Events:
    """Spread ratings over time: most users come once, the others return over months."""
    n_users, n_ratings = len(counts), int(counts.sum())
    n_sittings = np.where(rng.random(n_users) < 0.4, rng.integers(3, 10, n_users), 1)
    begin = np.cumsum(n_sittings) - n_sittings  # position of each user's first sitting
    visitor = np.repeat(np.arange(n_users), n_sittings)
    arrival = DAYS * rng.random(n_users)[visitor]
    later = rng.random(len(visitor))
    later[begin] = 0
    start = arrival + (DAYS - arrival) * later[np.lexsort((later, visitor))]

    user = np.repeat(np.arange(n_users), counts)
    row = np.arange(n_ratings)
    done = (row - np.repeat(np.cumsum(counts) - counts, counts)) / counts[user]
    sitting = begin[user] + (n_sittings[user] * done**1.5).astype(np.int64)  # the first is longest
    opens = np.diff(sitting, prepend=-1) != 0
    # Ratings are sent a page at a time: about 1 - 0.45^2 = 80% share their timestamp.
    turns = rng.random(n_ratings) < 0.45
    clock = np.cumsum(np.where(turns, rng.integers(5, 120, n_ratings), 0))
    clock -= clock[np.maximum.accumulate(np.where(opens, row, 0))]
    clock += (86_400 * start).astype(np.int64)[sitting]
    step = (start / STEP).astype(np.int16)[sitting]
    return _Events(user, opens, step, clock)


def _choose_items(
    rng: np.random.Generator, catalogue: _Catalogue, events: _Events
) -> tuple[Ints, Bools]:
    """Choose an item row for each event, and say whether it is to the user's taste."""
    user, n_clusters, n_items = events.user, len(catalogue.bounds) - 1, len(catalogue.fame)
    tastes = (n_clusters * rng.random((user[-1] + 1, 2)) ** 2).astype(np.int64)
    mood = rng.random(len(user))
    cluster = np.where(mood < 0.65, tastes[user, 0], tastes[user, 1])
    cluster = np.where(mood < 0.85, cluster, rng.integers(0, n_clusters, len(user)))
    item = _draw(rng, catalogue, cluster, events.step)
    item = _follow_series(rng, catalogue, events, item)
    here, evenness = np.arange(len(user)), 0
    while len(here):  # draw repeats again, each time further into the tail
        keys = user[here] * n_items + item[here]
        order = np.argsort(keys, kind="stable")
        again = here[order[np.diff(keys[order], prepend=-1) == 0]]
        evenness += 1
        if evenness > 4:
            cluster[again] = rng.integers(0, n_clusters, len(again))
        item[again] = _draw(rng, catalogue, cluster[again], events.step[again], evenness)
        here = np.flatnonzero(np.bincount(user[again], minlength=user[-1] + 1)[user])
    taste = np.searchsorted(catalogue.bounds, item, side="right") - 1
    return item, (tastes[user] == taste[:, None]).any(axis=1)


def _draw(
    rng: np.random.Generator, catalogue: _Catalogue, cluster: Ints, step: Steps, evenness: int = 0
) -> Ints:
    """Draw an item for each pair of cluster and step by popularity, flatter with more evenness."""
    item = np.empty(len(step), np.int64)
    order = np.argsort(step, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(step[order])) + 1) if len(order) else []
    for here in groups:
        weights = catalogue.popularity(int(step[here[0]]) * STEP) ** (1 / (1 + evenness))
        edges = np.concatenate(([0], np.cumsum(weights)))
        marks = edges[catalogue.bounds]
        low, high = marks[cluster[here]], marks[cluster[here] + 1]
        spot = low + (high - low) * rng.random(len(here))
        spot = np.minimum(spot, np.nextafter(high, 0))  # rounding must not reach the next cluster
        item[here] = np.searchsorted(edges, spot, side="right") - 1  # passes over weights of 0
    return item


def _follow_series(
    rng: np.random.Generator, catalogue: _Catalogue, events: _Events, item: Ints
) -> Ints:
    """Let half of the events continue the series of the one before in the same sitting."""
    follows = ~events.opens & (rng.random(len(item)) < 0.5)
    row = np.arange(len(item))
    origin = np.maximum.accumulate(np.where(follows, 0, row))
    first, size = catalogue.first[item[origin]], catalogue.size[item[origin]]
    sequel = first + (item[origin] - first + row - origin) % size
    follows &= catalogue.release[sequel] <= events.step * STEP
    return np.where(follows & (row - origin < size), sequel, item)


def _name_items(rng: np.random.Generator, catalogue: _Catalogue, item_ids: Ints) -> pd.DataFrame:
    """Give items the genre of their cluster, often a second one, and a title with its part."""
    genres, n_items = GENRES.split(), len(item_ids)
    cluster = np.repeat(np.arange(len(catalogue.bounds) - 1), np.diff(catalogue.bounds))
    other = (cluster + rng.integers(1, len(genres), n_items)) % len(genres)
    shown = np.where(rng.random(n_items) < 0.4, 2, 1)
    days = np.floor(catalogue.release).astype("timedelta64[D]")
    part = np.arange(n_items) - catalogue.first + 1
    series = np.cumsum(part == 1) - 1
    words = [text.split() for text in TITLE_WORDS]
    items = pd.DataFrame({"item_id": item_ids})
    items["title"] = [
        " ".join([*(w[s % len(w)] for w in words), str(p)])
        for s, p in zip(series, part, strict=True)
    ]
    items["genres"] = [
        (genres[c], genres[o])[:n] for c, o, n in zip(cluster, other, shown, strict=True)
    ]
    items["year"] = (START + days).astype("datetime64[Y]").astype(np.int64) + 1970
    return items.sort_values("item_id", ignore_index=True)


def write(folder: Path, ratings: pd.DataFrame, items: pd.DataFrame, *, seed: int) -> None:
    """Write `ratings.csv` and `movies.csv` as MovieLens has them, and a `README.txt`."""
    ratings = ratings.astype({"timestamp": "int64"})
    titles = items["title"] + " (" + items["year"].astype(str) + ")"
    movies = items.assign(title=titles, genres=items["genres"].str.join("|")).drop(columns="year")
    folder.mkdir(parents=True, exist_ok=True)
    names = {"user_id": "userId", "item_id": "movieId"}
    for name, frame in (("ratings.csv", ratings), ("movies.csv", movies)):
        frame.rename(columns=names).to_csv(folder / name, index=False, lineterminator="\n")
    call = f"{len(ratings)}, seed={seed}"
    (folder / "README.txt").write_bytes(README.format(call=call).encode())


if __name__ == "__main__":
    made = generate(SAMPLE_RATINGS, seed=SAMPLE_SEED)
    write(Path("data/sample"), *made, seed=SAMPLE_SEED)
