"""Measure recall@K honestly: a split by time, baselines beside the model, intervals over users.

`python -m recsys.evaluate` prints a table; with `--json`, one JSON object.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from recsys.commands import common as cli

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from recsys.evaluation.run import Trial

logger = logging.getLogger(__name__)


def evaluate(
    ratings: pd.DataFrame,
    items: pd.DataFrame | None = None,
    *,
    params: dict[str, Any] | None = None,
    split: str = "time",
    validation_fraction: float | None = None,
    cutoffs: Iterable[float] | None = None,
    peers: bool = False,
    user_to_user: bool = False,
    fold_in_curve: bool = False,
    show_leak: bool = False,
    ablation: bool = False,
    cold_items: bool = False,
    dials: bool = False,
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
        (`recsys.data.splits.time_cases`). "last-out": each user's last event
        (`recsys.data.splits.last_out`), which leaks other users' future.
    validation_fraction : float in (0, 1)
        Of the split by time; 0.2 if not given.
    cutoffs : floats in (0, 1), in place of a validation fraction
        Shares of the ratings to train on. The split by time is repeated for each, with a fresh
        model and fresh opponents, and the means are averaged; intervals are over distinct users.
    peers : bool
        Whether to compare with `recsys.evaluation.peers` too, and with every opponent plus
        popularity.
    user_to_user : bool
        Whether to compare with what the users with the nearest user vectors have watched
        (`recsys.evaluation.baselines.user_to_user`).
    fold_in_curve : bool
        Whether to measure also how much is found for new users after their first 1, 2, 5, 10 and
        20 items (`recsys.data.splits.curve_cases`).
    show_leak : bool
        Whether to do all once more on a random split of the same size, to show what it pretends.
    ablation : bool
        Whether to put the model beside its own parts, one lever added after the other
        (`recsys.studies.ablation`), in the place of the opponents.
    dials : bool
        Whether to put the model beside itself with other settings of `popularity` and `diversity`
        (`recsys.studies.dials`), in the place of the opponents.
    cold_items : bool
        Whether to give the items that training has never seen vectors by their metadata, and to
        measure how well they are found (`recsys.studies.cold_items`). It needs `items`, and goes
        with one split by time.
    ks : whole numbers above 0
        Lengths of the lists that are measured.
    name : str
        What to call the data in the report.

    Returns
    -------
    dict
        JSON-able; every metric is `{"mean": ..., "ci95": [low, high]}`, the mean over users with
        its 95% bootstrap interval, null where there is nothing to average. With several cutoffs,
        `split["cutoffs"]` tells of each; `params`, `opponents` and `ann` are those of the last.
        With `fold_in_curve`, `fold_in_curve` holds for each number of items, as text, what
        `protocols` holds for each protocol.
        With `cold_items`, what `recsys.studies.cold_items.measure_cold_items` returns is under
        that key.

    Raises
    ------
    DataError
        The data cannot be split so, or there is no cold item where they are to be measured.
    ValueError
        An unknown split, options that exclude each other, or a k below 1.
    ModuleNotFoundError
        `peers` without the package that they come from.
    """
    from recsys.data.frames import check_items, check_ratings
    from recsys.data.summary import fingerprint
    from recsys.errors import DataError
    from recsys.evaluation import run as trial
    from recsys.evaluation.measure import averaged
    from recsys.evaluation.peers import check_installed
    from recsys.model import storage
    from recsys.recommender import Recommender

    ks = sorted(set(ks))
    if not ks or ks[0] < 1:
        raise ValueError(f"k must be a whole number above 0, got {ks}")
    shares = _shares(split, validation_fraction, cutoffs, show_leak=show_leak)
    if split == "last-out" and fold_in_curve:
        raise ValueError("fold_in_curve needs a split by time, not split='last-out'")
    if (ablation or dials) and (peers or user_to_user or show_leak or (ablation and dials)):
        raise ValueError(
            "ablation and dials cannot be combined with each other, nor with peers, user_to_user "
            "or show_leak"
        )
    if peers:
        check_installed()
    params = Recommender(**(params or {})).params
    min_rating = params["min_rating"]
    ratings = check_ratings(ratings)
    if cold_items:
        if items is None:
            raise DataError("cold_items needs a table of items and there is none")
        if split != "time" or cutoffs is not None:
            raise ValueError("cold_items needs one split by time")
        items = check_items(items)
    if split == "time":
        splits = [
            trial.by_time(ratings, share, min_rating, with_curve=fold_in_curve) for share in shares
        ]
    else:
        splits = [trial.by_last_event(ratings, min_rating)]
    trials = []
    for number, one in enumerate(splits, start=1):
        if len(splits) > 1:
            logger.info("cutoff %d of %d: %s", number, len(splits), one.cutoff)
        trials.append(
            trial.run(
                one,
                items,
                params,
                ks,
                with_peers=peers,
                with_neighbours=user_to_user,
                ablation=ablation,
                cold_items=cold_items,
                dials=dials,
            )
        )
    described = [trial.describe_split(ratings, one) for one in splits]
    report = {
        "dataset": {"name": name, **_counts(ratings), "sha256": fingerprint(ratings)},
        "params": trials[-1].params,
        "split": {"protocol": split, **described[0]},
        "protocols": {
            protocol: averaged([one.measured[protocol] for one in trials])
            for protocol in splits[0].protocols
        },
        "opponents": trials[-1].opponents,
        "ann": trials[-1].ann,
        "calibration": trials[-1].calibration,
        "seconds": {step: sum(t.seconds[step] for t in trials) for step in trials[0].seconds},
        "versions": storage.versions(),
    }
    if cutoffs is not None:
        each = [
            {"share": share, **counts, **_of_one_cutoff(one, ks)}
            for share, counts, one in zip(shares, described, trials, strict=True)
        ]
        report["split"] = {"protocol": split, **dict.fromkeys(described[0]), "cutoffs": each}
    if fold_in_curve:
        report["fold_in_curve"] = {
            str(n): averaged([one.curve[n] for one in trials]) for n in splits[0].curve
        }
    if cold_items:
        report["cold_items"] = trials[0].cold_items or {}
    if show_leak:
        leaky = trial.at_random(ratings, described[0]["n_validation"], min_rating)
        measured = trial.run(
            leaky, items, params, ks, with_peers=peers, with_neighbours=user_to_user
        ).measured
        report["leak"] = averaged([measured["warm"]])
    return report


