"""Print an evaluation as a table that one can read in one look."""

from __future__ import annotations

import textwrap
from typing import Any

from recsys.data.splits import ENOUGH_USERS

MEANING = {
    "warm": "users with a history, asked at the cutoff for what they watched later and not before",
    "fold-in": "users amid their later events: the first half joins the history (no retraining), "
    "the rest is to be found",
    "last-out": "each user's last event is to be found; training holds other users' future, "
    "so compare it with papers only",
}
WIDTH = 115
LEGEND = (
    "recall@K: the share of a user's items to be found that is in the user's top K, "
    "averaged over users"
)


def as_text(report: dict[str, Any]) -> str:
    """Lay the dict of `recsys.evaluate.evaluate` out as text, at most 115 columns wide."""
    data, seconds = report["dataset"], report["seconds"]
    lines = [
        f"{data['name']}: {data['n_ratings']:,} ratings, {data['n_users']:,} users, "
        f"{data['n_items']:,} items",
        *_split_lines(report["split"]),
        LEGEND,
    ]
    for protocol, result in report["protocols"].items():
        lines += ["", *_protocol_lines(protocol, result, report["split"].get("cutoffs"))]
    if "fold_in_curve" in report:
        lines += ["", *_curve_lines(report["fold_in_curve"])]
    for protocol, result in report.get("cold_items", {}).items():
        lines += ["", *_cold_items_lines(protocol, result)]
    if "leak" in report:
        lines += ["", *_leak_lines(report["protocols"]["warm"], report["leak"])]
    where = "settings at the last cutoff" if "cutoffs" in report["split"] else "settings"
    lines += ["", *_calibration_lines(where, report["calibration"])]
    if report["opponents"]:
        lines += _opponents_lines(where, report["opponents"])
    lines.append(_index_line(report["ann"]))
    lines.append("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    return "\n".join(lines)


def update_as_text(report: dict[str, Any]) -> str:
    """Lay the dict of `evaluate_update` out as text, at most 115 columns wide."""
    data, split, drift = report["dataset"], report["split"], report["drift"]
    old_until, cutoff = (split[name].replace("T", " ")[:16] for name in ("old_until", "cutoff"))
    lines = [
        f"{data['name']}: {data['n_ratings']:,} ratings",
        f"old: trained on the {split['n_old']:,} ratings before {old_until} UTC; item2vec: old, "
        f"updated with the next {split['n_news']:,};",
        f"retrained: on all of these with the same settings; "
        f"tested on the {split['n_validation']:,} ratings from {cutoff} UTC on",
        LEGEND,
    ]
    for protocol, result in report["protocols"].items():
        lines += ["", *_protocol_lines(protocol, result, None)]
    rows = [["", "seconds", "similar", "answers"]]
    for name, seconds in report["seconds"].items():
        shares = drift.get(name, {"similar": 1.0, "answers": 1.0})
        kept = [_number(shares[each]) for each in ("similar", "answers")]
        rows.append([name, f"{seconds:.1f}", *kept])
    lines += ["", *_aligned(rows)]
    lines.append(
        "of an item's 10 nearest items by cosine (similar), and the 10 that answer it best, the "
        "share that it had in old"
    )
    lines += _calibration_lines("settings", report["calibration"])
    return "\n".join(lines)


def _split_lines(split: dict[str, Any]) -> list[str]:
    if "cutoffs" in split:
        shares = ", ".join(f"{one['share']:.0%}" for one in split["cutoffs"])
        return [
            f"split at {len(split['cutoffs'])} moments, {shares} of the ratings before them; "
            "each time trained anew",
            "means are averaged over the cutoffs, intervals are over distinct users",
        ]
    if split["protocol"] == "last-out":
        tested = f"{split['n_validation']:,} last events"
        first = f"split by each user's last event: trained on {split['n_train']:,} ratings"
    else:
        tested = f"{split['n_validation']:,} ratings"
        moment = split["cutoff"].replace("T", " ")[:16]
        first = f"split at {moment} UTC: trained on the {split['n_train']:,} ratings before"
    n_users = split["n_users_cold"] + split["n_users_warm"]
    return [
        f"{first}, tested on {tested} of {n_users:,} users",
        f"not in training: {split['n_users_cold']:,} of these users, and the items of "
        f"{split['share_cold_item_events']:.1%} of the {tested}",
    ]


def _protocol_lines(
    protocol: str, result: dict[str, Any], cutoffs: list[dict[str, Any]] | None
) -> list[str]:
    lines = [f"{protocol}: {MEANING[protocol]}"]
    if result["n_users"] == 0:
        return [*lines, "no such users in this data"]
    users = "users" if cutoffs is None else f"distinct users at {len(cutoffs)} cutoffs"
    lines.append(
        f"{result['n_users']:,} {users}, {result['n_targets']:,} items to be found, of which "
        f"{result['n_targets_without_vector']:,} have no vector and count as misses"
    )
    models = result["models"]
    ks, k = _ks(models)
    others, heads = [f"ndcg{k}", "mrr", f"coverage{k}"], ["ndcg", "mrr", "coverage"]
    if f"intra_list_distance{k}" in models["item2vec"]:  # of dials, what they are for
        others = [f"coverage{k}", f"novelty{k}", f"intra_list_distance{k}"]
        heads = ["coverage", "novelty", "distance"]
    rows = [
        ["", "recall", *[""] * (len(ks) - 1), "95% of", *heads, "item2vec minus this,"],
        ["", *ks, f"recall{k}", *(k if "@" in metric else "" for metric in others),
         f"recall{k} and 95%"],
    ]  # fmt: skip
    for name, values in models.items():
        row = [name, *(f"{values[f'recall{k}']['mean']:.3f}" for k in ks)]
        row.append("{:.3f}-{:.3f}".format(*values[f"recall{k}"]["ci95"]))
        row += [f"{values[metric]['mean']:.3f}" for metric in others]
        difference = result["differences"].get(name)
        rows.append([*row, _difference(difference[f"recall{k}"]) if difference else ""])
    lines += _aligned(rows)
    unserved = [f"{v['n_users_unserved']:,} in {name}" for name, v in models.items()
                if v["n_users_unserved"]]  # fmt: skip
    if unserved:
        lines.append(f"users without a known item count as 0: {', '.join(unserved)}")
    if cutoffs is not None:
        shown = ", ".join(
            f"{one['share']:.0%}: {_number(one['recall'][protocol]['item2vec'][f'recall{k}'])} "
            f"({one['n_users'][protocol]:,} users)"
            for one in cutoffs
        )
        lines += textwrap.wrap(f"item2vec's recall{k} by cutoff: {shown}", WIDTH)
    return lines


def _cold_items_lines(protocol: str, result: dict[str, Any]) -> list[str]:
    lines = [f"cold items, {protocol}: what training has never seen, with vectors by metadata"]
    if result["n_users"] == 0:
        return [*lines, "nobody has such items to be found"]
    lines.append(
        f"{result['n_users']:,} users, {result['n_targets']:,} such items to be found, among the "
        f"{result['n_cold_items']:,} alone or in the whole catalogue"
    )
    alone, whole = result["alone"], result["whole"]["models"]
    ks, k = _ks(alone["models"])
    rows = [
        ["alone:", "recall", *[""] * (len(ks) - 1), "95% of", "item2vec minus this,", "whole:"],
        ["", *ks, f"recall{k}", f"recall{k} and 95%", f"recall{k}"],
    ]
    for name, values in alone["models"].items():
        row = [name, *(f"{values[f'recall{k}']['mean']:.3f}" for k in ks)]
        row.append("{:.3f}-{:.3f}".format(*values[f"recall{k}"]["ci95"]))
        difference = alone["differences"].get(name)
        row.append(_difference(difference[f"recall{k}"]) if difference else "")
        rows.append([*row, f"{whole[name][f'recall{k}']['mean']:.3f}"])
    lines += _aligned(rows)
    others = result["others"]
    if others["n_users"]:
        without, beside = (others[name][f"recall{k}"]["mean"] for name in ("without", "with"))
        lines.append(
            f"recall{k} of the other items: {without:.3f} without cold ones, "
            f"{beside:.3f} beside them, {_difference(others['difference'][f'recall{k}'])}"
        )
        lines[-1] += f", {others['n_users']:,} users"
    return lines


def _ks(models: dict[str, Any]) -> tuple[list[str], str]:
    """Return the lengths of the lists, and the one that has intervals and differences."""
    ks = [name.removeprefix("recall") for name in models["item2vec"] if name.startswith("recall@")]
    return ks, ks[len(ks) // 2]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _curve_lines(curve: dict[str, Any]) -> list[str]:
    """Set the recall of every model after a new user's first items in one table."""
    sizes = list(curve)
    result, most = curve[sizes[-1]], sizes[-1]
    lines = [
        "fold-in curve: new users after their first items; what comes after the first "
        f"{most} is to be found, which are never ranked"
    ]
    if result["n_users"] == 0:
        return [*lines, f"no user without training history has more than {most} items"]
    lines.append(
        f"{result['n_users']:,} users, {result['n_targets']:,} items to be found, the same for all "
        f"columns, of which {result['n_targets_without_vector']:,} have no vector"
    )
    k = _ks(result["models"])[1]
    rows = [[f"recall{k} after", *(f"{n} item{'s' * (n != '1')}" for n in sizes)]]
    for name in result["models"]:
        entries = (curve[n]["models"][name][f"recall{k}"] for n in sizes)
        rows.append([name, *map(_with_interval, entries)])
    lines += _aligned(rows)
    unserved = {n: curve[n]["models"]["item2vec"]["n_users_unserved"] for n in sizes}
    shown = ", ".join(f"{users:,} after {n}" for n, users in unserved.items() if users)
    if shown:
        lines.append(f"users without a known item yet, who count as 0 in item2vec: {shown}")
    if result["n_users"] < ENOUGH_USERS:
        lines.append(f"fewer than {ENOUGH_USERS} such users: the intervals tell little")
    return lines


def _with_interval(entry: dict[str, Any]) -> str:
    shown = "{:.3f} ({:.3f}-{:.3f})".format(entry["mean"], *entry["ci95"])
    return shown.replace("0.", ".")


def _leak_lines(by_time: dict[str, Any], at_random: dict[str, Any]) -> list[str]:
    k = _ks(by_time["models"])[1]
    rows = [[f"recall{k}", "by time", "at random"]]
    for name, values in by_time["models"].items():
        pair = values[f"recall{k}"], at_random["models"][name][f"recall{k}"]
        rows.append([name, *(_number(entry["mean"]) for entry in pair)])
    return [
        "what a random split pretends: the same models and as many ratings held out, but at random",
        f"warm users: {by_time['n_users']:,} by time, {at_random['n_users']:,} at random",
        *_aligned(rows),
    ]


def _calibration_lines(where: str, calibration: dict[str, Any]) -> list[str]:
    """Say what calibration chose, and what it saw."""
    if not calibration.get("chosen"):
        return []
    chosen = _settings(calibration["chosen"])
    if "skipped" in calibration:
        source = f"defaults: {calibration['skipped']}"
    else:
        seen = " and ".join(
            f"{recall:.3f} for {calibration['users'][protocol]:,} {protocol} users"
            for protocol, recall in calibration["recall@20"].items()
        )
        source = f"chosen inside the training part, with a recall@20 there of {seen}"
    return _wrapped(f"item2vec's {where} ({source}): {chosen}")


def _opponents_lines(where: str, opponents: dict[str, Any]) -> list[str]:
    """Say what the opponents' settings are and where they come from."""
    shown = "; ".join(f"{name} {_settings(one['settings'])}" for name, one in opponents.items())
    unchosen = all(one["recall@20"] is None for one in opponents.values())
    source = "defaults: too few to choose by" if unchosen else "chosen inside the training part"
    return _wrapped(f"opponents' {where} ({source}): {shown}")


def _settings(settings: dict[str, float | None]) -> str:
    """List names and values; no line is broken between the two."""
    return ", ".join(
        f"{name}\N{NO-BREAK SPACE}" + ("none" if value is None else f"{value:g}")
        for name, value in settings.items()
    )


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(text, WIDTH, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _difference(entry: dict[str, Any]) -> str:
    return "{:+.3f} ({:+.3f}, {:+.3f})".format(entry["mean"], *entry["ci95"])


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]


def _index_line(ann: dict[str, Any]) -> str:
    if ann["recall_vs_exact"] is None:
        return f"index ({ann['backend']}): nobody to ask it for"
    return (
        f"index ({ann['backend']}): finds {ann['recall_vs_exact']:.1%} of what exact search finds, "
        f"{ann['microseconds_per_query']:.0f} microseconds a query, "
        f"{ann['bytes'] / 1e6:.1f} MB, built in {ann['build_seconds']:.2f} s"
    )
