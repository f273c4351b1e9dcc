"""Choose what no default fits: how long to train, and how to read the vectors out."""

from __future__ import annotations

import itertools
import logging
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.splits import calibration_split, draw_users
from recsys.errors import DataError
from recsys.search.exact import top_k
from recsys.vectors.audience import audience_vectors
from recsys.vectors.item2vec import train_vectors
from recsys.vectors.readout import (
    audience_averages,
    audience_columns,
    item_columns,
    log_popularity,
    popularity_weights,
    queries,
    rarity,
)
from recsys.vectors.users import user_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt

    from recsys.data.events import Events
    from recsys.data.sequences import Sequences
    from recsys.data.splits import Cases, Split
    from recsys.vectors.item2vec import ItemVectors

    Floats = npt.NDArray[np.float32]
    Train = Callable[[Sequences, Mapping[str, Any]], ItemVectors]
    Grid = dict[str, tuple[Any, ...]]

logger = logging.getLogger(__name__)

# What is tried, and what is used where nothing can be tried. popularity_days None = all-time.
GRID: Grid = {
    "epochs": (20, 40),
    "half_life": (1.0, 2.0, 4.0, 8.0),
    "popularity_days": (None, 30.0, 7.0),
    "popularity_weight": (0.0, 0.25, 0.5, 1.0, 2.0),
    "stale_popularity_weight": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
    "audience_weight": (0.0, 2.0, 5.0, 10.0, 20.0),
}
DEFAULTS: dict[str, Any] = {
    "epochs": 20,
    "half_life": 3.0,
    "popularity_days": None,
    "popularity_weight": 0.0,
    "stale_popularity_weight": 0.0,
    "audience_weight": 5.0,
}
K = 20
# Among popularity weights whose recall is within this share of the best, choose the smallest.
AS_GOOD = 0.005
# Audience vectors are weighed by what is found from the first few items of a history and from all,
# as long as all of it finds as much but for this share; less where only last events can be asked
# for, which long histories answer best.
BEGINNINGS, WHOLE_AS_GOOD = (1, 2, 5, 10), {"fold-in": 0.03, "last-out": 0.01}
# Above this many events, users are drawn at random until they have about this many, and the number
# of epochs falls with the root of the amount of data, down to FEWEST_EPOCHS.
MAX_EVENTS, FEWEST_EPOCHS = 1_000_000, 3
# Scores held at a time, 8 MB of float32.
BLOCK = 1 << 21


def default_epochs(n_ratings: int) -> int:
    """Return how many epochs to train where nothing was tried: less often on much data.

    Examples
    --------
    >>> [default_epochs(n) for n in (100_000, 1_000_000, 10_000_000, 32_000_000)]
    [20, 20, 6, 4]
    """
    epochs: float = DEFAULTS["epochs"] / math.sqrt(max(1.0, n_ratings / MAX_EVENTS))
    return max(FEWEST_EPOCHS, round(epochs))


def calibrate(
    events: Events, params: dict[str, Any], *, train: Train = train_vectors
) -> dict[str, Any]:
    """Choose every setting in `GRID` that is None, on the latest part of the events.

    Trains on the earlier part (`recsys.data.splits.calibration_split`) once for each number of
    epochs and takes what maximises recall@20, averaged over the protocols. The weights of
    popularity are chosen then: `popularity_weight` by the users who are active now (`fold-in`),
    `stale_popularity_weight` by those who return (`warm`); `audience_weight` last, by what is found
    for users active now if only their first items were known. Above MAX_EVENTS ratings, epochs are
    not tried but `default_epochs`.

    Parameters
    ----------
    events, params, train
        Those of `recsys.model.fit.fit_model`.

    Returns
    -------
    dict
        JSON-able: `chosen`, the settings; and the evidence: `users` per protocol, `recall@20` of
        the choice, and in `tried` the best weights of every other setting with their recall; in
        `beginnings`, the recall with each audience weight after 1, 2, 5, 10 and all items. Where
        there is too little data, `chosen` holds the defaults and `skipped` says why.
    """
    from tqdm import tqdm

    started = time.perf_counter()
    fixed = {name: params[name] for name in GRID if params[name] is not None}
    if params["scoring"] == "cosine":  # so close together that popularity is all or nothing
        weights = ("popularity_weight", "stale_popularity_weight", "audience_weight")
        fixed = dict.fromkeys(weights, 0.0) | fixed
    open_names = [name for name in GRID if name not in fixed]
    grid = GRID | {name: (value,) for name, value in fixed.items()}
    if not open_names:
        return {"chosen": {}, "skipped": "every setting was given"}
    by_rule, large = default_epochs(len(events)), len(events) > MAX_EVENTS
    if large:  # how much training is enough depends on the amount of data: a part cannot tell
        drawn = np.zeros(len(events.sequences), bool)
        drawn[draw_users(events.sequences, MAX_EVENTS)] = True
        events = events.where(drawn[events.sequences.user_rows])
        grid = grid | {"epochs": (fixed.get("epochs", DEFAULTS["epochs"]),)}
    try:
        split = calibration_split(events, min_rating=params["min_rating"])
        total = math.prod(len(grid[name]) for name in ("epochs", "half_life", "popularity_days"))
        part = _Part(split, params, train)
        steps = _try_all(part, grid)
        tried = list(tqdm(steps, desc="calibrate", total=total, delay=2, disable=None))
    except DataError as error:
        logger.info("nothing is calibrated: %s", error)
        defaults = DEFAULTS | {"epochs": by_rule}
        chosen = {name: defaults[name] for name in open_names}
        return {"chosen": chosen, "skipped": str(error)}
    best = max(tried, key=lambda row: float(np.mean(list(row["recall@20"].values()))))
    beginnings = _try_audience(part, best, grid)
    best = best | {"audience_weight": _best_beginnings(beginnings, WHOLE_AS_GOOD[part.here])}
    if large:
        best = best | {"epochs": by_rule}
    cutoff = None if split.cutoff is None else f"{np.datetime64(split.cutoff, 's')}+00:00"
    return {
        "chosen": {name: best[name] for name in open_names},
        "recall@20": best["recall@20"],
        "users": {protocol: len(case) for protocol, case in split.protocols.items()},
        "cutoff": cutoff,
        "n_train": len(split.train),
        "tried": tried,
        "beginnings": [{"audience_weight": w, "recall@20": r} for w, r in beginnings.items()],
        "seconds": time.perf_counter() - started,
    }


