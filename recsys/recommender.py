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

from recsys.data.columns import find, take
from recsys.errors import ColdUserError, DataError, ModelError, NotFittedError, UnknownUserError
from recsys.model import storage
from recsys.model.explain import account, reasons_for
from recsys.model.tables import Tables
from recsys.recommendations import Recommendations
from recsys.search.approximate import AnnoyIndex, annoy_available, best_of, build_annoy
from recsys.search.diversity import diversify, diversify_many, pool_size
from recsys.search.exact import ExactIndex, exact_scores, top_k, unit_length
from recsys.search.threads import one_blas_thread
from recsys.settings import check_settings
from recsys.vectors.readout import popularity_weights, queries, rarity
from recsys.vectors.users import user_vectors, weights_of_one
from recsys.vectors.walks import train_vectors

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from recsys.data.sequences import Sequences

    Rows = npt.NDArray[np.integer]
    Vectors = npt.NDArray[np.float32]
    from recsys.model.explain import Taste

logger = logging.getLogger(__name__)

# How much the average of what is disliked weighs, against 1 for what is liked. More costs recall:
# in fold-in on the first 80% of ml-100k (208 users, later ratings of 4 and 5 to be found), with
# ratings of 1 and 2 as disliked, recall@20 is .225 at 0.1, .207 at 0.2, and .228 without them.
DISLIKED = 0.1
# Users that the index is tried with when it is built, and chosen for.
ASKED = 300
_NO_ROWS = np.empty(0, dtype=np.int64)


