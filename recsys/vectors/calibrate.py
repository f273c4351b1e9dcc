"""Choose what no default fits: how to read the vectors out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.splits import calibration_split, draw_users
from recsys.errors import DataError
from recsys.progress import each, part
from recsys.vectors.audience import audience_vectors
from recsys.vectors.item2vec import complete_training, train_vectors
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
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from recsys.data.events import Events
    from recsys.data.sequences import Sequences as Histories
    from recsys.data.splits import Cases, Split
    from recsys.vectors.item2vec import ItemVectors

    Floats = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]
    Train = Callable[[Histories, Mapping[str, Any]], ItemVectors]
    Grid = dict[str, tuple[Any, ...]]

logger = logging.getLogger(__name__)

# What is tried, and what is used where nothing can be tried. popularity_days None = all-time.
GRID: Grid = {
    "half_life": (1.0, 2.0, 4.0, 8.0),
    "popularity_days": (None, 30.0, 7.0),
    "popularity_weight": (0.0, 0.25, 0.5, 1.0, 2.0),
    "stale_popularity_weight": (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
    "audience_weight": (0.0, 2.0, 5.0, 10.0, 20.0),
}
DEFAULTS: dict[str, Any] = {
    "half_life": 3.0,
    "popularity_days": None,
    "popularity_weight": 0.0,
    "stale_popularity_weight": 0.0,
    "audience_weight": 5.0,
}
K = 20
# Among popularity weights whose recall is within this share of the best, choose the smallest for
# users active now, and the largest for those who return: they are few, so that the best is chance,
# and what is popular is the safer guess.
AS_GOOD, AS_GOOD_FOR_STALE = 0.005, 0.02
# A window or half-life is better than those before it from this share on.
BETTER = 0.01
# Audience vectors are weighed by what is found from the first few items of a history and from all,
# as long as all of it finds as much but for this share; less where only last events can be asked
# for, which long histories answer best.
BEGINNINGS, WHOLE_AS_GOOD = (1, 2, 5, 10), {"fold-in": 0.03, "last-out": 0.01}
# Above this many events, users are drawn at random until they have about this many.
MAX_EVENTS = 1_000_000
# Scores held at a time, 8 MB of float32.
BLOCK = 1 << 21


def calibrate(
    events: Events, params: dict[str, Any], *, train: Train = train_vectors
) -> dict[str, Any]:
    """Choose every setting in `GRID` that is None, on the latest part of the events.

    Trains once, on the earlier part (`recsys.data.splits.calibration_split`), and takes what
    finds most (recall@20, averaged over the protocols): first the window of popularity, then the
    half-life, each only if it finds 1% more than those before it. With each of them the weights of
    popularity are chosen: `popularity_weight` by the users who are active now (`fold-in`),
    `stale_popularity_weight` by those who return (`warm`); `audience_weight` last, by what is found
    for users active now if only their first items were known.

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
    started = time.perf_counter()
    fixed = {name: params[name] for name in GRID if params[name] is not None}
    if params["scoring"] == "cosine":  # so close together that popularity is all or nothing
        weights = ("popularity_weight", "stale_popularity_weight", "audience_weight")
        fixed = dict.fromkeys(weights, 0.0) | fixed
    open_names = [name for name in GRID if name not in fixed]
    grid = GRID | {name: (value,) for name, value in fixed.items()}
    if not open_names:
        return {"chosen": {}, "skipped": "every setting was given"}
    if len(events) > MAX_EVENTS:
        drawn = np.zeros(len(events.sequences), bool)
        drawn[draw_users(events.sequences, MAX_EVENTS)] = True
        events = events.where(drawn[events.sequences.user_rows])
    try:
        split = calibration_split(events, min_rating=params["min_rating"])
        tried = _Part(split, params, train, grid)
    except DataError as error:
        logger.info("nothing is calibrated: %s", error)
        return {"chosen": {name: DEFAULTS[name] for name in open_names}, "skipped": str(error)}
    best, beginnings = tried.best, tried.beginnings()
    best = best | {"audience_weight": _best_beginnings(beginnings, WHOLE_AS_GOOD[tried.here])}
    cutoff = None if split.cutoff is None else f"{np.datetime64(split.cutoff, 's')}+00:00"
    return {
        "chosen": {name: best[name] for name in open_names},
        "recall@20": best["recall@20"],
        "users": {protocol: len(case) for protocol, case in split.protocols.items()},
        "cutoff": cutoff,
        "n_train": len(split.train),
        "tried": tried.rows,
        "beginnings": [{"audience_weight": w, "recall@20": r} for w, r in beginnings.items()],
        "seconds": time.perf_counter() - started,
    }