class _Part:
    """The earlier part of a split, what was trained on it, and the users to find items for."""

    def __init__(self, split: Split, params: dict[str, Any], train: Train) -> None:
        self.params, self.now = params, split.train.now  # None without times
        self.earlier = split.train.where(split.train.liked(params["min_rating"])).compact()
        self.kept = np.flatnonzero(self.earlier.sequences.counts() >= params["min_count"])
        self._split, self._train = split, train
        self._trained: dict[int, ItemVectors] = {}

    def trained(self, epochs: int) -> ItemVectors:
        """Train, but for each number of epochs once."""
        if epochs not in self._trained:
            settings = self.params | {"epochs": epochs}
            self._trained[epochs] = trained = self._train(self.earlier.sequences, settings)
            if len(self._trained) == 1:  # the same items whatever the number of epochs
                self._lay_out(trained.item_ids)
        return self._trained[epochs]

    def _lay_out(self, item_ids: npt.NDArray[Any]) -> None:
        self.histories = self.earlier.sequences.recode(item_ids)
        self.rarities = rarity(self.histories.counts(), self.params["discount"])
        self.n_users = {name: len(case) for name, case in self._split.protocols.items()}
        self.known: dict[str, Cases] = {}
        for name, case in self._split.protocols.items():
            over = case.recode(item_ids)
            self.known[name] = over.take_users(np.flatnonzero(over.histories.lengths > 0))

    @property
    def here(self) -> str:
        """The protocol whose users are active now."""
        return "fold-in" if "fold-in" in self.known else "last-out"

    def popularity(self, days: float | None) -> Floats:
        recent = None
        if days is not None and self.now is not None:
            recent = self.earlier.recent_counts(days, self.now)[self.kept]
        return log_popularity(self.histories.counts(), recent)

    def ask(self, name: str, case: Cases, vectors: Floats, half_life: Any, popular: Any) -> _Asked:
        """Turn the histories of a case of a protocol into queries without the audience block."""
        averaging = {"half_life": half_life, "item_weights": self.rarities}
        averaged = user_vectors(case.histories, vectors, **averaging)
        nothing, weights = np.empty((len(case), 0), np.float32), np.full(len(case), popular)
        users = queries(averaged, nothing, weights, scoring=self.params["scoring"])
        return _Asked(case, self.n_users[name], users)


def _try_all(part: _Part, grid: Grid) -> Iterator[dict[str, Any]]:
    """Measure all epochs, half-lives and windows of popularity, each at its best weights."""
    for epochs, half_life in itertools.product(grid["epochs"], grid["half_life"]):
        trained = part.trained(epochs)
        columns = item_columns(trained, part.histories, part.params | {"half_life": half_life})
        asked = {
            name: part.ask(name, case, trained.vectors, half_life, 0.0)
            for name, case in part.known.items()
        }
        for days in (None,) if part.now is None else grid["popularity_days"]:
            readout = np.column_stack([columns, part.popularity(days)])
            tried = {"epochs": epochs, "half_life": half_life, "popularity_days": days}
            yield tried | _best_weights(asked, readout, grid)


