"""How much is found for new users after their first 1, 2, 5, 10 and 20 items?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recsys.data.splits import ENOUGH_USERS, new_user_cases
from recsys.evaluation.measure import MODEL
from recsys.evaluation.measure import measure as measure_all
from recsys.evaluation.report import align, list_lengths
from recsys.evaluation.run import Study, average_protocols

if TYPE_CHECKING:
    from recsys.evaluation.measure import Measured
    from recsys.evaluation.run import Trial

SIZES = (1, 2, 5, 10, 20)


def measure(trial: Trial) -> dict[int, Measured]:
    """Measure the model and its opponents after each number of items."""
    cutoff, min_rating = trial.split.cutoff or 0, trial.given["min_rating"]
    cases = new_user_cases(trial.events, cutoff, SIZES, min_rating=min_rating)
    return {
        n: measure_all(each, trial.contenders, trial.known, trial.ks) for n, each in cases.items()
    }


def as_text(report: dict[str, Any]) -> list[str]:
    """Set the recall of every model after a new user's first items in one table."""
    curve = report["new_users"]
    *_, (most, result) = curve.items()
    lines = [
        "",
        "new users after their first items; what comes after the first "
        f"{most} is to be found, which are never ranked",
    ]
    if result["n_users"] == 0:
        return [*lines, f"no user without training history has more than {most} items"]
    lines.append(
        f"{result['n_users']:,} users, {result['n_targets']:,} items to be found, the same for all "
        f"columns, of which {result['n_targets_without_vector']:,} have no vector"
    )
    k = list_lengths(result["models"])[1]
    rows = [[f"recall{k} after", *(f"{n} item{'s' * (n != '1')}" for n in curve)]]
    for name in result["models"]:
        entries = (found["models"][name][f"recall{k}"] for found in curve.values())
        rows.append([name, *map(_with_interval, entries)])
    lines += align(rows)
    unserved = {n: found["models"][MODEL]["n_users_unserved"] for n, found in curve.items()}
    shown = ", ".join(f"{users:,} after {n}" for n, users in unserved.items() if users)
    if shown:
        lines.append(f"users without a known item yet, who count as 0 in item2vec: {shown}")
    if result["n_users"] < ENOUGH_USERS:
        lines.append(f"fewer than {ENOUGH_USERS} such users: the intervals tell little")
    return lines


def _with_interval(entry: dict[str, Any]) -> str:
    shown = "{:.3f} ({:.3f}-{:.3f})".format(entry["mean"], *entry["ci95"])
    return shown.replace("0.", ".")


STUDY = Study("new-users", measure, average_protocols, as_text, frozenset({"time"}))
