"""Fit a model: choose settings, train, read the vectors out, index them. The one way to a model."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.files import named_if_full
from recsys.data.splits import draw
from recsys.model import storage
from recsys.model.ask import Model
from recsys.model.tables import Tables
from recsys.progress import part, whole
from recsys.search.approximate import usable_index
from recsys.search.choose import build_index
from recsys.search.threads import one_blas_thread
from recsys.vectors.audience import audience_vectors
from recsys.vectors.item2vec import complete_training, train_vectors
from recsys.vectors.readout import audience_columns, item_columns, log_popularity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from recsys.data.events import Events
    from recsys.data.sequences import Sequences
    from recsys.vectors.item2vec import ItemVectors

    Train = Callable[[Sequences, Mapping[str, Any]], ItemVectors]

# Users that an index is tried with when it is built, and chosen for.
ASKED = 300


def fit_model(
    events: Events,
    items: pd.DataFrame | None,
    params: Mapping[str, Any],
    *,
    train: Train = train_vectors,
) -> Model:
    """Fit a model on all of the events.

    Parameters
    ----------
    events : Events
    items : DataFrame or None
        As from `recsys.data.frames.items.check_items`.
    params : dict
        Settings of `recsys.Recommender`; those that are None are chosen (`vectors.calibrate`) or
        get their defaults.
    train : function (sequences, params) -> ItemVectors

    Raises
    ------
    DataError
        Too little data, or settings that need ratings or times that are not there.
    """
    from recsys.vectors.calibrate import GRID, MAX_EVENTS, calibrate

    events, params = events.compact(), dict(params)
    params["index"] = usable_index(params["index"])
    seconds: dict[str, float] = {}
    calibration: dict[str, Any] = {}
    with whole("fit"), one_blas_thread():
        if params["calibrate"]:
            # About twice the training of the events that it takes, which are trained on longer.
            work = 2 * math.sqrt(min(1.0, MAX_EVENTS / max(1, len(events))))
            open_ones = any(params[name] is None for name in GRID)
            with part(open_ones * work / (1 + work)):
                calibration = calibrate(events, params, train=train)
            params |= calibration["chosen"]
            seconds["calibrate"] = calibration.pop("seconds", 0.0)
        params["calibrate"] = False
        tables, params, taken = learn(events, items, params, train=train)
        about = {
            "versions": storage.versions(),
            "data": {"n_ratings": len(events), "sha256": events.fingerprint()},
            "calibration": calibration,
            "seconds": seconds | taken,
            "drift": {},
        }
        return with_index(Model(tables, params, about))


def learn(
    events: Events, items: pd.DataFrame | None, params: Mapping[str, Any], *, train: Train
) -> tuple[Tables, dict[str, Any], dict[str, float]]:
    """Train on compact events; return tables, complete settings, and seconds of each step."""
    started = time.perf_counter()
    likes = events.liked(params["min_rating"])
    liked = events if likes.all() else events.where(likes)
    params = complete_training(params, liked.sequences)
    with part(0.85):
        trained = train(liked.sequences, params)
    read = time.perf_counter()
    histories = liked.sequences.recode(trained.item_ids)
    columns = [item_columns(trained, histories, params)]
    audience = audience_vectors(trained.vectors, histories)
    if params["audience_weight"]:
        columns.append(audience_columns(audience, histories, params))
    recent, days, now = None, params["popularity_days"], events.now
    if days is not None:
        of_all = liked.recent_counts(days, now or 0)
        recent = of_all[np.isin(events.sequences.item_ids, trained.item_ids)]
    popularity = log_popularity(histories.counts(), recent)
    if params["min_rating"] is None:  # then a model never looks at ratings again
        events = replace(events, ratings=None)
    tables = Tables.of(
        trained,
        audience,
        np.column_stack([*columns, popularity]),
        histories,
        histories if likes.all() else events.sequences.recode(trained.item_ids),
        liked.days_before(now),
        items,
        events,
    )
    return tables, params, {"train": read - started, "readout": time.perf_counter() - read}


def with_index(model: Model) -> Model:
    """Return the model with an index that suits users drawn at random: the same ones every time."""
    started, tables = time.perf_counter(), model.tables
    try:
        tables.check_numbers()
    except ValueError as error:
        raise ValueError(f"the training failed, as {error}: choose a smaller alpha") from None
    users = draw(np.flatnonzero(tables.histories.lengths), ASKED)
    watched = tables.watched.take_users(users)
    with named_if_full(gettempdir()):
        approximate, ann = build_index(
            model.params["index"],
            tables.readout,
            model.queries(tables.histories.take_users(users), tables.staleness[users]),
            (watched.offsets, watched.codes),
            seed=model.params["seed"],
        )
    seconds = {**model.about["seconds"], "index": time.perf_counter() - started}
    about = {**model.about, "ann": ann, "seconds": seconds}
    return replace(model, about=about, approximate=approximate)
