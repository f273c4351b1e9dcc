"""Split once, train the model and its opponents on the earlier part, measure them on the later."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import id_array, rows_of
from recsys.data.frames import ITEM, TIMESTAMP, USER
from recsys.data.sequences import build_sequences, sort_events
from recsys.data.splits import curve_cases, last_out, liked, split_by_time, time_cases
from recsys.evaluation.measure import MODEL, contender_of_model, measure
from recsys.evaluation.opponents import opponents
from recsys.recommender import Recommender
from recsys.search.approximate import measure_index
from recsys.studies.ablation import levers
from recsys.studies.cold_items import measure_cold_items
from recsys.studies.dials import turned

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from recsys.data.splits import Cases
    from recsys.evaluation.measure import Measured


@dataclass(frozen=True)
class Split:
    """What may be trained on, and who is asked for what.

    Attributes
    ----------
    train : DataFrame
    protocols : dict of name -> Cases
    cutoff : Timestamp or None
        None where the parts do not meet at one moment.
    curve : dict of size -> Cases
        Of `recsys.data.splits.curve_cases`, where they are asked for.
    """

    train: pd.DataFrame
    protocols: dict[str, Cases]
    cutoff: pd.Timestamp | None = None
    curve: dict[int, Cases] = field(default_factory=dict)


def by_time(
    ratings: pd.DataFrame, share: float, min_rating: float | None, *, with_curve: bool = False
) -> Split:
    """Train on the first `share` of the ratings."""
    # Rounded, so that 0.8 and its counterpart 0.2 mean the same moment.
    split = split_by_time(ratings, validation_fraction=round(1 - share, 12))
    cases = time_cases(ratings, split.cutoff, min_rating=min_rating)
    curve = curve_cases(ratings, split.cutoff, min_rating=min_rating) if with_curve else {}
    return Split(split.train, cases, split.cutoff, curve)


def by_last_event(ratings: pd.DataFrame, min_rating: float | None) -> Split:
    """Leave out each user's last events."""
    train, cases = last_out(ratings, min_rating=min_rating)
    return Split(train, {"last-out": cases})


def at_random(
    ratings: pd.DataFrame, n_validation: int, min_rating: float | None, *, seed: int = 0
) -> Split:
    """Hold out ratings at random, as one should not: what others did later is then known.

    The protocol is `warm` but for that, and with users who are here now.

    Parameters
    ----------
    ratings : DataFrame
        A checked frame with times.
    n_validation : int
        How many ratings are held out.
    min_rating : float
    seed : int
    """
    import pandas as pd

    ratings = sort_events(ratings)  # the same split for any order of the rows
    held = np.zeros(len(ratings), bool)
    held[np.random.default_rng(seed).permutation(len(ratings))[:n_validation]] = True
    # What is held out is moved behind everything else, and the rest is a split by time.
    first, last = ratings[TIMESTAMP].min(), ratings[TIMESTAMP].max()
    second = pd.Timedelta(seconds=1)
    moved = ratings[TIMESTAMP].where(~held, ratings[TIMESTAMP] + (last - first + second))
    cases = time_cases(ratings.assign(**{TIMESTAMP: moved}), last + second, min_rating=min_rating)
    warm = cases["warm"]
    return Split(ratings[~held], {"warm": replace(warm, staleness=np.zeros(len(warm)))})


@dataclass(frozen=True)
class Trial:
    """What came out at one split.

    Attributes
    ----------
    params : dict
        Of the model, as used.
    measured : dict of protocol -> Measured
    curve : dict of size -> Measured
    opponents : dict of name -> dict
        See `recsys.evaluation.opponents.opponents`.
    calibration : dict
        See `recsys.vectors.calibrate.calibrate`.
    ann, seconds : dict
    cold_items : dict or None
        See `recsys.studies.cold_items.measure_cold_items`.
    """

    params: dict[str, Any]
    measured: dict[str, Measured]
    curve: dict[int, Measured]
    opponents: dict[str, Any]
    calibration: dict[str, Any]
    ann: dict[str, Any]
    seconds: dict[str, float]
    cold_items: dict[str, Any] | None = None