class _Part:
    """The earlier part of a split, what was trained on it, and the users to find items for.

    `rows` has what was tried, `best` the best of it.
    """

    def __init__(self, split: Split, params: dict[str, Any], train: Train, grid: Grid) -> None:
        self.params, self.grid = params, grid
        self.now, self.here = split.train.now, list(split.protocols)[-1]
        self.earlier = split.train.where(split.train.liked(params["min_rating"])).compact()
        self.kept = np.flatnonzero(self.earlier.sequences.counts() >= params["min_count"])
        with part(0.5):
            settings = complete_training(params, self.earlier.sequences)
            self.trained = train(self.earlier.sequences, settings)
        self.histories = self.earlier.sequences.recode(self.trained.item_ids)
        self.rarities = rarity(self.histories.counts(), params["discount"])
        self.n_users = {name: len(case) for name, case in split.protocols.items()}
        self.known: dict[str, Cases] = {}
        for name, case in split.protocols.items():
            over = case.recode(self.trained.item_ids)
            self.known[name] = over.take_users(np.flatnonzero(over.histories.lengths > 0))
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self._columns: Floats = np.empty((0, 0), np.float32)  # those of the best half-life
        windows = grid["popularity_days"] if self.now is not None else (None,)
        with part(0.85):
            self._search(grid["half_life"], windows)

    def _search(self, half_lives: Sequence[float], windows: Sequence[float | None]) -> None:
        """Choose the window at the half-life in the middle, then go on while others are better."""
        middle = len(half_lives) // 2
        self._try(half_lives[middle], windows)
        for side in (half_lives[:middle][::-1], half_lives[middle + 1 :]):
            for half_life in side:
                if not self._try(half_life, [self.best["popularity_days"]]):
                    break
            if self.best["half_life"] != half_lives[middle]:
                break

    def _try(self, half_life: float, windows: Sequence[float | None]) -> bool:
        """Measure windows with one half-life, each at its best weights; True if one is the best."""
        before = self.best
        columns = item_columns(self.trained, self.histories, self.params | {"half_life": half_life})
        asked = {name: self.ask(name, case, half_life, 0.0) for name, case in self.known.items()}
        for days in windows:
            readout = np.column_stack([columns, self.popularity(days)])
            weights = self._best_weights(asked, readout)
            self.rows.append({"half_life": half_life, "popularity_days": days} | weights)
            if not self.best or _mean(self.rows[-1]) > (1 + BETTER) * _mean(self.best):
                self.best, self._columns = self.rows[-1], columns
        return self.best is not before

    def popularity(self, days: float | None) -> Floats:
        recent = None
        if days is not None and self.now is not None:
            recent = self.earlier.recent_counts(days, self.now)[self.kept]
        return log_popularity(self.histories.counts(), recent)

    def ask(self, name: str, case: Cases, half_life: float, popular: float) -> _Asked:
        """Turn the histories of a case of a protocol into queries without the audience block."""
        averaged = user_vectors(
            case.histories, self.trained.vectors, half_life=half_life, item_weights=self.rarities
        )
        nothing, weights = np.empty((len(case), 0), np.float32), np.full(len(case), popular)
        users = queries(averaged, nothing, weights, scoring=self.params["scoring"])
        return _Asked(case, self.n_users[name], users)

    def _best_weights(self, asked: dict[str, _Asked], readout: Floats) -> dict[str, Any]:
        """Choose how much popularity counts for users active now, then for those who return."""
        fresh_ones = self.grid["popularity_weight"]
        stale_ones = self.grid["stale_popularity_weight"]
        weights = [np.full(len(asked[self.here].case), fresh) for fresh in fresh_ones]
        popularity = readout[:, -1:]
        recalls = asked[self.here].recalls(readout, popularity, weights)
        fresh, found = _of_the_best(fresh_ones, recalls, self.here)
        if self.here == "last-out":
            stale = stale_ones[0] if len(stale_ones) == 1 else fresh
        else:
            days = asked["warm"].case.staleness
            weights = [popularity_weights(days, fresh=fresh, stale=stale) for stale in stale_ones]
            recalls = asked["warm"].recalls(readout, popularity, weights)
            stale, came_back = _of_the_best(stale_ones, recalls, "warm")
            found = came_back | found
        return {"popularity_weight": fresh, "stale_popularity_weight": stale, "recall@20": found}

    def beginnings(self) -> dict[float, list[float]]:
        """Measure each audience weight after the first items of the users active now, and all."""
        best = self.best
        found: dict[float, list[float]] = {weight: [] for weight in self.grid["audience_weight"]}
        readout = np.column_stack([self._columns, self.popularity(best["popularity_days"])])
        audience = audience_vectors(self.trained.vectors, self.histories)
        answers = audience_columns(audience, self.histories, self.params)
        vectors, known = audience[:, : answers.shape[1]], self.known[self.here]
        place = np.arange(len(known.histories.codes))
        place -= np.repeat(known.histories.offsets[:-1], known.histories.lengths)
        for n in each((*BEGINNINGS, len(place))):
            case = replace(known, histories=known.histories.where(place < n))
            weights = [np.full(len(case), weight) for weight in found]
            asking = audience_averages(case.histories, vectors, self.rarities, 1.0)
            asked = self.ask(self.here, case, best["half_life"], best["popularity_weight"])
            for row, recall in zip(
                found.values(), asked.recalls(readout, answers, weights, asking), strict=True
            ):
                row.append(recall)
        return found


