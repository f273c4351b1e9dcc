"""Train the model and its opponents on the earlier part of a split, measure them on the later."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import rows_of, take
from recsys.evaluation.measure import MODEL, averaged, contender_of_model, measure
from recsys.evaluation.opponents import fit_opponents
from recsys.progress import part
from recsys.recommender import Recommender, fitted
from recsys.search.choose import measure_index

if TYPE_CHECKING:
    import pandas as pd

    from recsys.data.events import Events
    from recsys.data.sequences import Sequences
    from recsys.data.splits import Cases, Split
    from recsys.evaluation.measure import Contender, Measured
    from recsys.model.ask import Model


@dataclass(frozen=True)
class Trial:
    """What came out at one split."""

    events: Events  # training and validation together
    split: Split
    items: pd.DataFrame | None
    given: dict[str, Any]  # settings; `model.params` has what was chosen
    ks: Sequence[int]  # ascending
    against: Collection[str]
    model: Recommender
    known: Sequences  # the interactions trained on
    contenders: dict[str, Contender]  # the model and its opponents
    opponents: dict[str, Any]  # their settings
    measured: dict[str, Measured] = field(default_factory=dict)  # by protocol
    ann: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    studies: dict[str, Any] = field(default_factory=dict)

    def measure(self, contenders: dict[str, Contender]) -> dict[str, Measured]:
        """Measure other contenders on the same users, by protocol, beside the model itself."""
        contenders = {MODEL: self.contenders[MODEL]} | contenders
        return {
            name: measure(cases, contenders, self.known, self.ks)
            for name, cases in self.split.protocols.items()
        }


@dataclass(frozen=True)
class Study:
    """One question beside the main table; each file in `recsys.studies` has one, called STUDY.

    Attributes
    ----------
    name : str
        As on the command line; its key in the report has "_" for "-".
    measure : function (Trial) -> anything
        Called once a split.
    average : function (list of that) -> JSON-able dict
        What the report holds under the study's key.
    as_text : function (report) -> list of str
        Lines of at most 115 columns.
    needs : set of "time", "one split", "items"
    """

    name: str
    measure: Callable[[Trial], Any]
    average: Callable[[list[Any]], dict[str, Any]]
    as_text: Callable[[dict[str, Any]], list[str]]
    needs: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """The name as a key of the report."""
        return self.name.replace("-", "_")


def average_protocols(found: list[dict[Any, Measured]]) -> dict[str, Any]:
    """Average what was measured at each split, by protocol."""
    return {str(name): averaged([each[name] for each in found]) for name in found[0]}


def only(found: list[Any]) -> Any:
    """Return what was measured at the one split, for `Study.average`."""
    return found[0]


def run_trial(
    events: Events,
    split: Split,
    items: pd.DataFrame | None,
    params: dict[str, Any],
    ks: Sequence[int],
    *,
    against: Collection[str] = ("baselines",),
    studies: Sequence[Study] = (),
) -> Trial:
    """Train and measure at one split; the arguments are those of `Trial`."""
    parts = 1 + len(studies)  # each taken to be as long as the main table
    with part(0.4 / parts):
        model = Recommender(**params).fit(split.train, items)
    started = time.perf_counter()
    min_rating = model.params["min_rating"]
    with part(0.9 / parts):
        others, chosen = fit_opponents(split.train, split.cutoff, k=ks[-1], against=against,
                                       min_rating=min_rating)  # fmt: skip
    trained = time.perf_counter()
    known = split.train.where(split.train.liked(min_rating)).compact().sequences
    contenders = {MODEL: contender_of_model(model, ks[-1]), **others}
    trial = Trial(events, split, items, params, ks, against, model, known, contenders, chosen)
    trial.measured.update(trial.measure(contenders))
    trial.ann.update(_measure_ann(fitted(model), list(split.protocols.values())[-1], ks[0]))
    trial.seconds.update(model.about["seconds"], opponents=trained - started,
                         evaluate=time.perf_counter() - trained)  # fmt: skip
    for number, study in enumerate(studies, start=2):
        with part(number / parts):
            trial.studies[study.name] = study.measure(trial)
    return trial


def _measure_ann(model: Model, cases: Cases, k: int) -> dict[str, Any]:
    """Ask the index that `recommend` uses for up to 1,000 of the evaluated users."""
    histories = cases.histories.recode(take(model.tables.item_ids))
    users = np.flatnonzero(histories.lengths > 0)[:1000]
    found = measure_index(model.index, model.queries(histories.take_users(users)), k)
    return {**found, "build_seconds": model.about["seconds"]["index"]}


def describe_split(events: Events, split: Split) -> dict[str, Any]:
    """Count what lies after the cutoff, and how much of it training has never seen."""
    sequences, train = events.sequences, split.train.sequences
    if split.cutoff is not None and events.times is not None:
        late = events.times >= split.cutoff
        users, items = sequences.user_rows[late], sequences.codes[late]
    else:
        targets = split.protocols["last-out"].targets
        users, items = rows_of(targets.user_ids, sequences.user_ids), targets.codes
    users = np.unique(users)
    n_warm = int((train.lengths[users] > 0).sum())
    return {
        "cutoff": None if split.cutoff is None else f"{np.datetime64(split.cutoff, 's')}+00:00",
        "n_train": len(split.train),
        "n_validation": len(items),
        "n_users_warm": n_warm,
        "n_users_cold": len(users) - n_warm,
        "share_cold_item_events": float((train.counts()[items] == 0).mean()),
    }


def describe_trial(trial: Trial) -> dict[str, Any]:
    """Say what one of several cutoffs contributed: users, recall of every model, settings."""

    def means(values: dict[str, Any]) -> dict[str, float | None]:
        recalls = {f"recall@{k}": values[f"recall@{k}"] for k in trial.ks}
        return {name: float(v.mean()) if len(v) else None for name, v in recalls.items()}

    return {
        "n_users": {protocol: len(m.user_ids) for protocol, m in trial.measured.items()},
        "recall": {
            protocol: {name: means(values) for name, values in m.per_user.items()}
            for protocol, m in trial.measured.items()
        },
        "params": trial.model.params,
        "opponents": trial.opponents,
        "calibration": trial.model.about["calibration"],
    }
