"""Answer "what next for user X?" with Item2Vec: fit, recommend, explain, save, load."""

from __future__ import annotations

import copy
import functools
import logging
import operator
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys import storage
from recsys.download import data_folder
from recsys.errors import ColdUserError, DataError, ModelError, NotFittedError, UnknownUserError
from recsys.ids import find, take
from recsys.index import AnnoyIndex, ExactIndex, annoy_available, exact_scores, top_k
from recsys.item2vec import WORD2VEC, train_item2vec
from recsys.readout import item_columns, log_popularity, popularity_weights, queries, rarity
from recsys.recommendations import Recommendations
from recsys.settings import check_settings
from recsys.tables import Tables
from recsys.users import history_weights, user_vector, user_vectors

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from recsys.sequences import Sequences

    Rows = npt.NDArray[np.integer]
    Vectors = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)


class Recommender:
    """Recommend items by Item2Vec.

    Word2Vec is trained on viewing sequences; a user is the weighted average of the input vectors
    of what he watched; an item is scored by the inner product of that average with what the item
    answers: its output vector, which Word2Vec was trained to make large for items that go
    together, and the coefficients of a ridge regression that predicts what comes next. How much
    popularity counts depends on how long ago the user was last here. See `recsys.readout`.

    Settings that are None are chosen on the latest part of the ratings given to `fit`
    (`recsys.calibrate`), unless `calibrate=False`.

    Parameters
    ----------
    sg, hs, negative, vector_size, window, epochs, alpha, sample, ns_exponent, min_count,
    shrink_windows, seed, workers
        As in `recsys.item2vec.train_item2vec`, and named as in gensim. `epochs`: None = chosen.
    calibrate : bool
        Whether to choose `epochs`, `half_life` and the three settings of popularity where they
        are None. Otherwise None is 20 epochs, the plain mean, no popularity, and all-time.
    scoring : {"input-output", "cosine"}
        "cosine" scores by the cosine of input vectors: the textbook's way, weaker for users.
    ridge : float
        Weight of the ridge regression beside the output vectors, 0 = none; with "cosine" there is
        none.
    discount : float
        A watched item weighs count ** -discount in the average (and in the ridge regression), so
        that what everybody watches says less; 0 = no discount.
    half_life : float, items
        The weight of a watched item halves with every so many items watched after it.
    popularity_weight, stale_popularity_weight : float
        How much the logarithm of an item's popularity counts for a user who is here now, and for
        one who was last here long ago; a day after the last event it is the mean of both. Scores
        have a standard deviation of about 1 without it.
    popularity_days : float, days
        Popularity is that of so many last days before the latest rating; None = chosen, and
        all-time if not.
    min_rating : float
        Ratings below it are no interactions: not for training, user vectors or relevance. Such
        items stay excluded as watched.
    index : {"annoy", "exact"}
        What `recommend` searches with.

    Raises
    ------
    ValueError
        A parameter is out of range, or `hs=1` without `scoring="cosine"`.

    Examples
    --------
    >>> import pandas as pd
    >>> views = pd.DataFrame({"user_id": list("aabbcc"), "item_id": [1, 2, 2, 3, 1, 3]})
    >>> model = Recommender(vector_size=8, index="exact").fit(views)
    >>> model.recommend("a").item_ids
    array([3])
    """

    def __init__(
        self,
        *,
        sg: int = 0,
        hs: int = 0,
        negative: int = 20,
        vector_size: int = 256,
        window: int = 10,
        epochs: int | None = None,
        alpha: float = 0.05,
        sample: float = 1e-3,
        ns_exponent: float = 0.0,
        min_count: int = 1,
        shrink_windows: bool = True,
        seed: int = 42,
        workers: int = 1,
        calibrate: bool = True,
        scoring: str = "input-output",
        ridge: float = 0.5,
        discount: float = 0.25,
        half_life: float | None = None,
        popularity_weight: float | None = None,
        stale_popularity_weight: float | None = None,
        popularity_days: float | None = None,
        min_rating: float | None = None,
        index: str = "annoy",
    ) -> None:
        self.params = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in locals().items()
            if name != "self"
        }
        check_settings(self.params)
        self.params["negative"] *= not hs  # hierarchical softmax draws no noise
        self.params["ridge"] *= scoring != "cosine"
        self._given = dict(self.params)
        self.seconds: dict[str, float] = {}
        self._about: dict[str, Any] = {}
        self._tables: Tables | None = None

    @property
    def calibration(self) -> dict[str, Any]:
        """What was chosen at the last `fit` and on what evidence, see `recsys.calibrate`."""
        self._fitted()
        return dict(self._about["calibration"])

    # ---- fit, save, load

    def fit(self, ratings: pd.DataFrame, items: pd.DataFrame | None = None) -> Recommender:
        """Train on all of the ratings.

        The same ratings in any row order, with the same parameters, give the same model to the
        byte (on one machine, with one set of versions and `workers=1`).

        Parameters
        ----------
        ratings : DataFrame
            `user_id`, `item_id` and, optionally, `rating` and `timestamp`; as `load_ratings`
            gives it or from anywhere. Without a timestamp the rows are taken to be in order.
        items : DataFrame, optional
            `item_id`, `title`.

        Returns
        -------
        Recommender
            Itself.

        Raises
        ------
        DataError
            The frame cannot be used as it is.
        """
        from threadpoolctl import threadpool_limits

        from recsys.calibrate import DEFAULTS, calibrate
        from recsys.frames import check_items, check_ratings
        from recsys.summary import fingerprint

        self.params = dict(self._given)  # nothing that an earlier fit has chosen
        if self.params["index"] == "annoy" and not annoy_available():
            self.params["index"] = "exact"
        ratings = check_ratings(ratings)
        if self.params["popularity_days"] is not None and "timestamp" not in ratings:
            days = self.params["popularity_days"]
            raise DataError(f"popularity_days={days:g} needs a timestamp column and there is none")
        checked = None if items is None else check_items(items)
        calibration: dict[str, Any] = {}
        self.seconds = {}
        with threadpool_limits(limits=1):
            if self.params["calibrate"]:
                calibration = calibrate(ratings, self.params)
                self.params |= calibration["chosen"]
                self.seconds["calibrate"] = calibration.pop("seconds", 0.0)
            self.params["calibrate"] = False
            self.params["epochs"] = self.params["epochs"] or DEFAULTS["epochs"]
            tables = self._train(ratings, checked)
        self._about = {
            "versions": storage.versions(),
            "data": {"n_ratings": len(ratings), "sha256": fingerprint(ratings)},
            "calibration": calibration,
        }
        self._open(tables)
        return self

    def _train(self, ratings: pd.DataFrame, items: pd.DataFrame | None) -> Tables:
        from recsys.sequences import lay_out, recent_counts, seconds_of, sort_events
        from recsys.splits import days_since_last, liked

        started = time.perf_counter()
        events = sort_events(ratings)
        watched = histories = lay_out(events)
        if self.params["min_rating"] is not None:
            likes = liked(events, self.params["min_rating"])
            histories, events = watched.where(likes), events[likes]
        sequenced = time.perf_counter()
        trained = train_item2vec(histories, **{name: self.params[name] for name in WORD2VEC})
        read = time.perf_counter()
        staleness = days_since_last(events, histories, ratings)
        known = histories.recode(trained.item_ids)
        columns = item_columns(
            trained,
            known,
            scoring=self.params["scoring"],
            half_life=self.params["half_life"],
            discount=self.params["discount"],
            ridge=self.params["ridge"],
        )
        recent, days = None, self.params["popularity_days"]
        if days is not None:
            now = int(seconds_of(ratings).max())
            recent = recent_counts(events, trained.item_ids, days=days, now=now)
        popularity = log_popularity(known.counts(), recent)
        self.seconds |= {
            "sequences": sequenced - started,
            "train": read - sequenced,
            "readout": time.perf_counter() - read,
        }
        return Tables.of(
            trained,
            np.column_stack([columns, popularity]),
            known,
            known if watched is histories else watched.recode(trained.item_ids),
            staleness,
            items,
        )

    def _open(self, tables: Tables, index_file: Path | None = None) -> None:
        """Take what `fit` or a folder gives, and index it."""
        self._tables = tables
        self._item_weights = rarity(tables.counts, self.params["discount"])
        started = time.perf_counter()
        self._exact = ExactIndex(tables.readout)
        self._annoy: AnnoyIndex | None = None
        if self.params["index"] == "annoy" and annoy_available():
            self._annoy = _annoy_index(tables.readout, self.params["seed"], index_file)
        self.seconds["index"] = time.perf_counter() - started

    def save(self, folder: str | Path) -> None:
        """Save to a folder; whatever fails on the way, a model saved there before stays whole.

        Raises
        ------
        ModelError
            The folder is not empty and holds no model.
        NotFittedError
        """
        columns = self._fitted().to_columns()
        manifest = {"params": self.params, **self._about}
        write_index = None if self._annoy is None else self._annoy.save
        storage.save(Path(folder), columns, manifest, write_index)

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True) -> Recommender:
        """Open a saved model; its arrays are mapped from the files, read-only.

        Parameters
        ----------
        folder : str or Path
        verify : bool
            Compare the checksums of all files; False for a folder that one trusts.

        Raises
        ------
        ModelError
            There is no model, or a part of it is missing, damaged, or of a newer format.
        """
        stored = storage.load(Path(folder), verify=verify)
        try:
            model = cls(**stored.manifest["params"])
            model._about = {
                name: stored.manifest[name] for name in ("versions", "data", "calibration")
            }
            model._open(Tables.from_columns(stored.columns, deep=verify), stored.index)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"the model in '{folder}' does not fit together: {error}") from None
        return model

    # ---- a living catalogue

    def add_items(self, items: pd.DataFrame) -> Recommender:
        """Add items that nobody has watched yet, with vectors from their metadata.

        Genres, year, words of the title, and further columns of text or of tuples (tags) are what
        a ridge regression learns from on the items that were watched (`recsys.cold`). It predicts
        all that the model holds of an item: input and output vector, read-out and popularity.
        From then on cold items are recommended, explained and found like any other, and marked as
        `cold`; with `allow=model.cold_items` they alone are.

        Parameters
        ----------
        items : DataFrame
            As `load_items` gives it or from anywhere: `item_id`, and what is known of the items.
            The items given to `fit` have to have the like.

        Returns
        -------
        Recommender
            Itself; after an error it is as it was.

        Raises
        ------
        DataError
            The frame cannot be used as it is, its ids are of another kind than those of the model
            or have a vector already; nothing is known of an item, or nothing that an item with a
            vector has too; or the model was fitted without items.
        NotFittedError
        """
        from threadpoolctl import threadpool_limits

        from recsys.cold import added
        from recsys.frames import check_items

        tables, new = self._fitted(), check_items(items)
        with threadpool_limits(limits=1):
            self._reopen(added(tables, new, unit=self.params["scoring"] == "cosine"))
        return self

    def remove_items(self, item_ids: Iterable[Any]) -> Recommender:
        """Take items out of the catalogue, and out of all histories.

        They are not recommended or found any more and do not speak for anything; a user who has
        watched nothing else is cold from then on. What the other items have learned from them
        stays. An item that is added again is one that nobody has watched.

        Parameters
        ----------
        item_ids : ids

        Returns
        -------
        Recommender
            Itself; after an error it is as it was.

        Raises
        ------
        UnknownItemError
            An id has no vector.
        ValueError
            No item would be left.
        NotFittedError
        """
        tables = self._fitted()
        gone = [tables.item_row(item_id) for item_id in item_ids]
        left = np.setdiff1d(np.arange(len(tables.item_ids)), gone)
        if len(left) == 0:
            raise ValueError("at least one item has to stay in the model")
        self._reopen(tables.take_items(left))
        return self

    def _reopen(self, tables: Tables) -> None:
        """Take other tables with an index of their own, or, if that fails, stay as it was."""
        opened = copy.copy(self)
        opened._open(tables)
        self.__dict__ |= vars(opened)

    @property
    def cold_items(self) -> npt.NDArray[Any]:
        """Ids of the items that `add_items` has added, ascending, shape (n_cold,)."""
        tables = self._fitted()
        return take(tables.item_ids, np.flatnonzero(tables.is_cold))

    def _fitted(self) -> Tables:
        if self._tables is None:
            raise NotFittedError("this Recommender has no model yet: call fit(ratings) or load()")
        return self._tables

    # ---- ids and vectors

    @property
    def users(self) -> npt.NDArray[Any]:
        """Ids of all users given to `fit`, ascending, shape (n_users,)."""
        return take(self._fitted().user_ids)

    @property
    def items(self) -> npt.NDArray[Any]:
        """Ids of all items that have a vector, ascending, shape (n_items,)."""
        return take(self._fitted().item_ids)

    def user_vector(self, user_id: Any) -> Vectors:
        """Return the weighted average of the input vectors of the user's items, float32 (d,).

        Raises
        ------
        UnknownUserError, ColdUserError
        """
        return self._pool(self._history(user_id))

    def item_vector(self, item_id: Any, space: str = "input") -> Vectors:
        """Return an item's input or output vector, float32 (d,).

        Parameters
        ----------
        item_id : int or str
        space : {"input", "output"}

        Raises
        ------
        UnknownItemError
        ValueError
            Another space, or `hs=1`, which has no output vectors.
        """
        tables = self._fitted()
        matrix = {"input": tables.vectors, "output": tables.contexts}.get(space)
        if matrix is None:
            raise ValueError(f"this model has no {space!r} vectors (spaces: 'input', 'output')")
        return np.array(matrix[tables.item_row(item_id)])

    def _history(self, user_id: Any) -> Rows:
        """Return the rows of the user's items, oldest first; never empty."""
        tables = self._fitted()
        rows = tables.histories.items_of(tables.user_row(user_id))
        if len(rows) == 0:
            raise ColdUserError(
                f"none of the items of user {user_id!r} has a vector; "
                "fallback='popularity' (--fallback popularity) recommends what is popular"
            )
        return rows

    def _pool(self, history: Rows) -> Vectors:
        return user_vector(
            history,
            self._fitted().vectors,
            half_life=self.params["half_life"],
            item_weights=self._item_weights,
        )

    def _popularity_weights(self, staleness: npt.ArrayLike) -> npt.NDArray[np.float64]:
        fresh, stale = (self.params[f"{s}popularity_weight"] or 0.0 for s in ("", "stale_"))
        return popularity_weights(np.asarray(staleness, np.float64), fresh=fresh, stale=stale)

    # ---- recommendations

    def recommend(
        self,
        user_id: Any,
        k: int = 10,
        *,
        watched: bool = False,
        block: Iterable[Any] | None = None,
        allow: Iterable[Any] | None = None,
        fallback: str | None = None,
    ) -> Recommendations:
        """Recommend k items to a user.

        Parameters
        ----------
        user_id : int or str
        k : int
        watched : bool
            Whether items that the user watched may come again.
        block, allow : ids
            Items to leave out, and the only items to choose from; ids without a vector are ignored.
        fallback : {None, "popularity"}
            What a user without a vector gets: the error, or the most popular items.

        Returns
        -------
        Recommendations
            Best first; fewer than k only where the items end.

        Raises
        ------
        UnknownUserError
            The user was not in the ratings.
        ColdUserError
            None of the user's items has a vector.
        ValueError
            k is not a whole number above 0, or an unknown fallback.
        """
        _check_k(k)
        if fallback not in (None, "popularity"):
            raise ValueError(f"fallback must be None or 'popularity', got {fallback!r}")
        tables = self._fitted()
        row = find(tables.user_ids, user_id)
        seen = _NO_ROWS if watched or row is None else tables.watched.items_of(row)
        excluded = self._excluded(seen, block)
        try:
            return self._recommend(self._history(user_id), k, excluded, allow, self._stale(row))
        except (UnknownUserError, ColdUserError):
            if fallback is None:
                raise
            return self._popular(k, excluded, allow)

    def recommend_for(
        self,
        history: Iterable[Any],
        k: int = 10,
        *,
        block: Iterable[Any] | None = None,
        allow: Iterable[Any] | None = None,
    ) -> Recommendations:
        """Recommend to somebody with this history, oldest first, whom nobody has seen before.

        The user vector is averaged here and now, without training. The items of the history are
        excluded; those without a vector are skipped.

        Raises
        ------
        ColdUserError
            No item of the history has a vector.
        ValueError
            k is not a whole number above 0.
        """
        _check_k(k)
        rows = self._fitted().item_rows(history)
        if len(rows) == 0:
            raise ColdUserError("none of the items of this history has a vector")
        return self._recommend(rows, k, self._excluded(rows, block), allow, 0.0)

    def _excluded(self, seen: Rows, block: Iterable[Any] | None) -> Rows:
        if block is not None:
            seen = np.concatenate([seen, self._fitted().item_rows(block)])
        return np.unique(seen)

    def _recommend(
        self, history: Rows, k: int, excluded: Rows, allow: Iterable[Any] | None, staleness: float
    ) -> Recommendations:
        weights = self._popularity_weights([staleness])
        query = queries(self._pool(history)[None], weights, scoring=self.params["scoring"])
        if allow is not None:
            rows = np.setdiff1d(self._fitted().item_rows(allow), excluded)
            targets = self._exact.vectors
            scores = exact_scores(targets, rows, query, np.zeros(len(rows), np.int64))
            return self._best(rows, scores, k)
        wanted = k + len(excluded)  # enough to leave k after exclusion
        if self._annoy is not None and wanted < len(self._exact.vectors) // 4:
            rows, scores = self._annoy.query(query, wanted)
            keep = np.flatnonzero(~np.isin(rows[0], excluded))[:k]
            return self._listed(rows[0, keep], scores[0, keep])
        bounds = np.array([0, len(excluded)])
        rows, scores = self._exact.query(query, k, exclude=(bounds, excluded))
        keep = np.flatnonzero(scores[0] > -np.inf)
        return self._listed(rows[0, keep], scores[0, keep])

    def popular(self, k: int = 10) -> Recommendations:
        """Return the k items with the most interactions; the score is their number."""
        _check_k(k)
        return self._popular(k, _NO_ROWS, None)

    def _popular(self, k: int, excluded: Rows, allow: Iterable[Any] | None) -> Recommendations:
        tables = self._fitted()
        chosen = np.arange(len(tables.counts)) if allow is None else tables.item_rows(allow)
        rows = np.setdiff1d(chosen, excluded)
        return self._best(rows, tables.counts[rows].astype(np.float32), k)

    def _best(self, rows: Rows, scores: Vectors, k: int) -> Recommendations:
        """List the k best of some ascending rows."""
        if len(rows) == 0:
            return self._listed(rows, scores)
        order, best = top_k(scores[None], k)
        return self._listed(rows[order[0]], best[0])

    def _listed(self, rows: Rows, scores: Vectors) -> Recommendations:
        tables = self._fitted()
        titles = None if tables.titles is None else [tables.titles[row] for row in rows.tolist()]
        cold = None if tables.cold is None else tables.cold[rows]
        return Recommendations(take(tables.item_ids, rows), scores, titles, cold)

    @property
    def index(self) -> ExactIndex | AnnoyIndex:
        """The index that `recommend` searches."""
        self._fitted()
        return self._annoy or self._exact

    def queries(
        self, histories: Sequences, staleness: npt.NDArray[np.float64] | None = None
    ) -> Vectors:
        """Return what the index is asked for each history, float32 (n_users, d + 2).

        Parameters
        ----------
        histories : Sequences
            Over the vocabulary `items`; none is empty.
        staleness : float64 array, shape (n_users,), days
            Since the last event of each; None = all are here now.
        """
        vectors = self._fitted().vectors
        averaged = user_vectors(
            histories,
            vectors,
            half_life=self.params["half_life"],
            item_weights=self._item_weights,
        )
        weights = self._popularity_weights(
            np.zeros(len(averaged)) if staleness is None else staleness
        )
        return queries(averaged, weights, scoring=self.params["scoring"])

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude: Sequences | None,
        staleness: npt.NDArray[np.float64] | None = None,
    ) -> tuple[Rows, Vectors]:
        """Rank the items for many histories at once, exactly: what evaluation measures.

        Parameters
        ----------
        histories, exclude : Sequences
            Over the vocabulary `items`; row u of both is the same user, no history is empty.
        k : int
        staleness : float64 array, shape (n_users,), days
            Since the last event of each; None = all are here now.

        Returns
        -------
        rows : int64 array, shape (n_users, min(k, n_items))
            Rows of `items`, best first.
        scores : float32 array, same shape
            -inf where a list ends before k.
        """
        excluded = None if exclude is None else (exclude.offsets, exclude.codes)
        return self._exact.query(self.queries(histories, staleness), k, exclude=excluded)

    def recommend_many(
        self, k: int = 10, *, users: Iterable[Any] | None = None, watched: bool = False
    ) -> pd.DataFrame:
        """Recommend k items to each of many users; always by exact search.

        Parameters
        ----------
        k : int
        users : ids, optional
            All users of the model if not given. Users without a vector are left out; their number
            is logged.
        watched : bool
            Whether watched items may come again.

        Returns
        -------
        DataFrame
            user_id, rank (from 1), item_id, score; sorted as the users came, then by rank.

        Raises
        ------
        UnknownUserError
        """
        import pandas as pd

        _check_k(k)
        tables = self._fitted()
        wanted = range(len(tables.histories)) if users is None else map(tables.user_row, users)
        user_rows = np.fromiter(wanted, dtype=np.int64)
        warm = user_rows[tables.histories.lengths[user_rows] > 0]
        if len(warm) < len(user_rows):
            logger.info("%d users without a vector are left out", len(user_rows) - len(warm))
        exclude = None if watched else tables.watched.take_users(warm)
        histories, staleness = tables.histories.take_users(warm), tables.staleness[warm]
        rows, scores = self.rank(histories, k, exclude=exclude, staleness=staleness)
        who, place = np.nonzero(scores > -np.inf)
        return pd.DataFrame(
            {
                "user_id": take(tables.user_ids, warm[who]),
                "rank": place + 1,
                "item_id": take(tables.item_ids, rows[who, place]),
                "score": scores[who, place],
            }
        )

    # ---- look inside

    def similar_items(self, item: Any, k: int = 10) -> Recommendations:
        """Return the items whose input vectors point the same way: what could replace this one.

        Parameters
        ----------
        item : int or str
            An item id, or an exact title.
        k : int

        Returns
        -------
        Recommendations
            Scores are cosines.

        Raises
        ------
        UnknownItemError
            Neither an id nor a title, with the closest titles; or a title of several items.
        """
        _check_k(k)
        tables = self._fitted()
        row = find(tables.item_ids, item)
        row = tables.row_of_title(item) if row is None else row
        rows = np.delete(np.arange(len(tables.vectors)), row)
        unit = tables.unit_vectors
        return self._best(rows, exact_scores(unit, rows, unit[[row]], rows * 0), k)

    def explain(self, user_id: Any, item_id: Any) -> pd.DataFrame:
        """Split the score of an item for a user: one share a watched item, one for popularity.

        The user vector is an average, and the inner product is linear, so the split is exact:
        the contributions sum to the score.

        Returns
        -------
        DataFrame
            item_id, title, contribution, share = contribution / sum of |contributions|; the largest
            |share| first. One row a watched item that has a vector, and one for popularity, whose
            item_id is None and whose title is "(popularity)".

        Raises
        ------
        UnknownUserError, ColdUserError, UnknownItemError
        """
        import pandas as pd

        tables, history = self._fitted(), self._history(user_id)
        *answer, level, popularity = tables.readout[tables.item_row(item_id)].astype(np.float64)
        weights = history_weights(
            np.array([0, len(history)]),
            half_life=self.params["half_life"],
            item_weights=self._item_weights[history],
        )
        if self.params["scoring"] == "cosine":
            weights = weights / np.linalg.norm(self._pool(history))
        # The weights sum to 1, so that the item's level is part of what each watched item says.
        parts = weights * (tables.vectors[history].astype(np.float64) @ np.array(answer) + level)
        rows, which = np.unique(history, return_inverse=True)
        weight = self._popularity_weights(self._stale(find(tables.user_ids, user_id)))
        contributions = np.append(np.bincount(which, weights=parts), popularity * weight)
        listed = self._listed(rows, contributions[:-1].astype(np.float32)).to_frame()
        ids, titles = listed["item_id"].tolist(), listed["title"].tolist()
        table = pd.DataFrame(
            {"item_id": [*ids, None], "title": [*titles, "(popularity)"]}, dtype=object
        )
        total = np.abs(contributions).sum() or 1.0
        table = table.assign(contribution=contributions, share=contributions / total)
        order = np.argsort(-np.abs(contributions), kind="stable")
        return table.iloc[order].reset_index(drop=True)

    def _stale(self, user_row: int | None) -> float:
        return 0.0 if user_row is None else float(self._fitted().staleness[user_row])


