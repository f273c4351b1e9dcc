"""Measure what an update gives: the old model, the updated one, and one trained anew."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

from recsys.data.frames import TIMESTAMP, check_ratings
from recsys.data.sequences import build_sequences
from recsys.data.splits import liked, split_by_time, time_cases
from recsys.evaluation.measure import MODEL, averaged, contender_of_model, measure
from recsys.model.update import drift
from recsys.recommender import Recommender

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

# The latest share of the training part is the news: at a cutoff of 80% that is from 70% on.
NEWS = 1 / 8


def evaluate_update(
    ratings: pd.DataFrame,
    items: pd.DataFrame | None = None,
    *,
    params: dict[str, Any] | None = None,
    validation_fraction: float = 0.2,
    ks: Iterable[int] = (10, 20, 50),
    name: str = "ratings",
) -> dict[str, Any]:
    """Train without the news, learn them by `update`, and train on all anew; compare the three.

    All are asked for the same users with the same histories, news included. Settings are chosen
    without the news, once.

    Parameters
    ----------
    ratings : DataFrame
        As `load_ratings` gives it or from anywhere, with times.
    items : DataFrame, optional
    params : dict
        Keywords of `Recommender`.
    validation_fraction : float in (0, 1)
        The share of the ratings that is tested on. The news are the eighth before it.
    ks : whole numbers above 0
    name : str
        What to call the data in the report.

    Returns
    -------
    dict
        JSON-able. `protocols` as in `recsys.evaluate.evaluate`, with the models `item2vec` (the
        updated one), `old` and `retrained`; `drift` of the latter two against the old one (see
        `recsys.model.update.drift`); `seconds` of each, calibration apart.

    Raises
    ------
    DataError
        The data cannot be split so.
    """
    ks = sorted(set(ks))
    ratings = check_ratings(ratings)
    split = split_by_time(ratings, validation_fraction=validation_fraction)
    first = split_by_time(split.train, validation_fraction=NEWS)
    old = Recommender(**(params or {}))
    cases = time_cases(ratings, split.cutoff, min_rating=old.params["min_rating"])
    old.fit(first.train, items)
    started = time.perf_counter()
    updated = copy.copy(old).update(first.validation, items)
    learned = time.perf_counter()
    retrained = Recommender(**old.params).fit(split.train, items)
    trained = time.perf_counter()
    models = {MODEL: updated, "old": old, "retrained": retrained}
    contenders = {each: contender_of_model(model, ks[-1]) for each, model in models.items()}
    known = build_sequences(split.train[liked(split.train, old.params["min_rating"])])
    return {
        "dataset": {"name": name, "n_ratings": len(ratings)},
        "params": old.params,
        "split": {
            "old_until": first.cutoff.isoformat(),
            "cutoff": split.cutoff.isoformat(),
            "n_old": len(first.train),
            "n_news": len(first.validation),
            "n_validation": len(split.validation),
            "last": ratings[TIMESTAMP].max().isoformat(),
        },
        "protocols": {
            protocol: averaged([measure(each, contenders, known, ks)])
            for protocol, each in cases.items()
        },
        "drift": {
            "item2vec": {each: v for each, v in updated.drift.items() if each != "seconds"},
            "retrained": drift(old._fitted(), retrained._fitted()),
        },
        "calibration": old.calibration,
        "seconds": {
            "old": sum(v for step, v in old.seconds.items() if step != "calibrate"),
            "item2vec": learned - started,
            "retrained": trained - learned,
        },
    }
