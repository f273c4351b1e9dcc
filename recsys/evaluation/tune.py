"""Search the parameters of Word2Vec for a data set, within a time budget."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.events import Events
from recsys.data.frames.ratings import check_ratings
from recsys.data.splits import last_out, split_events
from recsys.errors import DataError
from recsys.progress import each, part, whole
from recsys.recommender import Recommender
from recsys.search.threads import one_blas_thread
from recsys.vectors.calibrate import calibrate
from recsys.vectors.item2vec import complete_training

if TYPE_CHECKING:
    from collections.abc import Callable

    import optuna
    import pandas as pd

logger = logging.getLogger(__name__)

LOG = {"log": True}
SEARCHED: dict[str, tuple[str, tuple[Any, ...], dict[str, bool]]] = {
    "sg": ("int", (0, 1), {}),
    "vector_size": ("categorical", ([64, 128, 256],), {}),
    "window": ("int", (2, 50), LOG),
    "negative": ("int", (5, 40), LOG),
    "epochs": ("int", (1, 40), LOG),
    "alpha": ("float", (0.02, 0.4), LOG),
    "sample": ("float", (1e-5, 1e-1), LOG),
    "ns_exponent": ("float", (-0.5, 1.0), {}),
    "ridge": ("float", (0.0, 2.0), {}),
}


def tune(
    ratings: pd.DataFrame,
    *,
    minutes: float = 10.0,
    split: str = "time",
    validation_fraction: float = 0.2,
    seed: int = 0,
    on_better: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """Search the parameters of Word2Vec on nested splits inside the training part.

    What `evaluate` holds out is never looked at. A trial trains and calibrates on two nested splits
    (one for `last-out`): the training part, and that part without its latest tenth. Its value is
    the mean recall@20 that calibration reaches there. The first trial is the defaults.

    Parameters
    ----------
    ratings : DataFrame
    minutes : float
        No trial begins later; the one under way is finished.
    split, validation_fraction
        What to hold out, as in `recsys.evaluate.evaluate`.
    seed : int
        Of the search; the same seed tries the same settings in the same order.
    on_better : function
        Called with every better result.

    Returns
    -------
    dict
        `params` (keywords of `Recommender`), their `recall@20`, `default_recall@20`, `n_trials`,
        and `interrupted`: whether Ctrl-C ended the search.

    Raises
    ------
    ImportError
        optuna is not installed.
    DataError
        There is too little data for nested splits.

    References
    ----------
    Akiba et al. 2019, "Optuna: A Next-generation Hyperparameter Optimization Framework".
    """
    check_options(minutes, split, validation_fraction)
    import optuna

    parts = _nested(ratings, split, validation_fraction)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # Ctrl-C is not a failed trial
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    defaults = complete_training(Recommender().params, parts[0].compact().sequences)
    study.enqueue_trial({name: defaults[name] for name in SEARCHED})
    started = time.monotonic()

    def result(interrupted: bool = False) -> dict[str, Any]:
        return {
            "params": study.best_params,
            "recall@20": study.best_value,
            "default_recall@20": study.trials[0].value,
            "n_trials": sum(trial.value is not None for trial in study.trials),
            "interrupted": interrupted,
        }

    def report(_: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.value is None:
            logger.info("trial %d failed: %s", trial.number + 1, trial.params)
            return
        logger.info("trial %d: recall@20 %.4f, best %.4f, defaults %.4f; %.1f of %g minutes",
                    trial.number + 1, trial.value, study.best_value, study.trials[0].value,
                    (time.monotonic() - started) / 60, minutes)  # fmt: skip
        if study.best_trial.number == trial.number:
            on_better(result())

    def value(trial: optuna.Trial) -> float:
        suggested = {
            name: getattr(trial, f"suggest_{kind}")(name, *values, **scale)
            for name, (kind, values, scale) in SEARCHED.items()
        }
        passed, n = time.monotonic() - started, trial.number
        until = passed * (n + 1) / (n * 60 * minutes) if n and minutes else 1 / (1 + minutes)
        with part(min(1.0, until)):
            return _recall(parts, suggested)

    try:  # first the defaults, however long they take
        with whole("tune"):
            study.optimize(value, n_trials=1, callbacks=[report])
            left = 60 * minutes - (time.monotonic() - started)
            if left > 0:
                study.optimize(value, timeout=left, callbacks=[report], catch=(ValueError,))
    except KeyboardInterrupt:
        if not any(trial.value is not None for trial in study.trials):
            raise
        return result(interrupted=True)
    return result()


def check_options(minutes: float, split: str, validation_fraction: float) -> None:
    """Raise what `tune` raises whatever the ratings are."""
    from importlib.util import find_spec

    if not 0 <= minutes < float("inf"):
        raise ValueError(f"minutes must be a number of 0 or more, got {minutes!r}")
    if split not in ("time", "last-out"):
        raise ValueError(f"split must be 'time' or 'last-out', got {split!r}")
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must lie in (0, 1), got {validation_fraction!r}")
    if find_spec("optuna") is None:
        raise ImportError('tuning needs optuna: pip install -e ".[tune]"')


def _nested(ratings: pd.DataFrame, split: str, validation_fraction: float) -> list[Events]:
    events = Events.of(check_ratings(ratings))
    if split == "last-out":
        return [last_out(events).train]
    train = split_events(events, validation_fraction, None).train
    return [train, split_events(train, 0.1, None).train]


def _recall(parts: list[Events], params: dict[str, Any]) -> float:
    """Return what calibration reaches with these parameters, averaged over parts and protocols."""
    values = []
    for events in each(parts):
        with one_blas_thread():
            choice = calibrate(events.compact(), Recommender(**params).params)
        if "skipped" in choice:
            raise DataError(choice["skipped"])
        values.append(np.mean(list(choice["recall@20"].values())))
    return float(np.mean(values))
