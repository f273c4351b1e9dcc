"""Answer "what next for user X?" with Item2Vec: fit, recommend, explain, save, load."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import find, several_ids, take
from recsys.errors import ColdUserError, NotFittedError, UnknownUserError
from recsys.model import storage
from recsys.model.ask import NO_ROWS, Model, check_count, check_dials
from recsys.settings import SETTINGS, complete_settings, describe_in

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from recsys.data.events import Events
    from recsys.recommendations import Recommendations

    Vectors = npt.NDArray[np.float32]
    Ids = Iterable[Any]


class Recommender:
    """Recommend items by Item2Vec.

    Word2Vec is trained on viewing sequences; a user is the weighted average of the input vectors
    of what they watched; an item is scored by the inner product of that average with what the item
    answers: its output vector, which Word2Vec was trained to make large for items that go
    together, and the coefficients of a ridge regression that predicts what comes next. For short
    histories what the same people watched counts too, by audience vectors. How much popularity
    counts depends on how long ago the user was last active. See `recsys.vectors`.

    Settings marked "(chosen)" are chosen on the latest part of the ratings given to `fit`
    (`recsys.vectors.calibrate`) where they are None, unless `calibrate=False`.

    Parameters
    ----------
    <every setting of `recsys.settings`>

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
        sg: int = 0, hs: int = 0, negative: int | None = None, vector_size: int = 256,
        window: int = 10, epochs: int | None = None, alpha: float = 0.15, sample: float = 1e-3,
        ns_exponent: float = 0.0, min_count: int = 1, shrink_windows: bool = True,
        seed: int = 42, workers: int = 1,
        calibrate: bool = True, scoring: str = "input-output", ridge: float = 0.5,
        discount: float = 0.25, half_life: float | None = None,
        popularity_weight: float | None = None, stale_popularity_weight: float | None = None,
        popularity_days: float | None = None, audience_weight: float | None = None,
        min_rating: float | None = None, index: str = "annoy",
    ) -> None:  # fmt: skip
        self._given = complete_settings(locals())
        self._model: Model | None = None

    def __repr__(self) -> str:
        """Name the settings that are not the defaults, and what the model holds."""
        changed = {n: value for n, value in self._given.items() if value != SETTINGS[n].default}
        given = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        held = "not fitted" if self._model is None else f"fitted: {self._model.tables.describe()}"
        return f"<Recommender({given}), {held}>"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings as given, for scikit-learn's `clone`; `deep` changes nothing."""
        return dict(self._given)

    def set_params(self, **params: Any) -> Recommender:
        """Change settings, for the next `fit`, and return itself; ValueError as for a new one."""
        if unknown := sorted(params.keys() - SETTINGS.keys()):
            raise ValueError(f"unknown settings {unknown}; there are {', '.join(SETTINGS)}")
        self._given = complete_settings(self._given | params)
        return self

    @property
    def params(self) -> dict[str, Any]:
        """The settings, with those that `fit` has chosen."""
        return dict(self._given if self._model is None else self._model.params)

    @property
    def about(self) -> dict[str, Any]:
        """Where the model came from, as a dict.

        calibration : what the last `fit` chose and on what evidence (`vectors.calibrate`)
        ann : the settings of Annoy and the share of the exact top 20 that they find
        drift : what the last `update` changed (`model.update.measure_drift`)
        seconds : how long each step of the last change took
        versions, data : packages; number of ratings and their sha256
        cold_items : ids of the items added by `add_items`, ascending array
        """
        model = fitted(self)
        cold = np.flatnonzero(model.tables.is_cold)
        return {**model.about, "cold_items": take(model.tables.item_ids, cold)}

    @property
    def users(self) -> npt.NDArray[Any]:
        """Ids of all users given to `fit`, ascending, shape (n_users,)."""
        return take(fitted(self).tables.user_ids)

    @property
    def items(self) -> npt.NDArray[Any]:
        """Ids of all items that have a vector, ascending, shape (n_items,)."""
        return take(fitted(self).tables.item_ids)

    # ---- change the model: each makes a new one and puts it in place at its end

    def fit(self, ratings: pd.DataFrame | Events, items: pd.DataFrame | None = None) -> Recommender:
        """Train on all of the ratings and return itself; if that fails, nothing changes.

        The same ratings in any row order, with the same parameters, give the same model to the
        byte (on one machine, one set of versions, `workers=1`). TQDM_DISABLE=1 hides the bar.

        Parameters
        ----------
        ratings : DataFrame or Events
            `user_id`, `item_id` and, optionally, `rating` and `timestamp`, as `load_ratings` gives
            it or from anywhere. Without timestamps the rows are taken to be in order.
        items : DataFrame, optional
            `item_id`, `title`, and whatever else is known of the items.

        Raises
        ------
        DataError
            The frame cannot be used as it is.
        """
        from recsys.data.events import Events
        from recsys.data.frames.items import check_items
        from recsys.data.frames.ratings import check_ratings
        from recsys.model.fit import fit_model

        events = ratings if isinstance(ratings, Events) else Events.of(check_ratings(ratings))
        checked = None if items is None else check_items(items)
        self._model = fit_model(events, checked, self._given)
        return self

    def update(self, new_ratings: pd.DataFrame, items: pd.DataFrame | None = None) -> Recommender:
        """Learn new events and return itself; if an update fails, the model is unchanged.

        Histories, popularity and all other counts become exactly those of a `fit` on old and new
        events together. Input vectors of old items stay as they are, output vectors learn on, new
        items get vectors of both kinds (`recsys.model.update`). Settings are not chosen again.
        `about["drift"]` says what has changed.

        Parameters
        ----------
        new_ratings : DataFrame
            As for `fit`, with the same columns. Events that the model knows (same user, item and
            time) are dropped; without timestamps all are taken to be new, and later.
        items : DataFrame, optional
            `item_id`, `title`: of new items, or to replace.

        Raises
        ------
        DataError
            The frame cannot be used as it is, or does not fit the events of the model.
        ValueError
            `hs=1`: such training cannot be continued.
        """
        from recsys.model.update import update_model

        self._model = update_model(fitted(self), new_ratings, items)
        return self

    def add_items(self, items: pd.DataFrame) -> Recommender:
        """Add items that nobody has watched yet, with vectors from their metadata; return itself.

        A ridge regression on genres, years, words of the titles and further columns of text or
        tuples (tags) predicts all that the model holds of an item (`recsys.model.cold`). The items
        passed to `fit` must have the same columns. Cold items are then recommended and explained
        like any other, marked `cold`; `allow=model.about["cold_items"]` recommends only them.

        Raises
        ------
        DataError
            The frame cannot be used as it is, its ids do not fit those of the model or have a
            vector already, an item shares no feature with trained items, or there are none.
        """
        from recsys.data.frames.items import check_items
        from recsys.model.cold import add_cold_items
        from recsys.model.fit import with_index

        model = fitted(self)
        tables = add_cold_items(model.tables, check_items(items), model.params)
        self._model = with_index(replace(model, tables=tables))
        return self

    def remove_items(self, item_ids: Ids) -> Recommender:
        """Take items out of the catalogue, and out of all histories; return itself.

        A user who has watched nothing else is cold from then on. What other items have learned
        from them stays. An item that is added again is one that nobody has watched.

        Raises
        ------
        UnknownItemError
            An id has no vector.
        ValueError
            No item would be left.
        """
        from recsys.model.fit import with_index

        model = fitted(self)
        tables = model.tables.without_items(item_ids)
        if tables is not model.tables:
            self._model = with_index(replace(model, tables=tables))
        return self

    # ---- save, load

    def save(self, folder: str | Path) -> None:
        """Save to a folder; if it fails, a model saved there before stays whole.

        Raises
        ------
        ModelError
            The folder is not empty and holds no model.
        """
        fitted(self).save(Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True) -> Recommender:
        """Open a saved model; its arrays are mapped from the files, read-only.

        `verify` compares the checksums of all files; use False for a folder that you trust. A `fit`
        of the loaded object keeps the settings chosen before; `Recommender()` chooses again.

        Raises
        ------
        ModelError
            There is no model, or a part of it is missing, damaged, or of another format.
        """
        model = Model.load(Path(folder), verify=verify)
        recommender = cls(**model.params)
        recommender._model = model
        return recommender

    # ---- recommendations

    def recommend(
        self, user_id: Any, k: int = 10, *, watched: bool = False,
        block: Ids | None = None, allow: Ids | None = None, where: str | pd.Series | None = None,
        popularity: float = 1.0, diversity: float = 0.0, reasons: bool = False,
        fallback: str | None = None,
    ) -> Recommendations:  # fmt: skip
        """Recommend k items to a user.

        Parameters
        ----------
        watched : bool
            Whether items that the user watched may come again.
        block, allow : ids
            Items to leave out, and the only items to choose from; unknown ids are ignored.
        where : str or boolean Series
            The only items to choose from, by the columns given to `fit`: "year >= 1990 and 'War' in
            genres" (`recsys.model.where`); or a Series whose index, "item_id", holds item ids.
        popularity : float in [0, 1000]
            Multiplies the learned weight of popularity: 0 = pure taste.
        diversity : float in [0, 1]
            How much the first 200 items should differ from those above them
            (`recsys.search.diversity`); they are then not in order of scores.
        reasons : bool
            Whether to fill in `reason`: which watched items speak most for this one.
        fallback : {None, "popularity"}
            What a user without a vector gets: the error, or what is popular now: most watched in
            the last `popularity_days` (30 if None; of all time where there are no times).

        Returns
        -------
        Recommendations
            Best first; fewer than k only where the items end.

        Raises
        ------
        UnknownUserError, ColdUserError
            The user was not in the ratings, or none of their items has a vector.
        ValueError
            k is not a whole number above 0, an unknown fallback, a filter that cannot be read, or
            a dial out of range.
        """
        if fallback not in (None, "popularity"):
            raise ValueError(f"fallback must be None or 'popularity', got {fallback!r}")
        k, popularity, diversity = check_dials(k, popularity, diversity)
        model = fitted(self)
        tables = model.tables
        row = find(tables.user_ids, user_id)
        seen = NO_ROWS if watched or row is None else tables.watched.items_of(row)
        allowed = model.allowed(seen, block, allow, where)
        try:
            history = model.history_of(user_id, row)
        except (UnknownUserError, ColdUserError):
            if fallback is None:
                raise
            allowed = tables.allowed(seen, None, None) if allowed is None else allowed
            return model.popular(k, allowed, recent=True)
        return model.recommend(
            model.taste(history), k, seen, allowed, user_row=row,
            popularity=popularity, diversity=diversity, reasons=reasons,
        )  # fmt: skip

    def recommend_for(
        self, history: Ids = (), k: int = 10, *, liked: Ids = (), disliked: Ids = (),
        block: Ids | None = None, allow: Ids | None = None, where: str | pd.Series | None = None,
        popularity: float = 1.0, diversity: float = 0.0, reasons: bool = False,
    ) -> Recommendations:  # fmt: skip
        """Recommend to somebody who is not in the model, without training.

        Items in the history, liked or disliked are excluded. Ids without a vector are skipped with
        a `DataWarning`.

        Parameters
        ----------
        history : ids
            Oldest first.
        liked : ids
            In any order; each counts like the newest item of a history.
        disliked : ids
            Their average is subtracted from the user vector, at a tenth of its weight.
        k, block, allow, where, popularity, diversity, reasons
            As in `recommend`.

        Raises
        ------
        ColdUserError
            No item of the history and none that is liked has a vector.

        References
        ----------
        Subtracting what was disliked: Rocchio 1971, "Relevance feedback in information retrieval".
        """
        k, popularity, diversity = check_dials(k, popularity, diversity)
        model = fitted(self)
        taste = model.taste(*map(model.tables.known_rows, (history, liked, disliked)))
        if not (taste[1] > 0).any():
            raise ColdUserError("none of the items of this history has a vector")
        allowed = model.allowed(taste[0], block, allow, where)
        return model.recommend(
            taste, k, taste[0], allowed,
            popularity=popularity, diversity=diversity, reasons=reasons,
        )  # fmt: skip

    def recommend_many(
        self, k: int = 10, *, users: Ids | None = None, watched: bool = False,
        block: Ids | None = None, allow: Ids | None = None, where: str | pd.Series | None = None,
        popularity: float = 1.0, diversity: float = 0.0, threads: int = 1,
    ) -> pd.DataFrame:  # fmt: skip
        """Recommend k items to each of many users; always by exact search.

        Parameters
        ----------
        users : ids, optional
            All users if not given. Users without a vector are left out; their number is logged.
        watched, block, allow, where, popularity, diversity
            As in `recommend`, for all users alike.
        threads : int
            Of the search; the lists are the same with any number.

        Returns
        -------
        DataFrame
            user_id, rank (from 1), item_id, title (if known), score; sorted as the users came, then
            by rank. More than 50 million rows are a ValueError.
        """
        import pandas as pd

        k, popularity, diversity = check_dials(k, popularity, diversity)
        threads = check_count(threads, "threads")
        model = fitted(self)
        row = model.tables.user_row
        user_rows = None if users is None else np.array([*map(row, several_ids(users))], np.int64)
        who, place, rows, scores = model.recommend_many(
            user_rows, k, watched=watched, allowed=model.allowed(NO_ROWS, block, allow, where),
            popularity=popularity, diversity=diversity, threads=threads,
        )  # fmt: skip
        users, items = take(model.tables.user_ids, who), take(model.tables.item_ids, rows)
        found = pd.DataFrame({"user_id": users, "rank": place + 1, "item_id": items})
        if model.tables.titles is not None:
            found["title"] = take(model.tables.titles)[rows]
        return found.assign(score=scores)

    def popular(self, k: int = 10) -> Recommendations:
        """Return the k items with the most interactions; the score is their number."""
        return fitted(self).popular(check_count(k))

    # ---- look inside

    def similar_items(
        self, item: Any, k: int = 10, *, min_events: int | None = None
    ) -> Recommendations:
        """Return the items with the most similar audience vectors: watched by the same people.

        Scores are cosines times sqrt(n / (n + 10)), n being the events of the item listed, of which
        there are at least `min_events`: by default 5, if k items have as many. The item is given by
        its id or its exact title; UnknownItemError, with the closest titles, if it is neither.
        """
        least = None if min_events is None else check_count(min_events, "min_events", 0)
        return fitted(self).similar_items(item, check_count(k), least)

    def similar_users(self, user_id: Any, k: int = 10) -> pd.DataFrame:
        """Return the users with the most similar vectors: users with similar recent viewing.

        The first call averages the vectors of all users and keeps them, 4 * d bytes a user. The
        frame has rank (from 1), user_id and score (the cosine), the nearest first, without users
        who have no vector.
        """
        import pandas as pd

        model = fitted(self)
        rows, scores = model.similar_users(user_id, check_count(k))
        ranks, users = np.arange(1, len(rows) + 1), take(model.tables.user_ids, rows)
        return pd.DataFrame({"rank": ranks, "user_id": users, "score": scores})

    def explain(self, user_id: Any, item_id: Any) -> pd.DataFrame:
        """Split the score of an item for a user: one share a watched item, one for popularity.

        The user vector is an average, and the inner product is linear, so the split is exact: the
        contributions sum to the score (with another `popularity` than 1, multiply that one share).

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
        model = fitted(self)
        row = find(model.tables.user_ids, user_id)
        return model.explain(model.taste(model.history_of(user_id, row)), item_id, row)

    def explain_for(
        self, history: Ids, item_id: Any, *, liked: Ids = (), disliked: Ids = ()
    ) -> pd.DataFrame:
        """Split the score of an item for a history, as `recommend_for` gives it; see `explain`."""
        model = fitted(self)
        taste = model.taste(*map(model.tables.known_rows, (history, liked, disliked)))
        return model.explain(taste, item_id, None)

    def user_vector(self, user_id: Any) -> Vectors:
        """Return the weighted average of the input vectors of the user's items, float32 (d,).

        Raises
        ------
        UnknownUserError, ColdUserError
        """
        model = fitted(self)
        return model.pool(model.taste(model.history_of(user_id)))

    def item_vector(self, item_id: Any, space: str = "input") -> Vectors:
        """Return an item's vector in the space "input", "output" or "audience", float32 (d,).

        Raises
        ------
        UnknownItemError
        ValueError
            Another space, or `hs=1`, which has no output vectors.
        """
        model = fitted(self)
        return np.array(model.item_vectors(space)[model.tables.item_row(item_id)])


Recommender.__doc__ = describe_in(Recommender.__doc__ or "")


def fitted(recommender: Recommender) -> Model:
    """Return the immutable model that a Recommender holds now.

    Raises
    ------
    NotFittedError
    """
    if recommender._model is None:
        raise NotFittedError("this Recommender has no model yet: call fit(ratings) or load()")
    return recommender._model


def recommend(user_id: Any, k: int = 10, model: str | Path | None = None) -> Recommendations:
    """Recommend k items to a user from a saved model.

    The model is opened at the first call, and again when the folder has changed. Without a folder
    it is `data/model`, where `recsys train` puts it.

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
