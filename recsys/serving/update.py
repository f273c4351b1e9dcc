"""Learn what the store holds into a model folder, unless that makes lists worse."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys.data.columns import take
from recsys.data.events import order_events, seconds_of
from recsys.data.frames.names import ITEM, RATING, TIMESTAMP, USER
from recsys.data.splits import MAX_USERS, cutoff_of, draw, time_cases
from recsys.errors import DataError
from recsys.evaluation.measure import contender_of_model, recall_of
from recsys.evaluation.metrics import means_with_ci95
from recsys.model import storage
from recsys.model.ask import Model
from recsys.model.update import merge_events, update_model
from recsys.serving.live import as_number, is_text
from recsys.serving.store import DISLIKE, Store

logger = logging.getLogger(__name__)

NEWEST = 0.2  # share of the new events that an update is judged on
ENOUGH = 30  # users; fewer tell nothing
K = 20


@dataclass(frozen=True)
class Outcome:
    """What became of an update.

    Attributes
    ----------
    name : {"taken", "refused", "nothing new"}
    detail : str
        For people.
    drift : dict
        `recsys.model.update.measure_drift` of what was taken, else empty.
    judged : dict
        By protocol: `n_users`, `difference` in recall@20, `ci95`; empty where users were too few.
    """

    name: str
    detail: str
    drift: dict[str, Any]
    judged: dict[str, Any]


def learn_events(folder: Path, store: Store) -> Outcome:
    """Update the model in a folder with the events of a store, and note in it what came of that.

    A model that has learned the earlier four fifths of the new events is judged on the newest
    fifth, beside the old one, for the same users with the same histories: the measure of
    `recsys evaluate --study update`. If its recall@20 is lower and the 95% interval of the paired
    difference does not hold 0, the old model stays.

    Raises
    ------
    DataError
        The model's events have no times, or all ids of the events are of another kind.
    ModelError
        There is no model, or it has been replaced meanwhile.
    """
    before = storage.stamp(folder)
    model = Model.load(folder, verify=True)
    frame = as_ratings(model, store.all_events())
    outcome = _learn(model, frame, folder, before)
    store.add_update(str(folder), outcome.name, outcome.detail)
    return outcome


def _learn(model: Model, frame: pd.DataFrame, folder: Path, before: storage.Stamp) -> Outcome:
    merged = is_new = None
    if len(frame):
        merged, is_new = merge_events(model.tables, frame, min_rating=model.params["min_rating"])
    if merged is None or is_new is None or not is_new.any():
        return Outcome("nothing new", "every event that can be learned is known", {}, {})
    judged = judge(model, merged, is_new)
    lower = [name for name, found in judged.items() if found["ci95"][1] < 0]
    if lower:
        said = "; ".join(_describe(name, judged[name]) for name in lower)
        logger.warning(
            "%s: the old model stays: recall on the newest events fell: %s", folder, said
        )
        return Outcome("refused", said, {}, judged)
    changed = update_model(model, merged[is_new])
    changed.save(folder, replacing=before)
    drift = changed.about["drift"]
    return Outcome("taken", f"{drift['n_new_events']:,} new events", drift, judged)


def _describe(name: str, found: dict[str, Any]) -> str:
    low, high = found["ci95"]
    return f"{name} {found['difference']:+.4f} ({low:+.4f}, {high:+.4f}), {found['n_users']} users"


def as_ratings(model: Model, events: dict[str, list[Any]]) -> pd.DataFrame:
    """Lay stored events out as `Recommender.update` takes them.

    Events of the kind "dislike", and ids of another kind than the model's, are left out. One
    without a rating gets the model's `min_rating`, so that it counts.

    Raises
    ------
    DataError
        The model's events have no times, so what it has learned cannot be told from news.
    """
    known = model.tables.events
    if known.times is None:
        raise DataError(
            "the model was trained without times, so events that it has learned cannot be told "
            "from new ones: train it on ratings with timestamps"
        )
    frame = pd.DataFrame(events, dtype=object)
    frame = frame[frame["kind"] != DISLIKE].drop(columns="kind").rename(columns={"time": TIMESTAMP})
    for column, ids in ((USER, model.tables.user_ids), (ITEM, known.sequences.item_ids)):
        if not is_text(ids):
            frame[column] = [_fitting(text, take(ids[:0]).dtype) for text in frame[column]]
    fits = frame[USER].notna() & frame[ITEM].notna()
    if len(frame) and not fits.any():
        raise DataError("the ids of all stored events are text, and the model's are numbers")
    if not fits.all():
        logger.warning("%d events have ids of another kind than the model's", (~fits).sum())
    frame = frame[fits].drop_duplicates([USER, ITEM, TIMESTAMP]).reset_index(drop=True)
    for column, ids in ((USER, model.tables.user_ids), (ITEM, known.sequences.item_ids)):
        frame[column] = frame[column].astype("str" if is_text(ids) else take(ids[:0]).dtype)
    seconds = frame[TIMESTAMP].astype("int64")
    frame[TIMESTAMP] = seconds.astype(pd.DatetimeTZDtype("s", "UTC"))
    if known.ratings is None:
        return frame.drop(columns=RATING)
    counts = model.params["min_rating"] or 0.0
    return frame.assign(**{RATING: frame[RATING].astype("float64").fillna(counts)})


def _fitting(text: str, dtype: np.dtype[Any]) -> int | None:
    number, limits = as_number(text), np.iinfo(dtype)
    return number if isinstance(number, int) and limits.min <= number <= limits.max else None


def judge(model: Model, merged: pd.DataFrame, is_new: Any) -> dict[str, Any]:
    """Compare a model that has learned all but the newest new events with the old one on those.

    Parameters
    ----------
    merged, is_new
        As `recsys.model.update.merge_events` gives them.

    Returns
    -------
    dict
        By protocol (`recsys.data.splits.time_cases`), with at least 30 users: `n_users`,
        `difference` in recall@20, updated minus old, and its `ci95`.
    """
    seconds, now = seconds_of(merged), model.tables.events.now or 0
    try:
        cutoff = max(cutoff_of(seconds[is_new], NEWEST), now + 1)
    except DataError:  # all of the new events fall into one second
        return {}
    older = is_new & (seconds < cutoff)
    if not older.any() or not (seconds >= cutoff).any():
        return {}
    updated = update_model(model, merged[older])
    events, judged = order_events(merged)[1], {}
    for name, cases in time_cases(events, cutoff, min_rating=model.params["min_rating"]).items():
        if len(cases) < ENOUGH:
            continue
        asked = cases.take_users(draw(np.arange(len(cases)), MAX_USERS))
        recalls = [recall_of(contender_of_model(m, K), asked, K) for m in (updated, model)]
        means, intervals = means_with_ci95((recalls[0] - recalls[1])[:, None])
        judged[name] = {
            "n_users": len(asked), "difference": float(means[0]), "ci95": intervals[0].tolist(),
        }  # fmt: skip
    return judged


def learn_all(folders: list[Path], store_url: str, keep_days: float | None) -> None:
    """Update every folder, and drop what is older than it may be; what fails is logged."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    with Store(store_url) as store:
        for folder in folders:
            try:
                learn_events(folder, store)
            except (ValueError, OSError) as error:
                logger.warning("%s: not updated: %s", folder, error)
                store.add_update(str(folder), "failed", str(error))
        if keep_days is not None:
            store.forget_older(keep_days)
