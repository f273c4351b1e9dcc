"""Lay an evaluation out as tables of text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

MEANING = {
    "warm": "users with a history, asked at the cutoff for what they watched later and not before",
    "fold-in": "users within their later events: the first half joins the history (no retraining), "
    "the rest is to be found",
    "last-out": "each user's last event is to be found; training holds other users' future, "
    "so compare it with papers only",
}
WIDTH = 115
LEGEND = (
    "recall@K: the share of a user's items to be found that is in the user's top K, "
    "averaged over users"
)


def as_text(report: dict[str, Any], more: Sequence[str] = ()) -> str:
    """Lay a report and the lines of its studies out as text, at most 115 columns wide."""
    data, seconds = report["dataset"], report["seconds"]
    lines = [
        f"{data['name']}: {data['n_ratings']:,} ratings, {data['n_users']:,} users, "
        f"{data['n_items']:,} items",
        *_split_lines(report["split"]),
        LEGEND,
    ]
    for protocol, result in report["protocols"].items():
        lines += ["", *protocol_lines(protocol, result, report["split"].get("cutoffs"))]
    lines += more
    where = "settings at the last cutoff" if "cutoffs" in report["split"] else "settings"
    lines += ["", *calibration_lines(where, report["calibration"])]
    if report["opponents"]:
        lines += _opponents_lines(where, report["opponents"])
    lines.append(_index_line(report["ann"]))
    lines.append("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    return "\n".join(lines)


def _split_lines(split: dict[str, Any]) -> list[str]:
    if "cutoffs" in split:
        shares = ", ".join(f"{one['share']:.0%}" for one in split["cutoffs"])
        return [
            f"split at {len(split['cutoffs'])} moments, {shares} of the ratings before them; "
            "with a new training for each",
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


def protocol_tables(protocols: dict[str, Any], title: str) -> list[str]:
    """Show one table a protocol, for a study."""
    return [
        line
        for protocol, result in protocols.items()
        for line in ["", f"{title}:", *protocol_lines(protocol, result, None)]
    ]


def protocol_lines(
    protocol: str, result: dict[str, Any], cutoffs: list[dict[str, Any]] | None
) -> list[str]:
    """Show who was asked, and what every model found, at most 115 columns wide."""
    lines = [f"{protocol}: {MEANING[protocol]}"]
    if result["n_users"] == 0:
        return [*lines, "no such users in this data"]
    users = "users" if cutoffs is None else f"distinct users at {len(cutoffs)} cutoffs"
    lines.append(
        f"{result['n_users']:,} {users}, {result['n_targets']:,} items to be found, of which "
        f"{result['n_targets_without_vector']:,} have no vector and count as misses"
    )
    models = result["models"]
    ks, k = list_lengths(models)
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
        cells = [show_number(values[metric]["mean"]) for metric in others]
        difference = show_difference(result["differences"].get(name), k)
        rows.append([*recall_cells(name, values, ks, k), *cells, difference])
    lines += align(rows)
    unserved = [f"{v['n_users_unserved']:,} in {name}" for name, v in models.items()
                if v["n_users_unserved"]]  # fmt: skip
    if unserved:
        lines.append(f"users without a known item count as 0: {', '.join(unserved)}")
    if cutoffs is not None:
        shown = ", ".join(
            f"{one['share']:.0%}: {show_number(one['recall'][protocol]['item2vec'][f'recall{k}'])} "
            f"({one['n_users'][protocol]:,} users)"
            for one in cutoffs
        )
        lines += textwrap.wrap(f"item2vec's recall{k} by cutoff: {shown}", WIDTH)
    return lines


def list_lengths(models: dict[str, Any]) -> tuple[list[str], str]:
    """Return the lengths of the lists ("@10", ...), and the one that has intervals."""
    ks = [name.removeprefix("recall") for name in models["item2vec"] if name.startswith("recall@")]
    return ks, ks[len(ks) // 2]


def recall_cells(name: str, values: dict[str, Any], ks: list[str], k: str) -> list[str]:
    """Show a model's name, its recall for all lengths of lists, and one interval."""
    recalls = (f"{values[f'recall{k}']['mean']:.3f}" for k in ks)
    return [name, *recalls, "{:.3f}-{:.3f}".format(*values[f"recall{k}"]["ci95"])]


def show_number(value: float | None) -> str:
    """Show a mean, or that there is none."""
    return "-" if value is None else f"{value:.3f}"


def calibration_lines(where: str, calibration: dict[str, Any]) -> list[str]:
    """Say what calibration chose, and what it saw."""
    if not calibration.get("chosen"):
        return []
    if "skipped" in calibration:
        source = f"defaults: {calibration['skipped']}"
    else:
        seen = " and ".join(
            f"{recall:.3f} for {calibration['users'][protocol]:,} {protocol} users"
            for protocol, recall in calibration["recall@20"].items()
        )
        source = f"chosen inside the training part, with a recall@20 there of {seen}"
    return _wrapped(f"item2vec's {where} ({source}): {_settings(calibration['chosen'])}")


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


def show_difference(differences: dict[str, Any] | None, k: str) -> str:
    """Show a paired difference in recall with its interval; empty where there is none."""
    if differences is None:
        return ""
    entry = differences[f"recall{k}"]
    return "{:+.3f} ({:+.3f}, {:+.3f})".format(entry["mean"], *entry["ci95"])


def align(rows: list[list[str]]) -> list[str]:
    """Lay cells out in columns, the first to the left, the others to the right."""
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