def run(
    split: Split,
    items: pd.DataFrame | None,
    params: dict[str, Any],
    ks: Sequence[int],
    *,
    with_peers: bool,
    with_neighbours: bool = False,
    ablation: bool = False,
    cold_items: bool = False,
    dials: bool = False,
) -> Trial:
    """Train and measure.

    Parameters
    ----------
    split : Split
    items : DataFrame or None
    params : dict
        Keywords of `Recommender`.
    ks : ascending whole numbers
    with_peers : bool
    with_neighbours : bool
        Whether what the nearest users watched (`user-to-user`) takes part.
    ablation : bool
        Whether to put the model beside its own parts (`recsys.studies.ablation`), not beside
        opponents.
    dials : bool
        Whether to put the model beside itself with other dials (`recsys.studies.dials`), not beside
        opponents.
    cold_items : bool
        Whether to measure what nobody has watched in training too; there are `items` then.
    """
    model = Recommender(**params)
    min_rating = model.params["min_rating"]
    model.fit(split.train, items)
    started = time.perf_counter()
    known = build_sequences(split.train[liked(split.train, min_rating)])
    chosen: dict[str, Any] = {}
    if ablation:
        others = levers(split.train, model.params, ks[-1])
    elif dials:
        others = turned(model, ks[-1])
    else:
        others, chosen = opponents(
            split.train,
            split.cutoff,
            k=ks[-1],
            min_rating=min_rating,
            with_peers=with_peers,
            neighbours_of=model if with_neighbours else None,
        )
    fitted = time.perf_counter()
    contenders = {MODEL: contender_of_model(model, ks[-1]), **others}
    measured = {
        protocol: measure(cases, contenders, known, ks)
        for protocol, cases in split.protocols.items()
    }
    curve = {n: measure(cases, contenders, known, ks) for n, cases in split.curve.items()}
    ann = _measure_ann(model, list(split.protocols.values())[-1], ks[0])
    return Trial(
        model.params,
        measured,
        curve,
        chosen,
        model.calibration,
        {**ann, "build_seconds": model.seconds["index"]},
        {**model.seconds, "opponents": fitted - started,
         "evaluate": time.perf_counter() - fitted},
        measure_cold_items(model, items, split.protocols, known, ks)
        if cold_items and items is not None else None,
    )  # fmt: skip


def _measure_ann(model: Recommender, cases: Cases, k: int) -> dict[str, Any]:
    """Ask the index that `recommend` uses for up to 1,000 of the evaluated users."""
    histories = cases.histories.recode(model.items)
    users = np.flatnonzero(histories.lengths > 0)[:1000]
    return measure_index(model.index, model.queries(histories.take_users(users)), k)


def describe_split(ratings: pd.DataFrame, split: Split) -> dict[str, Any]:
    """Count what lies after the cutoff, and how much of it training has never seen."""
    if split.cutoff is not None:
        later = ratings[ratings[TIMESTAMP] >= split.cutoff]
        users, items = id_array(later[USER]), id_array(later[ITEM])
    else:
        targets = split.protocols["last-out"].targets
        users, items = targets.user_ids, targets.item_ids[targets.codes]
    users = np.unique(users)
    n_warm = int((rows_of(users, np.unique(id_array(split.train[USER]))) >= 0).sum())
    cold_items = rows_of(items, np.unique(id_array(split.train[ITEM]))) < 0
    return {
        "cutoff": None if split.cutoff is None else split.cutoff.isoformat(),
        "n_train": len(split.train),
        "n_validation": len(items),
        "n_users_warm": n_warm,
        "n_users_cold": len(users) - n_warm,
        "share_cold_item_events": float(cold_items.mean()),
    }
