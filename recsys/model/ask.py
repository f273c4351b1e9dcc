"""Answer with a fitted model: histories become queries, queries become ranked rows.

A `Model` is immutable: any number of threads may ask it while another model takes its place. Needs
numpy only, and Annoy where it is installed.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import find, take
from recsys.errors import ColdUserError, ModelError
from recsys.model import storage
from recsys.model.explain import explain_score, give_reasons
from recsys.model.tables import Tables
from recsys.recommendations import Recommendations
from recsys.search.approximate import best_of, open_index
from recsys.search.diversity import LARGEST, diversify, diversify_many, pool_size
from recsys.search.exact import ExactIndex, exact_scores, top_k, unit_length
from recsys.search.threads import cached
from recsys.settings import DIVERSITY, POPULARITY, SETTINGS, complete_settings, shown
from recsys.vectors.audience import support
from recsys.vectors.readout import audience_averages, popularity_weights, queries, rarity
from recsys.vectors.users import fading, user_vectors, weigh_one

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt
    import pandas as pd

    from recsys.data.sequences import Sequences
    from recsys.model.explain import Taste
    from recsys.search.approximate import AnnoyIndex
    from recsys.vectors.users import Fading

    Rows = npt.NDArray[np.integer[Any]]
    Vectors = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)

# What the manifest keeps of where a model came from.
KEPT = ("versions", "data", "calibration")
# How much the average of what is disliked weighs, against 1 for what is liked. More costs recall:
# in fold-in on the first 80% of ml-100k (208 users, later ratings of 4 and 5 to be found), with
# ratings of 1 and 2 as disliked, recall@20 is .225 at 0.1, .207 at 0.2, and .228 without them.
DISLIKED = 0.1
# Similar items have at least this many events, unless fewer than k items have.
FAMILIAR = 5
NO_ROWS = np.empty(0, dtype=np.int64)
# Histories with more events are shortened to one entry an item.
LONG = 10_000
# `recommend_many` answers at most this many rows at a time: about 3 GB.
MANY = 50_000_000
# Popularity is that of this many days where calibration has chosen no number.
RECENT = 30.0


@dataclass(frozen=True)
class Model:
    """All that a fitted model is.

    Attributes
    ----------
    tables : Tables
    params : dict
        Settings of `recsys.Recommender`, none left to be chosen.
    about : dict
        Where it came from, as in `recsys.Recommender.about`.
    approximate : AnnoyIndex or None
        Built for `index="annoy"` where Annoy is installed.
    """

    tables: Tables
    params: Mapping[str, Any]
    about: Mapping[str, Any]
    approximate: AnnoyIndex | None = None

    @cached
    def exact(self) -> ExactIndex:
        """The index that finds everything."""
        return ExactIndex(self.tables.readout)

    @property
    def index(self) -> ExactIndex | AnnoyIndex:
        """The index that `recommend` searches."""
        return self.approximate or self.exact

    @cached
    def item_weights(self) -> Vectors:
        """Weight of each item in a user vector before recency, float32 (n_items,)."""
        return rarity(self.tables.counts, self.params["discount"])

    @property
    def cosine(self) -> bool:
        """Whether scores are cosines of input vectors."""
        return bool(self.params["scoring"] == "cosine")

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be worked out again."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """Return itself, as nothing in it ever changes."""
        return self

    def save(self, folder: Path, *, replacing: storage.Stamp | None = None) -> None:
        """See `recsys.Recommender.save`, and `replacing` in `recsys.model.storage.save`."""
        columns = self.tables.to_columns()
        manifest = {"params": self.params, **{name: self.about[name] for name in KEPT}}
        write_index = None
        if self.approximate is not None:
            write_index = self.approximate.save
            columns |= self.approximate.columns
            manifest["ann"] = self.about["ann"]

        def check(stored: storage.Stored) -> None:
            self._open(stored, folder, verify=True)

        storage.save(folder, columns, manifest, write_index, check=check, replacing=replacing)

    @classmethod
    def load(cls, folder: Path, *, verify: bool) -> Model:
        """See `recsys.Recommender.load`."""
        return cls._open(storage.load(folder, verify=verify), folder, verify=verify)

    @classmethod
    def _open(cls, stored: storage.Stored, folder: Path, *, verify: bool) -> Model:
        """Put together what was stored, or raise ModelError."""
        try:
            params = dict(stored.manifest["params"])
            # Models saved before walks became a study hold these settings too.
            walks = [params.pop(name, None) for name in ("sequences", "p", "q")]
            if walks[0] == "walks":
                raise ValueError(f"it was trained on random walks; {storage.AGAIN}")
            if odd := params.keys() ^ SETTINGS.keys():
                raise ValueError(f"settings {sorted(odd)} are unknown or missing")
            params = complete_settings(params)
            ann = stored.manifest.get("ann", {})
            about = {name: stored.manifest[name] for name in KEPT}
            tables = Tables.from_columns(stored.columns, deep=verify)
            model = cls(tables, params, about | {"ann": ann, "drift": {}, "seconds": {}})
            approximate = open_index(
                params["index"], tables.readout, seed=params["seed"], chosen=ann,
                columns=stored.columns, path=stored.index,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"the model in '{folder}' does not fit together: {error}") from None
        return replace(model, approximate=approximate)

    # ---- histories to queries

    def history_of(self, user_id: Any, row: int | None = None) -> Rows:
        """Return the rows of a user's items, oldest first, or raise Unknown- or ColdUserError.

        `row` is that of the user, if it is known.
        """
        row = self.tables.user_row(user_id) if row is None else row
        rows = self.tables.histories.items_of(row)
        if len(rows) == 0:
            raise ColdUserError(
                f"none of the items of user {user_id!r} has a vector; "
                "fallback='popularity' (--fallback popularity) recommends what is popular"
            )
        return rows

    def taste(self, history: Rows, liked: Rows = NO_ROWS, disliked: Rows = NO_ROWS) -> Taste:
        """Return the rows that averages are made of, and what each weighs in both of them.

        As in `recsys.Recommender.recommend_for`; the history is oldest first.
        """
        rows = np.concatenate([history, liked]) if len(liked) else history
        rarities, n = self.item_weights[rows], len(history)
        weights = weigh_one(rarities[:n], self._faded(n))
        if len(liked):
            newest = weights[-1] / rarities[n - 1] if n else 1.0
            weights = np.concatenate([weights, newest * rarities[n:]])
            weights /= weights.sum()
        share = np.float32((self.params["audience_weight"] or 0.0) / max(len(rows), 1))
        shares = weigh_one(rarities, None) * share
        if len(rows) > LONG:  # each item once, with its whole weight
            both = [np.bincount(rows, each).astype(np.float32) for each in (weights, shares)]
            rows = np.flatnonzero(np.bincount(rows))
            weights, shares = both[0][rows], both[1][rows]
        if len(disliked):
            off = -DISLIKED * self.item_weights[disliked] / self.item_weights[disliked].sum()
            rows = np.concatenate([rows, disliked])
            weights, shares = np.append(weights, off), np.append(shares, off * share)
        return rows, weights.astype(np.float32, copy=False), shares.astype(np.float32, copy=False)

    def _faded(self, n: int) -> Fading | None:
        """Return what weighs n events by recency: kept, unless n is more than any user has."""
        half_life = self.params["half_life"]
        if half_life is None:
            return None
        return self._fading if n < len(self._fading[1]) else fading(half_life, n)

    @cached
    def _fading(self) -> Fading:
        longest = min(int(self.tables.histories.lengths.max(initial=1)), LONG)
        return fading(self.params["half_life"], longest)

    def pool(self, taste: Taste) -> Vectors:
        """Return the user vector of a taste, float32 (d,)."""
        rows, weights, _ = taste
        if weights[0] == 0:  # of the oldest items of a long history
            rows, weights = rows[weights != 0], weights[weights != 0]
        return _weighted_sum(weights, self.tables.vectors.take(rows, axis=0))

    def pool_all(self, histories: Sequences) -> Vectors:
        """Return the user vectors of histories over the model's items, float32 (n_users, d)."""
        averaging = {"half_life": self.params["half_life"], "item_weights": self.item_weights}
        return user_vectors(histories, self.tables.vectors, **averaging)

    def popularity_weights(self, staleness: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return what popularity weighs for users by the days since they were last active."""
        fresh, stale = (self.params[f"{s}popularity_weight"] or 0.0 for s in ("", "stale_"))
        return popularity_weights(np.asarray(staleness, np.float64), fresh=fresh, stale=stale)

    def popularity_weight(self, user_row: int | None) -> float:
        """Return what popularity weighs for one user; None is somebody present now."""
        return float(self.popularity_weights(0.0) if user_row is None else self._stale[user_row])

    @cached
    def _stale(self) -> npt.NDArray[np.float64]:
        """What popularity weighs for each user of the model, float64 (n_users,)."""
        return self.popularity_weights(self.tables.staleness)

    def query(self, taste: Taste, popularity_weight: float) -> Vectors:
        """Return what the index is asked for one taste, float32 (d + r + 2,), as `queries` does."""
        rows, weights, shares = taste
        pooled, d = self.pool(taste), self.tables.vectors.shape[1]
        query = np.empty(self.tables.readout.shape[1], np.float32)
        query[:d] = unit_length(pooled[None])[0] if self.cosine else pooled
        # Of the items' level 1 is a history's share; what is disliked comes last.
        query[d] = weights.sum() if weights[-1] < 0 else 1
        query[d + 1 : -1] = _weighted_sum(shares, self.tables.answering[rows])
        query[-1] = popularity_weight
        return query

    def queries(
        self,
        histories: Sequences,
        staleness: npt.NDArray[np.float64] | None = None,
        *,
        popularity: float = 1.0,
    ) -> Vectors:
        """Return what the index is asked for each history, float32 (n_users, d + r + 2).

        See `rank`.
        """
        averaged = self.pool_all(histories)
        days = np.zeros(len(averaged)) if staleness is None else staleness
        weights = self.popularity_weights(days)
        share = self.params["audience_weight"] or 0.0
        by_audience = audience_averages(histories, self.tables.answering, self.item_weights, share)
        return queries(averaged, by_audience, popularity * weights, scoring=self.params["scoring"])

    # ---- queries to rows

    def allowed(
        self,
        seen: Rows,
        block: Iterable[Any] | None,
        allow: Iterable[Any] | None,
        where: str | pd.Series | None,
    ) -> Mask | None:
        """Tell which items the filters leave, bool array (n_items,); None without a filter."""
        if block is None and allow is None and where is None:
            return None
        blocked = self.tables.item_rows(() if block is None else block)
        return self.tables.allowed(np.append(seen, blocked), allow, where)

    def recommend(
        self,
        taste: Taste,
        k: int,
        seen: Rows,
        allowed: Mask | None,
        *,
        user_row: int | None = None,
        popularity: float = 1.0,
        diversity: float = 0.0,
        reasons: bool = False,
    ) -> Recommendations:
        """Recommend to one taste what is allowed, or, if that is None, all but what was seen.

        The user as in `popularity_weight`, the dials as in `recsys.Recommender.recommend`.
        """
        if len(seen) > LONG:
            seen = np.flatnonzero(np.bincount(seen))
        weight = popularity * self.popularity_weight(user_row)
        query = self.query(taste, weight)
        # Annoy's settings were chosen for popularity as it was learned.
        index = self.index if popularity == 1 else self.exact
        wanted = pool_size(k) if diversity else k
        if allowed is None:
            rows, scores = index.find(query, wanted, seen)
        else:
            rows, scores = best_of(index, query, wanted, allowed)
        if diversity:
            unit = unit_length(self.tables.audience[rows[:LARGEST]])
            order = diversify(scores, unit, k, diversity)
            rows, scores = rows[order], scores[order]
        why = None
        if reasons:
            why = give_reasons(self.tables, taste, rows, weight, cosine=self.cosine)
        return self.list_rows(rows, scores, why)

    def explain(self, taste: Taste, item_id: Any, user_row: int | None) -> pd.DataFrame:
        """Split a score, see `recsys.Recommender.explain`; the user as in `recommend`."""
        weight = self.popularity_weight(user_row)
        return explain_score(self.tables, taste, item_id, weight, cosine=self.cosine)

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude: Sequences | None,
        staleness: npt.NDArray[np.float64] | None = None,
        allowed: Mask | None = None,
        popularity: float = 1.0,
        diversity: float = 0.0,
        threads: int = 1,
    ) -> tuple[Rows, Vectors]:
        """Rank the items for many histories at once, exactly: what evaluation measures.

        Parameters
        ----------
        histories, exclude : Sequences
            Over the items of the model; row u of both is the same user, no history is empty.
        staleness : float64 array, shape (n_users,), days
            Since the last event of each; None = all are present now.
        allowed : bool array, shape (n_items,)
            The items to choose from; None = all.
        k, popularity, diversity, threads
            As in `recsys.Recommender.recommend_many`.

        Returns
        -------
        rows : int64 array, shape (n_users, min(k, n_items))
            Rows of the items, best first.
        scores : float32 array, same shape
            -inf where a list ends before k.
        """
        index, among = self.exact, np.arange(len(self.exact.vectors))
        if allowed is not None:
            among = np.flatnonzero(allowed)
            index = ExactIndex(index.vectors[among])
            if exclude is not None:
                places = np.full(len(allowed), -1)
                places[among] = np.arange(len(among))
                exclude = exclude.renumber(places, among)
        excluded = None if exclude is None else (exclude.offsets, exclude.codes)
        asked = self.queries(histories, staleness, popularity=popularity)
        wanted = pool_size(k) if diversity else k
        rows, scores = index.query(asked, wanted, exclude=excluded, threads=threads)
        rows = among[rows]
        if diversity:
            rows, scores = diversify_many(rows, scores, self.tables.unit_vectors, k, diversity)
        return rows, scores

    def recommend_many(
        self, user_rows: Rows | None, k: int, *, watched: bool, **given: Any
    ) -> tuple[Rows, Rows, Rows, Vectors]:
        """Rank for users of the model (None = all), without those who have no vector.

        `given` are keywords of `rank`, the others as in `recsys.Recommender.recommend_many`.

        Returns
        -------
        user_rows, places, rows, scores : arrays, shape (n_entries,)
            User, place in their list (from 0), item row and score of each entry.
        """
        tables = self.tables
        wanted = np.arange(len(tables.histories)) if user_rows is None else user_rows
        warm = wanted[tables.histories.lengths[wanted] > 0]
        if len(warm) < len(wanted):
            logger.info("%d users without a vector are left out", len(wanted) - len(warm))
        if len(warm) * min(k, len(tables.counts)) > MANY:
            n_rows = f"{len(warm):,} users times {min(k, len(tables.counts)):,} items"
            raise ValueError(f"{n_rows} are too many rows: ask for {MANY:,} or fewer at a time")
        rows, scores = self.rank(
            tables.histories.take_users(warm),
            k,
            exclude=None if watched else tables.watched.take_users(warm),
            staleness=tables.staleness[warm],
            **given,
        )
        who, place = np.nonzero(scores > -np.inf)
        return warm[who], place, rows[who, place], scores[who, place]

    # ---- rows to lists

    def list_best(self, rows: Rows, scores: Vectors, k: int) -> Recommendations:
        """List the k best of some ascending rows."""
        if len(rows) == 0:
            return self.list_rows(rows, scores)
        order, best = top_k(scores[None], k)
        return self.list_rows(rows[order[0]], best[0])

    def list_rows(
        self, rows: Rows, scores: Vectors, reasons: list[str] | None = None
    ) -> Recommendations:
        """Name some rows."""
        tables = self.tables
        titles = None if tables.titles is None else partial(tables.titles.at, rows)
        cold = None if tables.cold is None else tables.cold[rows]
        return Recommendations(take(tables.item_ids, rows), scores, titles, reasons, cold)

    def popular(
        self, k: int, allowed: Mask | None = None, *, recent: bool = False
    ) -> Recommendations:
        """List the items with the most interactions, of all time or `recent` ones."""
        counts = self.recent_counts if recent else self.tables.counts
        rows = np.arange(len(counts)) if allowed is None else np.flatnonzero(allowed)
        order = np.lexsort((-self.tables.counts[rows], -counts[rows]))[:k]
        return self.list_rows(rows[order], counts[rows[order]].astype(np.float32))

    @cached
    def recent_counts(self) -> npt.NDArray[np.int64]:
        """Events of each item in the last days, or of all time where there are no times."""
        events, item_ids = self.tables.events, take(self.tables.item_ids)
        if events.now is None:
            return self.tables.counts
        days = self.params["popularity_days"] or RECENT
        liked = events.where(events.liked(self.params["min_rating"]))
        counts, ids = liked.recent_counts(days, events.now), take(events.sequences.item_ids)
        at = np.minimum(np.searchsorted(item_ids, ids), len(item_ids) - 1)
        recent, here = np.zeros(len(item_ids), np.int64), item_ids[at] == ids
        recent[at[here]] = counts[here]
        return recent

    def similar_items(self, item: Any, k: int, min_events: int | None) -> Recommendations:
        """List the items nearest to one in the space of audience vectors."""
        row = find(self.tables.item_ids, item)
        row = self.tables.row_of_title(item) if row is None else row
        unit, counts = self.tables.unit_vectors, self.tables.counts
        others = np.delete(np.arange(len(unit)), row)
        rows = others[counts[others] >= (FAMILIAR if min_events is None else min_events)]
        if min_events is None and len(rows) < k:
            rows = others
        cosines = exact_scores(unit, rows, unit[[row]], rows * 0)
        return self.list_best(rows, cosines * support(counts[rows]), k)

    @cached
    def _unit_users(self) -> tuple[Rows, Vectors]:
        """The users who have a vector, and that at length 1."""
        rows, vectors = self.user_vectors()
        return rows, unit_length(vectors)

    def user_vectors(self) -> tuple[Rows, Vectors]:
        """Return the rows of the users who have a vector, and those, float32 (n, d)."""
        rows = np.flatnonzero(self.tables.histories.lengths > 0)
        return rows, self.pool_all(self.tables.histories.take_users(rows))

    def similar_users(self, user_id: Any, k: int) -> tuple[Rows, Vectors]:
        """Return the rows of the users with the largest cosine to a user's vector, and those."""
        row = self.tables.user_row(user_id)
        self.history_of(user_id, row)
        warm, unit = self._unit_users
        own = np.searchsorted(warm, row)
        others = np.delete(np.arange(len(warm)), own)
        scores = exact_scores(unit, others, unit[[own]], others * 0)
        order = np.argsort(-scores, kind="stable")[:k]
        return warm[others[order]], scores[order]

    def item_vectors(self, space: str) -> Vectors:
        """Return the vectors of all items, read-only; see `recsys.Recommender.item_vector`."""
        tables = self.tables
        spaces = {"input": tables.vectors, "output": tables.contexts, "audience": tables.audience}
        if (matrix := spaces.get(space)) is None:
            raise ValueError(f"this model has no {space!r} vectors (spaces: {', '.join(spaces)})")
        return matrix


def _weighted_sum(weights: Vectors, vectors: Vectors) -> Vectors:
    """Add vectors up, float32 (d,), one after the other, as a sparse product does for many."""
    return np.asarray(np.einsum("i,ij->j", weights, vectors))


def check_count(number: int, name: str = "k", low: int = 1) -> int:
    """Return a whole number from `low` up, or raise ValueError."""
    try:
        whole = operator.index(number)
    except TypeError:
        whole = low - 1
    if whole < low:
        raise ValueError(f"{name} must be a whole number above {low - 1}, got {shown(number)}")
    return min(whole, 2**31 - 1)  # which is as good: no catalogue is larger


def check_dials(k: int, popularity: float, diversity: float) -> tuple[int, float, float]:
    """Return the numbers that every list takes, or raise ValueError."""
    return check_count(k), POPULARITY.check(popularity), DIVERSITY.check(diversity)
