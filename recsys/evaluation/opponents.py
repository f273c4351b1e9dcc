"""Give the baselines their best chance: choose their settings inside the training part.

The slice they are chosen on is the one that our own model is calibrated on
(`recsys.data.splits.calibration_split`); nothing from after the cutoff is seen.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from recsys.data.frames import TIMESTAMP
from recsys.data.sequences import build_sequences, recent_counts
from recsys.data.splits import calibration_split, liked
from recsys.errors import DataError
from recsys.evaluation import peers
from recsys.evaluation.baselines import (
    HALF_LIFE,
    ease,
    item_knn,
    markov,
    plus_popularity,
    popularity,
    random,
    recent_popularity,
    svd,
    user_to_user,
)
from recsys.evaluation.measure import contender_of_baseline, recall_of
from recsys.vectors.readout import rarity
from recsys.vectors.users import user_vectors
from recsys.vectors.walks import train_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import pandas as pd

    from recsys.data.sequences import Sequences
    from recsys.data.splits import Cases
    from recsys.evaluation.baselines import Baseline, HistoryBaseline
    from recsys.evaluation.measure import Contender
    from recsys.recommender import Recommender

    Counts = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

# What is chosen from; the first of each is what is used where nothing can be chosen.
HALF_LIVES = (HALF_LIFE, 1.0, 10.0, None)
DAYS = (30, 7)
WEIGHTS = (0.25, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
NEIGHBOURS = (50, 5, 10, 20, 100, 200, 500)
# By recall at this length.
K = 20
# EASE inverts a dense (n_items, n_items) matrix, 3 GB in float64 at this size.
EASE_LIMIT = 20_000
# Above this many items the settings that need another fit are not searched, for the time it takes.
SEARCH_LIMIT = 3_000


@dataclass(frozen=True)
class Opponent:
    """A baseline that takes histories, and the settings that it may be fitted with.

    Attributes
    ----------
    fit : function (train, **settings) -> score
    settings : list of dict
        The first is the default.
    """

    fit: Callable[..., HistoryBaseline]
    settings: list[dict[str, Any]]


OPPONENTS = {
    "item-knn": Opponent(item_knn, [{"shrinkage": x} for x in (5.0, 0.0, 20.0, 100.0)]),
    "svd": Opponent(svd, [{"n_components": x} for x in (32, 16, 64, 128)]),
    "ease": Opponent(ease, [{"penalty": x} for x in (500.0, 100.0, 250.0, 1000.0)]),
    "markov": Opponent(markov, [{}]),
}
PEERS = {
    "als": Opponent(
        peers.als,
        [{"factors": f, "alpha": a} for f, a in product((32, 16, 64), (1.0, 10.0))],
    ),
    "bpr": Opponent(peers.bpr, [{"factors": f} for f in (64, 32, 128)]),
    "bm25": Opponent(
        peers.bm25,
        [{"n_neighbours": n, "b": b} for n, b in product((200, 50, 1000), (0.75, 0.25))],
    ),
}


@dataclass(frozen=True)
class Part:
    """Interactions to fit on.

    Attributes
    ----------
    sequences : Sequences
    recent : dict of days -> int64 array, shape (n_items,)
        Events of the last so many days; None = of all days. Without times there is only None.
    """

    sequences: Sequences
    recent: dict[int | None, Counts]

    @classmethod
    def of(cls, ratings: pd.DataFrame, cutoff: pd.Timestamp | None) -> Part:
        """Count what was popular before `cutoff`, or before the end where there is none."""
        sequences = build_sequences(ratings)
        recent: dict[int | None, Counts] = {}
        if TIMESTAMP in ratings:
            now = int((ratings[TIMESTAMP].max() if cutoff is None else cutoff).timestamp())
            for days in DAYS:
                recent[days] = recent_counts(ratings, sequences.item_ids, days=days, now=now)
        return cls(sequences, recent | {None: sequences.counts()})


@dataclass(frozen=True)
class Slice:
    """Where settings are chosen: an earlier part to fit on, and users to find items for."""

    part: Part
    cases: dict[str, Cases]

    @classmethod
    def of(cls, train: pd.DataFrame, min_rating: float | None) -> Slice | None:
        """Split the training part once more; None where it is too small for that."""
        try:
            earlier, protocols, cutoff = calibration_split(train, min_rating=min_rating)
            part = Part.of(earlier[liked(earlier, min_rating)], cutoff)
        except DataError as error:
            logger.info("the opponents have their default settings: %s", error)
            return None
        return cls(part, protocols)

    def recall(self, baseline: Baseline, *, needs_history: bool = True) -> float:
        """Return the mean over the protocols of the mean recall over users."""
        contender = contender_of_baseline(
            baseline, self.part.sequences.item_ids, K, needs_history=needs_history
        )
        return float(
            np.mean([recall_of(contender, cases, K).mean() for cases in self.cases.values()])
        )


@dataclass(frozen=True)
class Choice:
    """What was chosen for one opponent.

    Attributes
    ----------
    settings : dict
        Keywords of its `fit`.
    half_life : float or None
    recall : float or None
        On the slice; None where nothing could be chosen.
    days, weight
        Of the popularity that is added, if any is.
    """

    settings: dict[str, Any]
    half_life: float | None = HALF_LIFE
    recall: float | None = None
    days: int | None = None
    weight: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return what the report says of it."""
        settings = {"half_life": self.half_life, **self.settings}
        if self.weight:
            settings |= {"popularity_days": self.days, "popularity_weight": self.weight}
        return {"settings": settings, f"recall@{K}": self.recall}

    def baseline(self, score: HistoryBaseline, part: Part) -> Baseline:
        """Put what `fit` gave together with the half-life and the popularity."""
        found: Baseline = partial(score, half_life=self.half_life)
        if not self.weight:
            return found
        recent, counts = part.recent[self.days], part.recent[None]
        return plus_popularity(found, recent, counts, weight=self.weight)