_NO_ROWS = np.empty(0, dtype=np.int64)


def recommend(user_id: Any, k: int = 10, model: str | Path | None = None) -> Recommendations:
    """Recommend k items to a user from a saved model.

    The model is opened at the first call, and again when the folder has changed.

    Parameters
    ----------
    user_id : int or str
    k : int
    model : str or Path, optional
        A model folder; `data/model`, where `recsys train` puts it, if not given.

    Raises
    ------
    ModelError
        There is no model, or it is damaged.
    UnknownUserError, ColdUserError, ValueError
        As in `Recommender.recommend`.
    """
    folder = data_folder() / "model" if model is None else Path(model)
    return _opened(folder.absolute(), storage.stamp(folder)).recommend(user_id, k)


@functools.lru_cache(maxsize=4)
def _opened(folder: Path, stamp: tuple[int, ...]) -> Recommender:
    return Recommender.load(folder)


def _check_k(k: int) -> None:
    try:
        whole = operator.index(k)
    except TypeError:
        raise ValueError(f"k must be a whole number above 0, got {k!r}") from None
    if whole < 1:
        raise ValueError(f"k must be a whole number above 0, got {k!r}")


def _annoy_index(vectors: Vectors, seed: int, index_file: Path | None) -> AnnoyIndex:
    if index_file is not None:
        try:
            return AnnoyIndex(vectors, path=index_file)
        except (OSError, ValueError) as error:  # replaced by another process just now, or forged
            logger.warning("%s; the index is rebuilt from the vectors", error)
    return AnnoyIndex(vectors, seed=seed)
