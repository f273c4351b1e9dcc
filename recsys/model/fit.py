"""Make all that a model holds of a frame of ratings: sequences, vectors, what they are read by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.events import Events
from recsys.data.sequences import order_events, recent_counts, seconds_of
from recsys.data.splits import days_since_last, liked
from recsys.model.tables import Tables
from recsys.vectors.readout import item_columns, log_popularity

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from recsys.data.sequences import Sequences
    from recsys.vectors.item2vec import ItemVectors


def fit_tables(
    ratings: pd.DataFrame,
    items: pd.DataFrame | None,
    params: dict[str, Any],
    train: Callable[[Sequences, pd.DataFrame], ItemVectors],
) -> tuple[Tables, dict[str, float]]:
    """Order the events, train on them, and read the vectors out.

    Parameters
    ----------
    ratings, items : DataFrame
        Checked frames.
    params : dict
        Keywords of `Recommender`, none of them left to be chosen.
    train : function (histories, events) -> ItemVectors
        Gets the interactions as sequences and as a frame in the same order.

    Returns
    -------
    tables : Tables
    seconds : dict
        What took how long: sequences, train, readout.
    """
    started = time.perf_counter()
    order, watched = order_events(ratings)
    events, histories = ratings.iloc[order].reset_index(drop=True), watched
    everything = Events.of(events, watched, rated=params["min_rating"] is not None)
    if params["min_rating"] is not None:
        likes = liked(events, params["min_rating"])
        histories, events = watched.where(likes), events[likes]
    sequenced = time.perf_counter()
    trained = train(histories, events)
    read = time.perf_counter()
    staleness = days_since_last(events, histories, ratings)
    known = histories.recode(trained.item_ids)
    columns = item_columns(
        trained,
        known,
        scoring=params["scoring"],
        half_life=params["half_life"],
        discount=params["discount"],
        ridge=params["ridge"],
    )
    recent, days = None, params["popularity_days"]
    if days is not None:
        now = int(seconds_of(ratings).max())
        recent = recent_counts(events, trained.item_ids, days=days, now=now)
    popularity = log_popularity(known.counts(), recent)
    tables = Tables.of(
        trained,
        np.column_stack([columns, popularity]),
        known,
        known if watched is histories else watched.recode(trained.item_ids),
        staleness,
        items,
        everything,
    )
    seconds = {
        "sequences": sequenced - started,
        "train": read - sequenced,
        "readout": time.perf_counter() - read,
    }
    return tables, seconds
