"""Choose the opponents' settings inside the training part, where our model is calibrated too."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.splits import calibration_split
from recsys.errors import DataError
from recsys.evaluation.baselines import (
    HALF_LIFE,
    OPPONENTS,
    plus_popularity,
    popularity,
    random,
    recent_popularity,
)
from recsys.evaluation.measure import contender_of_baseline, recall_of
from recsys.evaluation.peers import PEERS
from recsys.progress import each

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import numpy.typing as npt

    from recsys.data.events import Events
    from recsys.data.splits import Cases
    from recsys.evaluation.baselines import Baseline, HistoryBaseline, Opponent
    from recsys.evaluation.measure import Contender

    Counts = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

# What is chosen from; the first of each is the default.
HALF_LIVES = (HALF_LIFE, 1.0, 10.0, None)
DAYS = (30, 7)
WEIGHTS = (0.25, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
K = 20  # of the recall that decides
# Above this many items, settings that need another fit keep their default, to save time.
SEARCH_LIMIT = 3_000


@dataclass(frozen=True)
class Slice:
    """Where settings are chosen: an earlier part to fit on, and users to find items for."""

    train: Events  # compact, interactions only
    recent: dict[int | None, Counts]  # see `count_recent`
    cases: dict[str, Cases]  # over the items of `train`

    @classmethod
    def of(cls, train: Events, min_rating: float | None) -> Slice | None:
        """Split the training part once more; None where it is too small for that."""
        try:
            split = calibration_split(train, min_rating=min_rating)
            earlier = split.train.where(split.train.liked(min_rating)).compact()
        except DataError as error:
            logger.info("the opponents have their default settings: %s", error)
            return None
        item_ids = earlier.sequences.item_ids
        known = {name: cases.recode(item_ids) for name, cases in split.protocols.items()}
        return cls(earlier, count_recent(earlier, split.cutoff), known)

    def recall(self, baseline: Baseline, *, needs_history: bool = True) -> float:
        """Return the mean over the protocols of the mean recall over users."""
        item_ids = self.train.sequences.item_ids
        contender = contender_of_baseline(baseline, item_ids, K, needs_history=needs_history)
        return float(np.mean([recall_of(contender, c, K).mean() for c in self.cases.values()]))

    def best_of(
        self, values: Sequence[Any], baseline_for: Callable[[Any], Baseline], **given: bool
    ) -> tuple[Any, float]:
        """Return the value whose baseline has the highest recall, the first of equals, and that."""
        recalls = [self.recall(baseline_for(value), **given) for value in values]
        best = int(np.argmax(recalls))
        return values[best], recalls[best]


def count_recent(events: Events, cutoff: int | None) -> dict[int | None, Counts]:
    """Count each item's events of the last DAYS before a cutoff, or before the latest event.

    The key None holds the counts of all days; without times there is no other.
    """
    now, all_days = events.now if cutoff is None else cutoff, events.sequences.counts()
    days = () if now is None else DAYS
    return {**{d: events.recent_counts(d, now or 0) for d in days}, None: all_days}


@dataclass(frozen=True)
class Choice:
    """One opponent's keywords of `fit`, half-life, recall on the slice, and added popularity."""

    settings: dict[str, Any]
    half_life: float | None = HALF_LIFE
    recall: float | None = None
    days: int | None = None
    weight: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return its entry in the report."""
        settings = {"half_life": self.half_life, **self.settings}
        if self.weight:
            settings |= {"popularity_days": self.days, "popularity_weight": self.weight}
        return {"settings": settings, f"recall@{K}": self.recall}

    def baseline(self, score: HistoryBaseline, recent: dict[int | None, Counts]) -> Baseline:
        """Give what `fit` returned the half-life, and add the popularity."""
        plain: Baseline = partial(score, half_life=self.half_life)
        if not self.weight:
            return plain
        return plus_popularity(plain, recent[self.days], recent[None], weight=self.weight)


def choose(opponent: Opponent, where: Slice, *, with_popularity: bool = False) -> list[Choice]:
    """Choose the settings with the highest recall on a slice of the training part.

    With popularity, a second choice adds it to these settings, with the best days and weight.
    """
    sequences = where.train.sequences
    small = len(sequences.item_ids) <= SEARCH_LIMIT
    tried = []
    for settings in opponent.settings if small else opponent.settings[:1]:
        score = opponent.fit(sequences, **settings)
        tried.append((score, _best(score, where, [Choice(settings, h) for h in HALF_LIVES])))
    score, best = max(tried, key=lambda pair: pair[1].recall or 0.0)
    if not with_popularity:
        return [best]
    grid = [replace(best, days=d, weight=w) for d, w in product(where.recent, WEIGHTS)]
    return [best, _best(score, where, grid)]


def _best(score: HistoryBaseline, where: Slice, choices: list[Choice]) -> Choice:
    """Return the choice with the highest recall, the first of equals."""
    best: Choice
    best, recall = where.best_of(choices, lambda choice: choice.baseline(score, where.recent))
    return replace(best, recall=recall)


def fit_opponents(
    train: Events,
    cutoff: int | None,
    *,
    k: int,
    against: Collection[str] = ("baselines",),
    min_rating: float | None = None,
) -> tuple[dict[str, Contender], dict[str, Any]]:
    """Choose the settings of all opponents inside the training part and fit them on all of it.

    Recent popularity is counted back from the cutoff, in seconds, or from the end of `train`. The
    second dict has `settings`, and their `recall@20` on the slice: None where they are defaults,
    since the training part is too small to split.
    """
    if not against:
        return {}, {}
    liked, with_peers = train.where(train.liked(min_rating)).compact(), "peers" in against
    where, recent = Slice.of(train, min_rating), count_recent(liked, cutoff)
    item_ids, counts = liked.sequences.item_ids, recent[None]
    taking_part = (OPPONENTS if "baselines" in against else {}) | (PEERS if with_peers else {})
    baselines: dict[str, Baseline] = {"popularity": popularity(counts)}
    chosen: dict[str, Any] = {}
    if len(recent) > 1:
        days, recall = DAYS[0], None
        if where is not None:
            days, recall = where.best_of(
                DAYS, lambda d: recent_popularity(where.recent[d], where.recent[None]),
                needs_history=False,
            )  # fmt: skip
        baselines["recent-popularity"] = recent_popularity(recent[days], counts)
        chosen["recent-popularity"] = {"settings": {"days": days}, f"recall@{K}": recall}
    everybody = {*baselines, "random"}
    for name, opponent in each(taking_part.items()):
        if opponent.max_items is not None and len(item_ids) > opponent.max_items:
            logger.info("%s is left out: more than %d items", name, opponent.max_items)
            continue
        choices = [Choice(opponent.settings[0])]
        if with_peers:
            choices.append(replace(choices[0], weight=WEIGHTS[0]))
        if where is not None:
            choices = choose(opponent, where, with_popularity=with_peers)
        score = opponent.fit(liked.sequences, **choices[0].settings)
        for suffix, choice in zip(("", " + popularity"), choices, strict=False):
            baselines[name + suffix] = choice.baseline(score, recent)
            chosen[name + suffix] = choice.as_dict()
    baselines["random"] = random(len(item_ids))
    contenders = {
        name: contender_of_baseline(score, item_ids, k, needs_history=name not in everybody)
        for name, score in baselines.items()
    }
    return contenders, chosen