def _best_weights(asked: dict[str, _Asked], readout: Floats, grid: Grid) -> dict[str, Any]:
    """Choose how much popularity counts for users active now, then for those who return."""
    here = "fold-in" if "fold-in" in asked else "last-out"
    fresh_ones, stale_ones = grid["popularity_weight"], grid["stale_popularity_weight"]
    weights = [np.full(len(asked[here].case), fresh) for fresh in fresh_ones]
    popularity = readout[:, -1:]
    recalls = asked[here].recalls(readout, popularity, weights)
    fresh, found = _smallest_of_the_best(fresh_ones, recalls, here)
    if here == "last-out":
        stale = stale_ones[0] if len(stale_ones) == 1 else fresh
    else:
        staleness = asked["warm"].case.staleness
        weights = [popularity_weights(staleness, fresh=fresh, stale=stale) for stale in stale_ones]
        recalls = asked["warm"].recalls(readout, popularity, weights)
        stale, came_back = _smallest_of_the_best(stale_ones, recalls, "warm")
        found = came_back | found
    return {"popularity_weight": fresh, "stale_popularity_weight": stale, "recall@20": found}


def _smallest_of_the_best(
    weights: tuple[float, ...], recalls: list[float], protocol: str
) -> tuple[float, dict[str, float]]:
    """Return the first weight whose recall is as good as the best, and that recall by protocol."""
    best = int(np.argmax(np.array(recalls) >= (1 - AS_GOOD) * max(recalls)))
    return weights[best], {protocol: recalls[best]}


def _try_audience(part: _Part, best: dict[str, Any], grid: Grid) -> dict[float, list[float]]:
    """Measure each audience weight after the first items of the users active now, and all items."""
    trained, histories = part.trained(best["epochs"]), part.histories
    columns = item_columns(trained, histories, part.params | best)
    readout = np.column_stack([columns, part.popularity(best["popularity_days"])])
    audience = audience_vectors(trained.vectors, histories)
    answers = audience_columns(audience, histories, part.params)
    vectors, known = audience[:, : answers.shape[1]], part.known[part.here]
    place = np.arange(len(known.histories.codes))
    place -= np.repeat(known.histories.offsets[:-1], known.histories.lengths)
    found: dict[float, list[float]] = {weight: [] for weight in grid["audience_weight"]}
    for n in (*BEGINNINGS, len(place)):
        case = replace(known, histories=known.histories.where(place < n))
        weights = [np.full(len(case), weight) for weight in found]
        asking = audience_averages(case.histories, vectors, part.rarities, 1.0)
        asked = part.ask(
            part.here, case, trained.vectors, best["half_life"], best["popularity_weight"]
        )
        for row, recall in zip(
            found.values(), asked.recalls(readout, answers, weights, asking), strict=True
        ):
            row.append(recall)
    return found


def _best_beginnings(found: dict[float, list[float]], share: float) -> float:
    """Return the weight that finds most from beginnings, of those as good for whole histories."""
    enough = (1 - share) * max(recalls[-1] for recalls in found.values())
    as_good = {weight: sum(recalls) for weight, recalls in found.items() if recalls[-1] >= enough}
    return max(as_good, key=lambda weight: as_good[weight])


@dataclass(frozen=True)
class _Asked:
    """The users of one protocol that can be served, and their queries, asked again and again."""

    case: Cases
    n_users: int  # of the protocol; those who cannot be served count as 0
    queries: Floats

    def recalls(
        self,
        readout: Floats,
        weighed: Floats,
        weights: list[npt.NDArray[np.float64]],
        asking: Floats | None = None,
    ) -> list[float]:
        """Return the mean recall@20 for each list of weights, one weight a user.

        They weigh the columns `weighed`, (n_items, m), beside the `readout`, in the product with
        `asking`, (n_users, m); None = 1 for all, for one column.
        """
        sums = [0.0] * len(weights)
        size = max(1, BLOCK // len(readout))
        for start in range(0, len(self.case), size):
            users = np.arange(start, min(start + size, len(self.case)))
            part = self.case.take_users(users)
            taste = self.queries[users] @ readout.T
            taste[part.watched.user_rows, part.watched.codes] = -np.inf
            other = weighed[:, 0] if asking is None else asking[users] @ weighed.T
            for i, weight in enumerate(weights):
                scores = weight[users, None].astype(np.float32) * other
                scores += taste
                floor = top_k(scores, K)[1][:, -1]
                wanted = scores[part.targets.user_rows, part.targets.codes]
                hits = (wanted >= floor[part.targets.user_rows]) & (wanted > -np.inf)
                found = np.bincount(part.targets.user_rows[hits], minlength=len(users))
                sums[i] += float((found / part.n_targets).sum())
        return [total / self.n_users for total in sums]
