"""Compare the models of an experiment by what users did with the lists that they were shown."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.errors import DataError
from recsys.evaluation.report import align
from recsys.serving.store import Store

PerUser = npt.NDArray[np.float64]

MISMATCH = 0.001  # shares of users less likely than this are no accident
POWER, LEVEL = 0.8, 0.95


def compare(
    store: Store,
    experiment: str,
    *,
    k: int = 10,
    window: float = 86_400,
    difference: float | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """Measure each arm of an experiment, and what each differs by from the first.

    A list is hit if the user did anything (but dislike it) with one of its top k items within the
    window after it was shown; a user's hit rate is the share of their lists that were hit; an
    arm's is the mean over its users, who are the unit that was assigned. Lists whose window has
    not passed are left out, and so are users with lists of several arms.

    Parameters
    ----------
    window : seconds
    difference : float, optional
        The difference of hit rates whose number of users is wanted; by default a tenth of the hit
        rate of the first arm.
    now : seconds since 1970, optional

    Returns
    -------
    dict
        `experiment`, `k`, `window`, `arms` (by name: `models`, `n_users`, `n_lists`, `hit_rate`,
        `ci95`), `differences` to the first arm (by name: `mean`, `ci95`), `mismatch` (`p_value`
        of a chi-square test of the numbers of users, and whether to `warn`), `needed` (for a
        `difference`, the number of users of both arms, by name: `n_users`, `n_more`),
        `n_lists_open`, `n_users_of_several_arms`.

    Raises
    ------
    DataError
        No list is logged for the experiment.

    References
    ----------
    Kohavi, Tang & Xu 2020, "Trustworthy Online Controlled Experiments"; sample-ratio mismatch:
    Fabijan et al. 2019. The interval is Welch's.
    """
    shares = store.arms_of(experiment)
    if not shares:
        known = ", ".join(store.experiments()) or "none"
        raise DataError(f"no experiment {experiment!r} has been served; there are: {known}")
    now = time.time() if now is None else now
    rates, arms, n_open, n_several = _hit_rates(store, experiment, k, window, now)
    values = {name: np.array(list(rates.get(name, {}).values())) for name in shares}
    first = next(iter(shares))
    control = values[first]
    found: dict[str, Any] = {
        "experiment": experiment, "k": k, "window": window, "n_lists_open": n_open,
        "n_users_of_several_arms": n_several,
        "mismatch": _mismatch([len(v) for v in values.values()], list(shares.values())),
        "arms": {}, "differences": {}, "needed": {},
    }  # fmt: skip
    if difference is None:
        difference = float(control.mean()) / 10 if len(control) else 0.0
    for name, users in values.items():
        mean, interval = _mean(users)
        found["arms"][name] = {
            **arms.get(name, {"models": [], "n_lists": 0}), "n_users": len(users),
            "hit_rate": mean, "ci95": interval,
        }  # fmt: skip
        if name != first:
            found["differences"][name] = _difference(users, control)
            found["needed"][name] = _needed(users, control, difference)
    return found


def _hit_rates(
    store: Store, experiment: str, k: int, window: float, now: float
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]], int, int]:
    """Return hit rates by arm and user, what each arm showed, lists still open, mixed users."""
    did = store.times_of_events()
    seen: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    models: dict[str, set[str]] = defaultdict(set)
    n_open = 0
    for shown, arm, model, user, items in store.lists_of(experiment):
        if shown + window > now:
            n_open += 1
            continue
        models[arm].add(model)
        times = (moment for item in items[:k] for moment in did.get((user, item), ()))
        seen[arm][user].append(any(shown <= moment <= shown + window for moment in times))
    users = [set(of_arm) for of_arm in seen.values()]
    mixed = {
        one for place, some in enumerate(users) for rest in users[:place] for one in some & rest
    }
    rates = {
        arm: {u: sum(hits) / len(hits) for u, hits in of_arm.items() if u not in mixed}
        for arm, of_arm in seen.items()
    }
    arms = {
        arm: {"models": sorted(models[arm]), "n_lists": sum(len(h) for h in of_arm.values())}
        for arm, of_arm in seen.items()
    }
    return rates, arms, n_open, len(mixed)


def _mean(values: PerUser) -> tuple[float | None, list[float] | None]:
    """Return the mean over users and its 95% interval by Student's t."""
    from scipy import stats

    if len(values) < 2:
        return (float(values[0]), None) if len(values) else (None, None)
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * math.sqrt(_variance(values))
    mean = float(values.mean())
    return mean, [mean - half, mean + half]