def _mean(row: dict[str, Any]) -> float:
    return float(np.mean(list(row["recall@20"].values())))


def _of_the_best(
    weights: tuple[float, ...], recalls: list[float], protocol: str
) -> tuple[float, dict[str, float]]:
    """Return a weight whose recall is as good as the best, and that recall by protocol."""
    share, place = (AS_GOOD_FOR_STALE, -1) if protocol == "warm" and any(recalls) else (AS_GOOD, 0)
    best = np.flatnonzero(np.array(recalls) >= (1 - share) * max(recalls))[place]
    return weights[best], {protocol: recalls[best]}


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
            case = self.case.take_users(users)
            taste = self.queries[users] @ readout.T
            taste[case.watched.user_rows, case.watched.codes] = -np.inf
            other = weighed[:, 0] if asking is None else asking[users] @ weighed.T
            for i, weight in enumerate(weights):
                scores = weight[users, None].astype(np.float32) * other
                scores += taste
                wanted = scores[case.targets.user_rows, case.targets.codes]
                hits = _among_best(scores, wanted, case.targets.user_rows) & (wanted > -np.inf)
                found = np.bincount(case.targets.user_rows[hits], minlength=len(users))
                sums[i] += float((found / case.n_targets).sum())
        return [total / self.n_users for total in sums]


def _among_best(scores: Floats, wanted: Floats, users: npt.NDArray[np.int64]) -> Mask:
    """Tell which wanted scores are among the K best of their user, whose row may be reordered."""
    if len(users) <= len(scores):  # of a target each: counting is faster
        return np.asarray(np.count_nonzero(scores[users] > wanted[:, None], axis=1) < K)
    place = max(0, scores.shape[1] - K)
    scores.partition(place, axis=1)  # the K best stand last
    return np.asarray(wanted >= scores[users, place])