def _counts(ratings: pd.DataFrame) -> dict[str, int]:
    return {
        "n_ratings": len(ratings),
        "n_users": int(ratings["user_id"].nunique()),
        "n_items": int(ratings["item_id"].nunique()),
    }


def _shares(
    split: str,
    validation_fraction: float | None,
    cutoffs: Iterable[float] | None,
    *,
    show_leak: bool,
) -> list[float]:
    """Return the shares to train on, or say what does not go together."""
    if split not in ("time", "last-out"):
        raise ValueError(f"split must be 'time' or 'last-out', got {split!r}")
    by_time = {"validation_fraction": validation_fraction, "cutoffs": cutoffs,
               "show_leak": show_leak or None}  # fmt: skip
    given = [option for option, value in by_time.items() if value is not None]
    if split == "last-out" and given:
        raise ValueError(f"{given[0]} needs a split by time, not split='last-out'")
    if cutoffs is None:
        return [1 - (0.2 if validation_fraction is None else validation_fraction)]
    if len(given) > 1:
        other = next(option for option in given if option != "cutoffs")
        raise ValueError(f"cutoffs cannot be combined with {other}")
    shares = sorted(set(cutoffs))
    if not shares or not 0 < shares[0] <= shares[-1] < 1:
        raise ValueError(f"cutoffs must lie in (0, 1), got {shares}")
    return shares