def _variance(values: PerUser) -> float:
    """Return the variance of the mean."""
    return float(values.var(ddof=1) / len(values))


def _difference(ours: PerUser, control: PerUser) -> dict[str, Any]:
    """Return the difference of two means over users, and its 95% interval (Welch)."""
    from scipy import stats

    if min(len(ours), len(control)) < 2:
        return {"mean": None, "ci95": None}
    mean = float(ours.mean() - control.mean())
    parts = [_variance(values) for values in (ours, control)]
    if not sum(parts):
        return {"mean": mean, "ci95": None}
    sizes = (len(ours) - 1, len(control) - 1)
    freedom = sum(parts) ** 2 / sum(p**2 / n for p, n in zip(parts, sizes, strict=True))
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(sum(parts))
    return {"mean": mean, "ci95": [mean - half, mean + half]}


def _mismatch(counts: list[int], shares: list[float]) -> dict[str, Any]:
    """Test whether arms have the numbers of users that their shares ask for."""
    from scipy import stats

    if len(counts) < 2 or not sum(counts):
        return {"p_value": None, "warn": False}
    expected = np.array(shares) / sum(shares) * sum(counts)
    p_value = float(stats.chisquare(counts, expected).pvalue)
    return {"p_value": p_value, "warn": p_value < MISMATCH}


def _needed(ours: PerUser, control: PerUser, difference: float) -> dict[str, Any]:
    """Return how many users both arms need for a difference, at a power of 80%."""
    from scipy import stats

    n = len(ours) + len(control)
    if min(len(ours), len(control)) < 2 or difference == 0:
        return {"difference": difference, "n_users": None, "n_more": None}
    spread = sum(v.var(ddof=1) * n / len(v) for v in (ours, control))
    width = stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(POWER)
    users = math.ceil(spread * (width / difference) ** 2)
    return {"difference": difference, "n_users": users, "n_more": max(users - n, 0)}


def as_text(found: dict[str, Any]) -> list[str]:
    """Show a comparison."""
    rows = [["", "users", "lists", f"hit rate@{found['k']}", "95%", "minus the first", "95%"]]
    for name, arm in found["arms"].items():
        gain = found["differences"].get(name, {"mean": None, "ci95": None})
        rows.append([
            name, f"{arm['n_users']:,}", f"{arm['n_lists']:,}", _number(arm["hit_rate"]),
            _interval(arm["ci95"]), _number(gain["mean"], "+"), _interval(gain["ci95"], "+"),
        ])  # fmt: skip
    lines = align(rows)
    for name, gain in found["differences"].items():
        if gain["ci95"] is not None:
            apart = gain["ci95"][0] > 0 or gain["ci95"][1] < 0
            lines.append(f"{name}: " + ("the interval leaves 0 out" if apart else "no difference "
                         "is shown: the interval holds 0"))  # fmt: skip
        needed = found["needed"][name]
        if needed["n_users"] is not None:
            lines.append(
                f"{name}: to show a difference of {needed['difference']:.4f} takes about "
                f"{needed['n_users']:,} users in both, {needed['n_more']:,} more than there are"
            )
    if found["mismatch"]["warn"]:
        lines.append(
            "warning: the numbers of users do not fit the shares (chi-square p = "
            f"{found['mismatch']['p_value']:.1g}): something keeps users of an arm away or logs "
            "them twice, and the comparison cannot be trusted"
        )
    if found["n_lists_open"]:
        lines.append(f"{found['n_lists_open']:,} lists are younger than the window: left out")
    if found["n_users_of_several_arms"]:
        n = found["n_users_of_several_arms"]
        lines.append(f"warning: {n:,} users saw lists of several arms: left out")
    lines.append("intervals hold for one look at an end that was planned; looking daily finds more")
    return lines


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"


def _interval(ends: list[float] | None, sign: str = "") -> str:
    return "" if ends is None else f"({ends[0]:{sign}.4f}, {ends[1]:{sign}.4f})"
