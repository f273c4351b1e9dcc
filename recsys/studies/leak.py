"""What does a random split pretend, beside the split by time?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.splits import Split, make_cases
from recsys.evaluation.measure import averaged
from recsys.evaluation.report import align, list_lengths, show_number
from recsys.evaluation.run import Study, only, run_trial

if TYPE_CHECKING:
    from recsys.data.events import Events
    from recsys.evaluation.run import Trial


def split_at_random(
    events: Events, n_validation: int, min_rating: float | None, *, seed: int = 0
) -> Split:
    """Hold out `n_validation` events at random, which leaks what others did later.

    The protocol is `warm` apart from that, and with users who are present now.
    """
    held = np.zeros(len(events), bool)
    held[np.random.default_rng(seed).permutation(len(events))[:n_validation]] = True
    cases = make_cases(events, ~held, held, min_rating, cold_users=False)
    return Split(events.where(~held), {"warm": replace(cases, staleness=np.zeros(len(cases)))})


def measure(trial: Trial) -> dict[str, Any]:
    """Train and measure once more on a random split of the same size."""
    n_validation = len(trial.events) - len(trial.split.train)
    split = split_at_random(trial.events, n_validation, trial.given["min_rating"])
    asked = trial.items, trial.given, trial.ks
    leaky = run_trial(trial.events, split, *asked, against=trial.against)
    return averaged([leaky.measured["warm"]])


def as_text(report: dict[str, Any]) -> list[str]:
    """Set the recall of every model on both splits side by side."""
    by_time, at_random = report["protocols"]["warm"], report["leak"]
    k = list_lengths(by_time["models"])[1]
    rows = [[f"recall{k}", "by time", "at random"]]
    for name, values in by_time["models"].items():
        pair = values[f"recall{k}"], at_random["models"][name][f"recall{k}"]
        rows.append([name, *(show_number(entry["mean"]) for entry in pair)])
    return [
        "",
        "what a random split pretends: the same models and as many ratings held out, but at random",
        f"warm users: {by_time['n_users']:,} by time, {at_random['n_users']:,} at random",
        *align(rows),
    ]


STUDY = Study("leak", measure, only, as_text, frozenset({"time", "one split"}))