class Recommender:
    """Recommend items by Item2Vec.

    Word2Vec is trained on viewing sequences; a user is the weighted average of the input vectors
    of what he watched; an item is scored by the inner product of that average with what the item
    answers: its output vector, which Word2Vec was trained to make large for items that go
    together, and the coefficients of a ridge regression that predicts what comes next. How much
    popularity counts depends on how long ago the user was last here. See `recsys.vectors.readout`.

    Settings that are None are chosen on the latest part of the ratings given to `fit`
    (`recsys.vectors.calibrate`), unless `calibrate=False`.

    Parameters
    ----------
    sg, hs, negative, vector_size, window, epochs, alpha, sample, ns_exponent, min_count,
    shrink_windows, seed, workers
        As in `recsys.vectors.item2vec.train_item2vec`, and named as in gensim. `epochs`: None =
        chosen.
    sequences : {"histories", "walks"}
        What Word2Vec is trained on: the users' sequences, or random walks over the graph of which
        items stand next to each other in them (`recsys.vectors.walks`). User vectors and the ridge
        regression are made of the histories either way.
    p, q : float from 0.05 to 20
        Of the walks, as in node2vec: the larger p, the less a walk turns back; the larger q, the
        more it stays near where it came from. 1 and 1 is DeepWalk.
    calibrate : bool
        Whether to choose `epochs`, `half_life` and the three settings of popularity where they
        are None. Otherwise None is 20 epochs (above a million ratings fewer,
        `recsys.vectors.calibrate.default_epochs`), the plain mean, no popularity, and all-time.
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
        A parameter is out of range, `hs=1` without `scoring="cosine"`, or p or q without walks.

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
        sequences: str = "histories",
        p: float = 1.0,
        q: float = 1.0,
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
        self.drift: dict[str, Any] = {}
        self._about: dict[str, Any] = {}
        self._tables: Tables | None = None

    @property
    def calibration(self) -> dict[str, Any]:
        """What the last `fit` has chosen and on what evidence, see `recsys.vectors.calibrate`."""
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
        from recsys.data.frames import check_items, check_ratings
        from recsys.data.summary import fingerprint
        from recsys.model.fit import fit_tables
        from recsys.vectors.calibrate import calibrate, default_epochs

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
        with one_blas_thread():
            if self.params["calibrate"]:
                calibration = calibrate(ratings, self.params)
                self.params |= calibration["chosen"]
                self.seconds["calibrate"] = calibration.pop("seconds", 0.0)
            self.params["calibrate"] = False
            self.params["epochs"] = self.params["epochs"] or default_epochs(len(ratings))
            tables, seconds = fit_tables(
                ratings,
                checked,
                self.params,
                lambda histories, _: train_vectors(histories, self.params),
            )
            self.seconds |= seconds
        self._about = {
            "versions": storage.versions(),
            "data": {"n_ratings": len(ratings), "sha256": fingerprint(ratings)},
            "calibration": calibration,
        }
        self.drift = {}
        self._open(tables)
        return self

    def update(self, new_ratings: pd.DataFrame, items: pd.DataFrame | None = None) -> Recommender:
        """Learn new events without training on all of the old ones again.

        Histories, popularity and all else that is counted become exactly those of a `fit` on old
        and new events together. Input vectors of old items stay as they are, output vectors learn
        on, new items get vectors of both kinds (`recsys.model.update`). Settings are not chosen
        again. If it fails, the model stays as it was.

        Parameters
        ----------
        new_ratings : DataFrame
            As for `fit`; the columns that the model was fitted with. An event that the model knows
            (same user, item and time) is dropped. Without a timestamp there is no telling: all
            events are new, and later than the old ones.
        items : DataFrame, optional
            `item_id`, `title`: of new items, or to replace.

        Returns
        -------
        Recommender
            Itself; `drift` says what has changed (`recsys.model.update.drift`).

        Raises
        ------
        DataError
            The frame cannot be used as it is, or does not go with the events of the model.
        ValueError
            `hs=1` or walks: such training cannot be continued.
        NotFittedError
        """
        changed = copy.copy(self)
        changed._update(new_ratings, items)
        self.__dict__ |= vars(changed)
        return self

    def _update(self, new_ratings: pd.DataFrame, items: pd.DataFrame | None) -> None:
        from recsys.data.frames import check_items
        from recsys.data.summary import chained
        from recsys.model.cold import added
        from recsys.model.fit import fit_tables
        from recsys.model.update import NEW, drift, go_on, merge, merge_items, still_cold

        started, known = time.perf_counter(), self._fitted()
        if self.params["sequences"] == "walks":
            raise ValueError("a model of walks cannot be updated: fit it on all ratings instead")
        checked = None if items is None else check_items(items)
        merged = merge(known, new_ratings, min_rating=self.params["min_rating"])
        news = merged[merged[NEW]].drop(columns=NEW)
        self.seconds = {"merge": time.perf_counter() - started}
        tables = known
        if len(news) or items is not None:
            with one_blas_thread():
                described = merge_items(known, checked)
                tables, seconds = fit_tables(
                    merged,
                    described,
                    self.params,
                    lambda histories, events: go_on(known, histories, events, self.params),
                )
                self.seconds |= seconds
                if described is not None and known.is_cold.any():
                    cold = still_cold(known, tables, described)
                    if len(cold):
                        tables = added(tables, cold, unit=self.params["scoring"] == "cosine")
        if len(news):
            data = {
                "n_ratings": len(merged),
                "sha256": chained(self._about["data"]["sha256"], news),
            }
            self._about = self._about | {"versions": storage.versions(), "data": data}
        else:
            logger.info("every event of these is known already: there is nothing to learn")
        if tables is not known:
            self._open(tables)
        self.drift = drift(known, tables) | {"seconds": time.perf_counter() - started}

    def _open(self, tables: Tables, stored: storage.Stored | None = None) -> None:
        """Take what `fit` or a folder gives, and index it."""
        self._tables = tables
        self._item_weights = rarity(tables.counts, self.params["discount"])
        self._unit_users: tuple[Rows, Vectors] | None = None
        started = time.perf_counter()
        self._exact = ExactIndex(tables.readout)
        self._annoy: AnnoyIndex | None = None
        self._ann: dict[str, Any] = {}
        if self.params["index"] == "annoy" and annoy_available():
            if stored is None or (stored.index is None and "ann" not in stored.manifest):
                self._annoy, self._ann = self._chosen_index()
            else:
                self._ann = stored.manifest.get("ann", {})
                self._annoy = _annoy_index(tables.readout, self.params["seed"], stored)
        self.seconds["index"] = time.perf_counter() - started

    def _chosen_index(self) -> tuple[AnnoyIndex, dict[str, Any]]:
        """Build an index that suits some users, drawn at random: the same ones every time."""
        tables = self._fitted()
        users = np.flatnonzero(tables.histories.lengths)
        if len(users) > ASKED:
            users = np.sort(np.random.default_rng(0).choice(users, ASKED, replace=False))
        asked = self.queries(tables.histories.take_users(users), tables.staleness[users])
        watched = tables.watched.take_users(users)
        return build_annoy(
            tables.readout, asked, (watched.offsets, watched.codes), seed=self.params["seed"]
        )

    @property
    def ann(self) -> dict[str, Any]:
        """What was chosen for Annoy when it was built, and what it finds; empty without Annoy.

        And of a model that was saved before anything was chosen.

        n_trees, search_k and n_longest (see `recsys.search.approximate.AnnoyIndex`), and
        `overlap`: the mean
        share of the exact top `k` of what a user has not watched that is found, of `n_queries`
        users of the model, drawn at random.
        """
        self._fitted()
        return dict(self._ann)

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
        write_index = None
        if self._annoy is not None:
            write_index = self._annoy.save
            columns["longest"] = self._annoy.longest
            manifest["ann"] = self._ann
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
            model._open(Tables.from_columns(stored.columns, deep=verify), stored)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"the model in '{folder}' does not fit together: {error}") from None
        return model

    # ---- a living catalogue

    def add_items(self, items: pd.DataFrame) -> Recommender:
        """Add items that nobody has watched yet, with vectors from their metadata.

        Genres, year, words of the title, and further columns of text or of tuples (tags) are what
        a ridge regression learns from on the items that were watched (`recsys.model.cold`). It
        predicts
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
        from recsys.data.frames import check_items
        from recsys.model.cold import added

        tables, new = self._fitted(), check_items(items)
        with one_blas_thread():
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
        if gone:
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
    def tables(self) -> Tables:
        """What the model holds, column by column."""
        return self._fitted()

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
        rows, weights = self._taste(self._history(user_id))
        return np.asarray((weights[:, None] * self._fitted().vectors[rows]).sum(axis=0))

    def pooled(self, histories: Sequences) -> Vectors:
        """Average the input vectors of many histories as `user_vector` does, float32 (n_users, d).

        Parameters
        ----------
        histories : Sequences
            Over the vocabulary `items`; none is empty.
        """
        return user_vectors(
            histories,
            self._fitted().vectors,
            half_life=self.params["half_life"],
            item_weights=self._item_weights,
        )

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
        return np.array(self.item_vectors(space)[self._fitted().item_row(item_id)])

    def item_vectors(self, space: str = "input") -> Vectors:
        """Return the vectors of all `items`, float32 (n_items, d); not to be written to.

        Raises
        ------
        ValueError
            As in `item_vector`.
        """
        tables = self._fitted()
        matrix = {"input": tables.vectors, "output": tables.contexts}.get(space)
        if matrix is None:
            raise ValueError(f"this model has no {space!r} vectors (spaces: 'input', 'output')")
        return matrix

    def user_vectors(self) -> tuple[npt.NDArray[Any], Vectors]:
        """Return the vectors of all users who have one.

        Returns
        -------
        user_ids : array, shape (n,)
            Ascending; those of `users` with at least one item that has a vector.
        vectors : float32 array, shape (n, d)
            Row by row what `user_vector` returns.
        """
        tables = self._fitted()
        warm = np.flatnonzero(tables.histories.lengths)
        return take(tables.user_ids, warm), self.pooled(tables.histories.take_users(warm))

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
        where: str | pd.Series | None = None,
        popularity: float = 1.0,
        diversity: float = 0.0,
        reasons: bool = False,
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
        where : str or boolean Series
            The only items to choose from, by the columns of the items given to `fit`:
            "year >= 1990 and 'Comedy' in genres" (`recsys.model.where` has the syntax); or a Series
            whose index holds item ids and is called "item_id".
        popularity : float
            What popularity counts, as a multiple of what the model has learned: 0 = pure taste.
        diversity : float in [0, 1]
            How much an item is to differ from those above it in the list, against how well it
            suits the user, see `recsys.search.diversity`. Then the list is not in order of the
            scores.
        reasons : bool
            Whether to fill in `reason`: which watched items speak most for this one.
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
            k is not a whole number above 0, an unknown fallback, a filter that cannot be read, or
            a dial out of range.
        """
        if fallback not in (None, "popularity"):
            raise ValueError(f"fallback must be None or 'popularity', got {fallback!r}")
        k, popularity, diversity = _checked(k, popularity, diversity)
        tables = self._fitted()
        row = find(tables.user_ids, user_id)
        seen = _NO_ROWS if watched or row is None else tables.watched.items_of(row)
        left = self._left(seen, block, allow, where)
        try:
            history = self._history(user_id)
        except (UnknownUserError, ColdUserError):
            if fallback is None:
                raise
            rows = np.arange(len(tables.counts)) if left is None else np.flatnonzero(left)
            rows = np.setdiff1d(rows, seen)
            return self._best(rows, tables.counts[rows].astype(np.float32), k)
        return self._recommend(self._taste(history), k, seen, left, row, popularity, diversity,
                               reasons=reasons)  # fmt: skip

    def recommend_for(
        self,
        history: Iterable[Any] = (),
        k: int = 10,
        *,
        liked: Iterable[Any] = (),
        disliked: Iterable[Any] = (),
        block: Iterable[Any] | None = None,
        allow: Iterable[Any] | None = None,
        where: str | pd.Series | None = None,
        popularity: float = 1.0,
        diversity: float = 0.0,
        reasons: bool = False,
    ) -> Recommendations:
        """Recommend to somebody whom nobody has seen before.

        The user vector is averaged here and now, without training. What is named in the history,
        as liked or as disliked is excluded; ids without a vector are skipped.

        Parameters
        ----------
        history : ids
            Oldest first.
        liked : ids
            In any order; each counts like the newest item of a history.
        disliked : ids
            Their average is taken off the user vector, at a tenth of its weight.
        k, block, allow, where, popularity, diversity, reasons
            As in `recommend`.

        Raises
        ------
        ColdUserError
            No item of the history and none that is liked has a vector.
        ValueError
            As in `recommend`.

        References
        ----------
        Taking off what was disliked: Rocchio 1971, "Relevance feedback in information retrieval".
        """
        k, popularity, diversity = _checked(k, popularity, diversity)
        tables = self._fitted()
        taste = self._taste(*map(tables.item_rows, (history, liked, disliked)))
        if not (taste[1] > 0).any():
            raise ColdUserError("none of the items of this history has a vector")
        left = self._left(taste[0], block, allow, where)
        return self._recommend(taste, k, taste[0], left, None, popularity, diversity,
                               reasons=reasons)  # fmt: skip

    def _left(
        self,
        seen: Rows,
        block: Iterable[Any] | None,
        allow: Iterable[Any] | None,
        where: str | pd.Series | None,
    ) -> npt.NDArray[np.bool_] | None:
        """Tell which items the filters leave, bool array (n_items,); None without a filter."""
        if block is None and allow is None and where is None:
            return None
        blocked = self._fitted().item_rows(() if block is None else block)
        return self._fitted().left(np.append(seen, blocked), allow, where)

    def _taste(self, history: Rows, liked: Rows = _NO_ROWS, disliked: Rows = _NO_ROWS) -> Taste:
        """Return the rows that a user vector is made of, and what each weighs."""
        rarities = self._item_weights
        weights = rarities[history]
        if len(history):
            weights = weights_of_one(weights, half_life=self.params["half_life"])
        if len(liked) == len(disliked) == 0:
            return history, weights
        if len(liked):
            newest = weights[-1] / rarities[history[-1]] if len(history) else 1.0
            weights = np.concatenate([weights, newest * rarities[liked]])
            weights /= weights.sum()
        if len(disliked):
            off = rarities[disliked] / rarities[disliked].sum()
            weights = np.concatenate([weights, -DISLIKED * off])
        rows = np.concatenate([history, liked, disliked])
        return rows, weights.astype(np.float32)

    def _query(self, taste: Taste, popularity_weight: float) -> Vectors:
        rows, weights = taste
        if weights[0] == 0:  # of the oldest items of a long history
            rows, weights = rows[weights != 0], weights[weights != 0]
        taken = self._fitted().vectors[rows]
        taken *= weights[:, None]
        pooled, scoring = taken.sum(axis=0)[None], self.params["scoring"]
        query: Vectors = queries(pooled, [popularity_weight], scoring=scoring)[0]
        if (weights < 0).any():
            query[-2] = weights.sum()  # of the items' level, of which 1 is a history's share
        return query

    def _weight(self, user_row: int | None) -> float:
        """Return what popularity weighs for a user; None is somebody who is here now."""
        days = 0.0 if user_row is None else self._fitted().staleness[user_row]
        return float(self._popularity_weights(days))

    def _recommend(
        self,
        taste: Taste,
        k: int,
        seen: Rows,
        left: npt.NDArray[np.bool_] | None,
        user_row: int | None,
        popularity: float,
        diversity: float,
        *,
        reasons: bool,
    ) -> Recommendations:
        popularity_weight = popularity * self._weight(user_row)
        query = self._query(taste, popularity_weight)
        # What the other index was chosen for, see `_chosen_index`, is popularity as it was learned.
        index = self.index if popularity == 1 else self._exact
        wanted = pool_size(k) if diversity else k
        if left is None:
            rows, scores = index.find(query, wanted, seen)
        else:
            rows, scores = best_of(index, query, wanted, left)
        if diversity:
            unit = unit_length(self._fitted().vectors[rows])
            order = diversify(scores, unit, k, diversity)
            rows, scores = rows[order], scores[order]
        why = None
        if reasons:
            why = reasons_for(self._fitted(), taste, rows, popularity_weight, **self._scoring)
        return self._listed(rows, scores, why)

    @property
    def _scoring(self) -> dict[str, bool]:
        return {"cosine": self.params["scoring"] == "cosine"}

    def popular(self, k: int = 10) -> Recommendations:
        """Return the k items with the most interactions; the score is their number."""
        counts = self._fitted().counts
        return self._best(np.arange(len(counts)), counts.astype(np.float32), _whole(k))

    def _best(self, rows: Rows, scores: Vectors, k: int) -> Recommendations:
        """List the k best of some ascending rows."""
        if len(rows) == 0:
            return self._listed(rows, scores)
        order, best = top_k(scores[None], k)
        return self._listed(rows[order[0]], best[0])

    def _listed(
        self, rows: Rows, scores: Vectors, reasons: list[str] | None = None
    ) -> Recommendations:
        tables = self._fitted()
        texts = tables.titles
        titles = None if texts is None else texts.at(rows)
        cold = None if tables.cold is None else tables.cold[rows]
        return Recommendations(take(tables.item_ids, rows), scores, titles, reasons, cold)

    @property
    def index(self) -> ExactIndex | AnnoyIndex:
        """The index that `recommend` searches."""
        self._fitted()
        return self._annoy or self._exact

    def queries(
        self,
        histories: Sequences,
        staleness: npt.NDArray[np.float64] | None = None,
        *,
        popularity: float = 1.0,
    ) -> Vectors:
        """Return what the index is asked for each history, float32 (n_users, d + 2).

        Parameters
        ----------
        histories : Sequences
            Over the vocabulary `items`; none is empty.
        staleness : float64 array, shape (n_users,), days
            Since the last event of each; None = all are here now.
        popularity : float
            As in `recommend`.
        """
        averaged = self.pooled(histories)
        weights = self._popularity_weights(
            np.zeros(len(averaged)) if staleness is None else staleness
        )
        return queries(averaged, popularity * weights, scoring=self.params["scoring"])

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude: Sequences | None,
        staleness: npt.NDArray[np.float64] | None = None,
        left: npt.NDArray[np.bool_] | None = None,
        popularity: float = 1.0,
        diversity: float = 0.0,
        threads: int = 1,
    ) -> tuple[Rows, Vectors]:
        """Rank the items for many histories at once, exactly: what evaluation measures.

        Parameters
        ----------
        histories, exclude : Sequences
            Over the vocabulary `items`; row u of both is the same user, no history is empty.
        k : int
        staleness : float64 array, shape (n_users,), days
            Since the last event of each; None = all are here now.
        left : bool array, shape (n_items,)
            The items to choose from; None = all.
        popularity, diversity : float
            As in `recommend`.
        threads : int
            As in `recommend_many`.

        Returns
        -------
        rows : int64 array, shape (n_users, min(k, n_items))
            Rows of `items`, best first.
        scores : float32 array, same shape
            -inf where a list ends before k.
        """
        index, among = self._exact, np.arange(len(self._exact.vectors))
        if left is not None:
            among = np.flatnonzero(left)
            index = ExactIndex(index.vectors[among])
            exclude = None if exclude is None else exclude.recode(exclude.item_ids[among])
        excluded = None if exclude is None else (exclude.offsets, exclude.codes)
        asked = self.queries(histories, staleness, popularity=popularity)
        wanted = pool_size(k) if diversity else k
        rows, scores = index.query(asked, wanted, exclude=excluded, threads=threads)
        rows = among[rows]
        if diversity:
            rows, scores = diversify_many(rows, scores, self._fitted().unit_vectors, k, diversity)
        return rows, scores

    def recommend_many(
        self,
        k: int = 10,
        *,
        users: Iterable[Any] | None = None,
        watched: bool = False,
        block: Iterable[Any] | None = None,
        allow: Iterable[Any] | None = None,
        where: str | pd.Series | None = None,
        popularity: float = 1.0,
        diversity: float = 0.0,
        threads: int = 1,
    ) -> pd.DataFrame:
        """Recommend k items to each of many users; always by exact search.

        Parameters
        ----------
        k : int
        users : ids, optional
            All users of the model if not given. Users without a vector are left out; their number
            is logged.
        watched, block, allow, where, popularity, diversity
            As in `recommend`, for all users alike.
        threads : int
            Of the search; the same lists with any number.

        Returns
        -------
        DataFrame
            user_id, rank (from 1), item_id, score; sorted as the users came, then by rank.

        Raises
        ------
        UnknownUserError
        ValueError
            As in `recommend`.
        """
        import pandas as pd

        k, popularity, diversity = _checked(k, popularity, diversity)
        threads = _whole(threads, "threads")
        tables = self._fitted()
        wanted = range(len(tables.histories)) if users is None else map(tables.user_row, users)
        user_rows = np.fromiter(wanted, dtype=np.int64)
        warm = user_rows[tables.histories.lengths[user_rows] > 0]
        if len(warm) < len(user_rows):
            logger.info("%d users without a vector are left out", len(user_rows) - len(warm))
        exclude = None if watched else tables.watched.take_users(warm)
        histories, staleness = tables.histories.take_users(warm), tables.staleness[warm]
        left = tables.left(tables.item_rows(() if block is None else block), allow, where)
        rows, scores = self.rank(
            histories, k, exclude=exclude, staleness=staleness, left=left,
            popularity=popularity, diversity=diversity, threads=threads,
        )  # fmt: skip
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
        k = _whole(k)
        tables = self._fitted()
        row = find(tables.item_ids, item)
        row = tables.row_of_title(item) if row is None else row
        rows = np.delete(np.arange(len(tables.vectors)), row)
        unit = tables.unit_vectors
        return self._best(rows, exact_scores(unit, rows, unit[[row]], rows * 0), k)

    def similar_users(self, user_id: Any, k: int = 10) -> pd.DataFrame:
        """Return the users whose user vectors point the same way: who watches the like of late.

        The vectors of all users are averaged at the first call and kept, 4 * d bytes a user.

        Parameters
        ----------
        user_id : int or str
        k : int

        Returns
        -------
        DataFrame
            rank (from 1), user_id, score (the cosine of both user vectors), the nearest first.
            Without the user himself, and without users who have no vector.

        Raises
        ------
        UnknownUserError
            The user was not in the ratings.
        ColdUserError
            None of the user's items has a vector.
        ValueError
            k is not a whole number above 0.
        """
        import pandas as pd

        k = _whole(k)
        tables = self._fitted()
        self._history(user_id)
        if self._unit_users is None:
            rows = np.flatnonzero(tables.histories.lengths > 0)
            averaged = self.pooled(tables.histories.take_users(rows))
            self._unit_users = rows, unit_length(averaged)
        warm, unit = self._unit_users
        himself = np.searchsorted(warm, tables.user_row(user_id))
        others = np.delete(np.arange(len(warm)), himself)
        scores = exact_scores(unit, others, unit[[himself]], others * 0)
        order = np.argsort(-scores, kind="stable")[:k]
        return pd.DataFrame(
            {
                "rank": np.arange(1, len(order) + 1),
                "user_id": take(tables.user_ids, warm[others[order]]),
                "score": scores[order],
            }
        )

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
        taste = self._taste(self._history(user_id))
        weight = self._weight(find(self._fitted().user_ids, user_id))
        return account(self._fitted(), taste, item_id, weight, **self._scoring)

    def explain_for(
        self,
        history: Iterable[Any],
        item_id: Any,
        *,
        liked: Iterable[Any] = (),
        disliked: Iterable[Any] = (),
    ) -> pd.DataFrame:
        """Split the score of an item for a history, as `recommend_for` gives it; see `explain`."""
        taste = self._taste(*map(self._fitted().item_rows, (history, liked, disliked)))
        return account(self._fitted(), taste, item_id, self._weight(None), **self._scoring)


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
    from recsys.data.datasets import data_folder

    folder = data_folder() / "model" if model is None else Path(model)
    return _opened(folder.absolute(), storage.stamp(folder)).recommend(user_id, k)


@functools.lru_cache(maxsize=4)
def _opened(folder: Path, stamp: tuple[int, ...]) -> Recommender:
    return Recommender.load(folder)


def _whole(number: int, name: str = "k") -> int:
    try:
        whole = operator.index(number)
    except TypeError:
        raise ValueError(f"{name} must be a whole number above 0, got {number!r}") from None
    if whole < 1:
        raise ValueError(f"{name} must be a whole number above 0, got {number!r}")
    return whole


def _checked(k: int, popularity: float, diversity: float) -> tuple[int, float, float]:
    if not 0 <= popularity < float("inf"):
        raise ValueError(f"popularity must be a number from 0 up, got {popularity!r}")
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity must lie in [0, 1], got {diversity!r}")
    return _whole(k), float(popularity), float(diversity)


def _annoy_index(vectors: Vectors, seed: int, stored: storage.Stored) -> AnnoyIndex:
    """Map the index of a folder as it was chosen when it was built, or build the like of it."""
    chosen: dict[str, Any] = {"seed": seed}
    if stored.manifest.get("ann"):  # else saved before they were chosen
        longest = chosen["longest"] = stored.columns["longest"]
        if longest.dtype.kind != "i" or not ((longest >= 0) & (longest < len(vectors))).all():
            raise ValueError("longest does not point at items")
        chosen |= {name: int(stored.manifest["ann"][name]) for name in ("n_trees", "search_k")}
    if stored.index is not None:
        try:
            return AnnoyIndex(vectors, **chosen, path=stored.index)
        except (OSError, ValueError) as error:  # replaced by another process just now, or forged
            logger.warning("%s; the index is rebuilt from the vectors", error)
    return AnnoyIndex(vectors, **chosen)