def choose(opponent: Opponent, where: Slice, *, with_popularity: bool = False) -> list[Choice]:
    """Choose the settings with the highest recall on a slice of the training part.

    Parameters
    ----------
    opponent : Opponent
    where : Slice
    with_popularity : bool
        Whether to choose, for the same settings, days and a weight of popularity as well.

    Returns
    -------
    list of Choice
        The best; and with popularity, the best of those too.
    """
    part = where.part
    small = len(part.sequences.item_ids) <= SEARCH_LIMIT
    tried = []
    for settings in opponent.settings if small else opponent.settings[:1]:
        score = opponent.fit(part.sequences, **settings)
        tried.append((score, _best(score, where, [Choice(settings, h) for h in HALF_LIVES])))
    score, best = max(tried, key=lambda pair: pair[1].recall or 0.0)
    if not with_popularity:
        return [best]
    grid = [replace(best, days=d, weight=w) for d, w in product(part.recent, WEIGHTS)]
    return [best, _best(score, where, grid)]


def _best(score: HistoryBaseline, where: Slice, choices: list[Choice]) -> Choice:
    """Return the choice with the highest recall, the first of equals."""
    recalls = [where.recall(choice.baseline(score, where.part)) for choice in choices]
    best = int(np.argmax(recalls))
    return replace(choices[best], recall=recalls[best])


