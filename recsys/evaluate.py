"""Measure recall@K honestly: a split by time, baselines beside the model, intervals over users.

`python -m recsys.evaluate` prints a table; with `--json`, one JSON object.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from recsys import cli

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from recsys.measure import Contender
    from recsys.recommender import Recommender
    from recsys.sequences import Sequences
    from recsys.splits import Cases

RECENT_DAYS = 30


def evaluate(
    ratings: pd.DataFrame,
    items: pd.DataFrame | None = None,
    *,
    params: dict[str, Any] | None = None,
    split: str = "time",
    validation_fraction: float = 0.2,
    ks: Iterable[int] = (10, 20, 50),
    name: str = "ratings",
) -> dict[str, Any]:
    """Train on the earlier part of the ratings and measure on the later one.

    Parameters
    ----------
    ratings : DataFrame
        As `load_ratings` gives it or from anywhere.
    items : DataFrame, optional
    params : dict
        Keywords of `Recommender`.
    split : {"time", "last-out"}
        "time": one cutoff for all users, protocols `warm` and `fold-in`
        (`recsys.splits.time_cases`). "last-out": each user's last event
        (`recsys.splits.last_out`), which leaks other users' future.
    validation_fraction : float in (0, 1)
        Of the split by time.
    ks : whole numbers above 0
        Lengths of the lists that are measured.
    name : str
        What to call the data in the report.

    Returns
    -------
    dict
        JSON-able; every metric is `{"mean": ..., "ci95": [low, high]}`, the mean over users with
        its 95% bootstrap interval, null where there is nothing to average.

    Raises
    ------
    DataError
        The data cannot be split so.
    ValueError
        An unknown split, or a k below 1.
    """
    from recsys import storage
    from recsys.frames import check_ratings
    from recsys.measure import measure
    from recsys.recommender import Recommender
    from recsys.sequences import build_sequences
    from recsys.splits import last_out, liked, split_by_time, time_cases
    from recsys.summary import fingerprint

    ks = sorted(set(ks))
    if not ks or ks[0] < 1:
        raise ValueError(f"k must be a whole number above 0, got {ks}")
    model = Recommender(**(params or {}))
    min_rating = model.params["min_rating"]
    ratings = check_ratings(ratings)
    cutoff = None
    if split == "time":
        time_split = split_by_time(ratings, validation_fraction=validation_fraction)
        train, cutoff = time_split.train, time_split.cutoff
        protocols = time_cases(ratings, cutoff, min_rating=min_rating)
    elif split == "last-out":
        train, cases = last_out(ratings, min_rating=min_rating)
        protocols = {"last-out": cases}
    else:
        raise ValueError(f"split must be 'time' or 'last-out', got {split!r}")

    model.fit(train, items)
    started = time.perf_counter()
    interactions = train[liked(train, min_rating)]
    known = build_sequences(interactions)
    contenders = _contenders(model, interactions, known, cutoff, ks[-1])
    results = {
        protocol: measure(cases, contenders, known, ks) for protocol, cases in protocols.items()
    }
    ann = _measure_ann(model, list(protocols.values())[-1], ks[0])
    data = {
        "name": name,
        "n_ratings": len(ratings),
        "n_users": int(ratings["user_id"].nunique()),
        "n_items": int(ratings["item_id"].nunique()),
        "sha256": fingerprint(ratings),
    }
    return {
        "dataset": data,
        "params": model.params,
        "split": {"protocol": split, **_describe_split(ratings, train, cutoff, protocols)},
        "protocols": results,
        "ann": {**ann, "build_seconds": model.seconds["index"]},
        "calibration": model.calibration,
        "seconds": {**model.seconds, "evaluate": time.perf_counter() - started},
        "versions": storage.versions(),
    }


def _describe_split(
    ratings: pd.DataFrame,
    train: pd.DataFrame,
    cutoff: pd.Timestamp | None,
    protocols: dict[str, Cases],
) -> dict[str, Any]:
    """Count what lies after the cutoff, and how much of it training has never seen."""
    import numpy as np

    from recsys.ids import id_array, rows_of

    if cutoff is not None:
        later = ratings[ratings["timestamp"] >= cutoff]
        users, items = id_array(later["user_id"]), id_array(later["item_id"])
    else:
        targets = protocols["last-out"].targets
        users, items = targets.user_ids, targets.item_ids[targets.codes]
    users = np.unique(users)
    n_warm = int((rows_of(users, np.unique(id_array(train["user_id"]))) >= 0).sum())
    cold_items = rows_of(items, np.unique(id_array(train["item_id"]))) < 0
    return {
        "cutoff": None if cutoff is None else cutoff.isoformat(),
        "n_train": len(train),
        "n_validation": len(items),
        "n_users_warm": n_warm,
        "n_users_cold": len(users) - n_warm,
        "share_cold_item_events": float(cold_items.mean()),
    }


def _contenders(
    model: Recommender,
    train: pd.DataFrame,
    known: Sequences,
    cutoff: pd.Timestamp | None,
    k: int,
) -> dict[str, Contender]:
    """Fit every baseline on the training part and put it beside the model."""
    import numpy as np
    import pandas as pd

    from recsys.baselines import NEEDS_NO_HISTORY, baselines
    from recsys.ids import id_array, rows_of
    from recsys.measure import MODEL, contender_of_baseline, contender_of_model

    recent = None
    if "timestamp" in train:
        now = train["timestamp"].max() if cutoff is None else cutoff
        late = train["timestamp"] >= now - pd.Timedelta(days=RECENT_DAYS)
        codes = rows_of(id_array(train["item_id"][late]), known.item_ids)
        recent = np.bincount(codes, minlength=len(known.item_ids))
    contenders = {MODEL: contender_of_model(model, k)}
    for name, fit in baselines(known, recent).items():
        needs_history = name not in NEEDS_NO_HISTORY
        contenders[name] = contender_of_baseline(
            fit(), known.item_ids, k, needs_history=needs_history
        )
    return contenders


def _measure_ann(model: Recommender, cases: Cases, k: int) -> dict[str, Any]:
    """Ask the index that `recommend` uses for up to 1,000 of the evaluated users."""
    import numpy as np

    from recsys.index import measure_index

    histories = cases.histories.recode(model.items)
    users = np.flatnonzero(histories.lengths > 0)[:1000]
    return measure_index(model.index, model.queries(histories.take_users(users)), k)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    cli.add_data_arguments(parser)
    group = parser.add_argument_group("evaluation")
    group.add_argument(
        "--split",
        choices=["time", "last-out"],
        default="time",
        help="one cutoff for all users, or each user's last event (leaks others' future)",
    )
    group.add_argument("--validation-fraction", type=float, default=0.2, metavar="SHARE",
                       help="share of the ratings after the cutoff (default: 0.2)")  # fmt: skip
    group.add_argument("-k", "--ks", type=int, nargs="+", default=[10, 20, 50], metavar="K",
                       help="lengths of the lists (default: 10 20 50)")  # fmt: skip
    cli.add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Load, evaluate, print."""
    from recsys.report import as_text

    params = cli.model_params(args)
    started = time.perf_counter()
    name, ratings, items = cli.load_data(args)
    loaded = time.perf_counter() - started
    report = evaluate(
        ratings,
        items,
        params=params,
        split=args.split,
        validation_fraction=args.validation_fraction,
        ks=args.ks,
        name=name,
    )
    report["seconds"] = {"load": loaded, **report["seconds"]}
    if args.json:
        cli.print_json(report)
    else:
        print(as_text(report))


def main(argv: list[str] | None = None) -> int:
    """Run `python -m recsys.evaluate`."""
    parser = argparse.ArgumentParser(
        prog="recsys evaluate", description=__doc__, parents=[cli.common_arguments()]
    )
    add_arguments(parser)
    parser.set_defaults(run=run)
    return cli.run(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