def _of_one_cutoff(one: Trial, ks: list[int]) -> dict[str, Any]:
    """Say what a cutoff contributed: users, recall of every model, and the settings used."""
    return {
        "n_users": {protocol: len(m.user_ids) for protocol, m in one.measured.items()},
        "recall": {
            protocol: {
                name: {
                    f"recall@{k}": float(values[f"recall@{k}"].mean()) if len(m.user_ids) else None
                    for k in ks
                }
                for name, values in m.per_user.items()
            }
            for protocol, m in one.measured.items()
        },
        "params": one.params,
        "opponents": one.opponents,
        "calibration": one.calibration,
    }


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
    group.add_argument("--validation-fraction", type=float, metavar="SHARE",
                       help="share of the ratings after the cutoff (default: 0.2)")  # fmt: skip
    group.add_argument("--cutoffs", type=float, nargs="+", metavar="SHARE",
                       help="several shares to train on, such as 0.7 0.8 0.9: the split by time "
                       "is repeated for each and the means are averaged")  # fmt: skip
    group.add_argument("--peers", action="store_true",
                       help='compare with the package "implicit" too (the extra "peers"), and '
                       "with every opponent plus popularity")  # fmt: skip
    group.add_argument("--user-to-user", action="store_true",
                       help="compare with what the users with the nearest user vectors have "
                       "watched")  # fmt: skip
    group.add_argument("--ablation", action="store_true",
                       help="compare with the model's own parts: one lever after the other is "
                       "added to the textbook's recipe")  # fmt: skip
    group.add_argument("--fold-in-curve", action="store_true",
                       help="measure new users after their first 1, 2, 5, 10 and 20 items "
                       "too")  # fmt: skip
    group.add_argument("--update", action="store_true",
                       help="compare with the model without the latest eighth of its training "
                       "part, and with one trained anew: what an update is worth")  # fmt: skip
    group.add_argument("--dials", action="store_true",
                       help="compare with other settings of popularity and diversity: what each "
                       "costs and brings")  # fmt: skip
    group.add_argument("--cold-items", action="store_true",
                       help="show how well items that training has never seen are found, by their "
                       "genres, year and title")  # fmt: skip
    group.add_argument("--show-leak", action="store_true",
                       help="show beside it what a random split pretends")  # fmt: skip
    group.add_argument("-k", "--ks", type=int, nargs="+", default=[10, 20, 50], metavar="K",
                       help="lengths of the lists (default: 10 20 50)")  # fmt: skip
    cli.add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Load, evaluate, print."""
    from recsys.evaluation.report import as_text

    params = cli.model_params(args)
    started = time.perf_counter()
    name, ratings, items = cli.load_data(args)
    loaded = time.perf_counter() - started
    if args.update:
        _run_update(args, name, ratings, items, params)
        return
    report = evaluate(
        ratings,
        items,
        params=params,
        split=args.split,
        validation_fraction=args.validation_fraction,
        cutoffs=args.cutoffs,
        peers=args.peers,
        user_to_user=args.user_to_user,
        fold_in_curve=args.fold_in_curve,
        show_leak=args.show_leak,
        ablation=args.ablation,
        cold_items=args.cold_items,
        dials=args.dials,
        ks=args.ks,
        name=name,
    )
    report["seconds"] = {"load": loaded, **report["seconds"]}
    if args.json:
        cli.print_json(report)
    else:
        print(as_text(report))


def _run_update(
    args: argparse.Namespace,
    name: str,
    ratings: pd.DataFrame,
    items: pd.DataFrame | None,
    params: dict[str, Any],
) -> None:
    """Measure what an update is worth, and print that."""
    from recsys.evaluation.report import update_as_text
    from recsys.studies.update import evaluate_update

    given = {"split": args.split != "time", "cutoffs": args.cutoffs, "peers": args.peers,
             "ablation": args.ablation, "show_leak": args.show_leak,
             "user_to_user": args.user_to_user, "fold_in_curve": args.fold_in_curve,
             "cold_items": args.cold_items, "dials": args.dials}  # fmt: skip
    for option, value in given.items():
        if value:
            raise ValueError(f"update cannot be combined with {option}")
    share = 0.2 if args.validation_fraction is None else args.validation_fraction
    report = evaluate_update(
        ratings, items, params=params, validation_fraction=share, ks=args.ks, name=name
    )
    if args.json:
        cli.print_json(report)
    else:
        print(update_as_text(report))


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