def opponents(
    train: pd.DataFrame,
    cutoff: pd.Timestamp | None,
    *,
    k: int,
    min_rating: float | None = None,
    with_peers: bool = False,
    neighbours_of: Recommender | None = None,
) -> tuple[dict[str, Contender], dict[str, Any]]:
    """Choose the settings of all baselines inside the training part and fit them on all of it.

    Parameters
    ----------
    train : DataFrame
        A checked frame.
    cutoff : Timestamp or None
        The moment that recent popularity is counted back from; None = the end of `train`.
    k : int
        Length of the lists.
    min_rating : float
        Ratings below it are no interactions.
    with_peers : bool
        Whether the models of `recsys.evaluation.peers` take part, and everyone also with
        popularity added.
    neighbours_of : Recommender, optional
        Fitted on `train`; lets `recsys.evaluation.baselines.user_to_user` take part, by its user
        vectors.

    Returns
    -------
    contenders : dict of name -> Contender
    chosen : dict of name -> dict
        settings, and the recall@20 that they had where they were chosen (None: the defaults,
        since the training part is too small to split).
    """
    part = Part.of(train[liked(train, min_rating)], cutoff)
    where = Slice.of(train, min_rating)
    item_ids, counts = part.sequences.item_ids, part.recent[None]
    baselines: dict[str, Baseline] = {"popularity": popularity(counts)}
    chosen: dict[str, Any] = {}
    if len(part.recent) > 1:
        days, recall = _recent_days(where)
        baselines["recent-popularity"] = recent_popularity(part.recent[days], counts)
        chosen["recent-popularity"] = {"settings": {"days": days}, f"recall@{K}": recall}
    needs_no_history = list(baselines)
    names = _taking_part(len(item_ids), with_peers=with_peers)
    for name, opponent in tqdm(names.items(), desc="opponents", delay=2, disable=None):
        choices = [Choice(opponent.settings[0])]
        if with_peers:
            choices.append(replace(choices[0], weight=WEIGHTS[0]))
        if where is not None:
            choices = choose(opponent, where, with_popularity=with_peers)
        score = opponent.fit(part.sequences, **choices[0].settings)
        for suffix, choice in zip(("", " + popularity"), choices, strict=False):
            baselines[name + suffix] = choice.baseline(score, part)
            chosen[name + suffix] = choice.as_dict()
    contenders = {
        name: contender_of_baseline(score, item_ids, k, needs_history=name not in needs_no_history)
        for name, score in baselines.items()
    }
    if neighbours_of is not None:
        entered = _user_to_user(neighbours_of, part.sequences, where, k)
        contenders["user-to-user"], chosen["user-to-user"] = entered
    at_random = random(len(item_ids))
    contenders["random"] = contender_of_baseline(at_random, item_ids, k, needs_history=False)
    return contenders, chosen


def _user_to_user(
    model: Recommender, train: Sequences, where: Slice | None, k: int
) -> tuple[Contender, dict[str, Any]]:
    """Choose the number of neighbours, by vectors trained on the slice as the model's were."""
    n_neighbours, recall, params = NEIGHBOURS[0], None, model.params
    if where is not None:
        earlier = where.part.sequences
        # One event is enough for a vector here, so that the smaller part is never without any.
        trained = train_vectors(earlier, params | {"min_count": 1})
        vectors_of = partial(
            user_vectors,
            vectors=trained.vectors,
            half_life=params["half_life"],
            item_weights=rarity(earlier.counts(), params["discount"]),
        )
        recalls = {
            n: where.recall(user_to_user(earlier, vectors_of, n_neighbours=n)) for n in NEIGHBOURS
        }
        n_neighbours = max(recalls, key=lambda n: recalls[n])
        recall = recalls[n_neighbours]
    score = user_to_user(train.recode(model.items), model.pooled, n_neighbours=n_neighbours)
    contender = contender_of_baseline(score, model.items, k, needs_history=True)
    return contender, {"settings": {"n_neighbours": n_neighbours}, f"recall@{K}": recall}


def _taking_part(n_items: int, *, with_peers: bool) -> dict[str, Opponent]:
    names = OPPONENTS | (PEERS if with_peers else {})
    if n_items > EASE_LIMIT:
        logger.info("ease is left out: more than %d items", EASE_LIMIT)
        del names["ease"]
    return names


def _recent_days(where: Slice | None) -> tuple[int, float | None]:
    """Choose how many days count as recent."""
    if where is None:
        return DAYS[0], None
    counts = where.part.recent[None]
    recalls = {
        days: where.recall(recent_popularity(where.part.recent[days], counts), needs_history=False)
        for days in DAYS
    }
    days = max(recalls, key=lambda days: recalls[days])
    return days, recalls[days]
