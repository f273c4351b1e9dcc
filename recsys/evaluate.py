"""Measure recall@K honestly: a split by time, baselines beside the model, intervals over users.

`python -m recsys.evaluate` is the same as `recsys evaluate`.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from recsys.data.events import Events
from recsys.data.frames.items import check_items
from recsys.data.frames.ratings import check_ratings
from recsys.data.splits import last_out, split_events
from recsys.errors import DataError
from recsys.evaluation.peers import check_installed
from recsys.evaluation.run import average_protocols, describe_split, describe_trial, run_trial
from recsys.model.ask import check_count
from recsys.model.storage import versions
from recsys.progress import each, whole
from recsys.recommender import Recommender
from recsys.studies import find_studies

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import pandas as pd

    from recsys.evaluation.run import Study

logger = logging.getLogger(__name__)

LONGEST = 1000  # lists that are measured


def evaluate(
    ratings: pd.DataFrame,
    items: pd.DataFrame | None = None,
    *,
    params: dict[str, Any] | None = None,
    split: str = "time",
    validation_fraction: float | None = None,
    cutoffs: Iterable[float] | None = None,
    against: Collection[str] = ("baselines",),
    studies: Collection[str] = (),
    ks: Iterable[int] = (10, 20, 50),
    name: str = "ratings",
) -> dict[str, Any]:
    """Train on the earlier part of the ratings and measure on the later one.

    Parameters
    ----------
    ratings : DataFrame
    items : DataFrame, optional
    params : dict
        Keywords of `Recommender`.
    split : {"time", "last-out"}
        "time": one cutoff for all users, protocols `warm` and `fold-in`. "last-out": each user's
        last event, which leaks other users' future. See `recsys.data.splits`.
    validation_fraction : float in (0, 1)
        Of the split by time; 0.2 if not given.
    cutoffs : floats in (0, 1), instead of a validation fraction
        Shares of the ratings to train on. Each has a new model and new opponents; means are
        averaged over them, intervals are over distinct users.
    against : some of "baselines" and "peers"
        What to compare with: `recsys.evaluation.baselines`, `recsys.evaluation.peers`. With peers,
        every opponent also runs with popularity added.
    studies : names of files in `recsys.studies`, with "-" for "_"
        Further questions; each adds a key to the report, its name with "_" for "-".
    ks : whole numbers above 0
        Lengths of the lists that are measured.
    name : str
        What to call the data in the report.

    Returns
    -------
    dict
        JSON-able; every metric is `{"mean": ..., "ci95": [low, high]}`, the mean over users with
        its 95% bootstrap interval, null where there is nothing to average. With several cutoffs,
        `split["cutoffs"]` describes each; `params`, `opponents` and `ann` are those of the last.
        recsys/evaluation/README.md lists the keys.

    Raises
    ------
    DataError
        The data cannot be split like this, or a study needs items.
    ValueError
        An unknown split, opponent or study, options that exclude each other, or a k below 1.
    ModuleNotFoundError
        "peers" without the package `implicit`.
    """
    ks, cutoffs = list(ks), None if cutoffs is None else list(cutoffs)
    check_options(params=params, split=split, validation_fraction=validation_fraction,
                  cutoffs=cutoffs, against=against, studies=studies, ks=ks)  # fmt: skip
    shares, ks = _shares(split, validation_fraction, cutoffs), sorted(set(map(check_count, ks)))
    asked, given = find_studies(studies), Recommender(**(params or {})).params
    for study in asked:
        if "items" in study.needs and items is None:
            raise DataError(f"the study {study.name} needs a table of items and there is none")
    ratings, min_rating = check_ratings(ratings), given["min_rating"]
    items = None if items is None else check_items(items)
    started = time.perf_counter()
    events = Events.of(ratings)
    ordered = time.perf_counter() - started
    if split == "time":
        # Rounded, so that 0.8 and its counterpart 0.2 mean the same moment.
        splits = [split_events(events, round(1 - share, 12), min_rating) for share in shares]
    else:
        splits = [last_out(events, min_rating=min_rating)]
    trials = []
    with whole("evaluate"):
        for number, one in enumerate(each(splits), start=1):
            if len(splits) > 1:
                logger.info("cutoff %d of %d", number, len(splits))
            trials.append(run_trial(events, one, items, given, ks, against=against, studies=asked))
    described = [describe_split(events, one) for one in splits]
    last, n_users, n_items = trials[-1], len(events.sequences), len(events.sequences.item_ids)
    counts = {"n_ratings": len(events), "n_users": n_users, "n_items": n_items}
    seconds = {step: sum(t.seconds[step] for t in trials) for step in trials[0].seconds}
    report = {
        "dataset": {"name": name, **counts, "sha256": events.fingerprint()},
        "params": last.model.params,
        "split": {"protocol": split, **described[0]},
        "protocols": average_protocols([one.measured for one in trials]),
        "opponents": last.opponents,
        "ann": last.ann,
        "calibration": last.model.about["calibration"],
        "seconds": {"sequences": ordered, **seconds},
        "versions": versions(),
    }
    if cutoffs is not None:
        listed = [
            {"share": share, **counts, **describe_trial(one)}
            for share, counts, one in zip(shares, described, trials, strict=True)
        ]
        report["split"] = {"protocol": split, **dict.fromkeys(described[0]), "cutoffs": listed}
    for study in asked:
        report[study.key] = study.average([one.studies[study.name] for one in trials])
    return report


def check_options(
    *,
    params: dict[str, Any] | None,
    split: str,
    validation_fraction: float | None,
    cutoffs: Iterable[float] | None,
    against: Collection[str],
    studies: Collection[str],
    ks: Collection[int],
) -> None:
    """Raise what `evaluate` raises whatever the data are; the arguments are those of it."""
    for k in ks or [0]:
        if check_count(k) > LONGEST:
            raise ValueError(f"k must be a whole number up to {LONGEST}, got {k}")
    if set(against) - {"baselines", "peers"}:
        raise ValueError(f"against must be some of ('baselines', 'peers'), got {tuple(against)}")
    _shares(split, validation_fraction, cutoffs)
    for study in find_studies(studies):
        _check_needs(study, split, cutoffs)
    if "peers" in against:
        check_installed()
    Recommender(**(params or {}))


def _shares(
    split: str, validation_fraction: float | None, cutoffs: Iterable[float] | None
) -> list[float]:
    """Return the shares to train on."""
    if split not in ("time", "last-out"):
        raise ValueError(f"split must be 'time' or 'last-out', got {split!r}")
    by_time = {"validation_fraction": validation_fraction, "cutoffs": cutoffs}
    given = [option for option, value in by_time.items() if value is not None]
    if split == "last-out" and given:
        raise ValueError(f"{given[0]} needs a split by time, not split='last-out'")
    if cutoffs is None:
        held_out = 0.2 if validation_fraction is None else validation_fraction
        if not 0 < held_out < 1:
            raise ValueError(f"validation_fraction must lie in (0, 1), got {held_out!r}")
        return [1 - held_out]
    if len(given) > 1:
        raise ValueError("cutoffs cannot be combined with validation_fraction")
    shares = sorted(set(cutoffs))
    if not shares or not 0 < shares[0] <= shares[-1] < 1:
        raise ValueError(f"cutoffs must lie in (0, 1), got {shares}")
    return shares


def _check_needs(study: Study, split: str, cutoffs: object) -> None:
    if "time" in study.needs and split != "time":
        raise ValueError(f"the study {study.name} needs a split by time, not split={split!r}")
    if "one split" in study.needs and cutoffs is not None:
        raise ValueError(f"the study {study.name} needs one split: give no cutoffs")


def main(argv: list[str] | None = None) -> int:
    """Run `recsys evaluate`."""
    from recsys.__main__ import main as run

    return run(["evaluate", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
