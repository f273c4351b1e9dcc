"""Show what a user watched, as the saved model knows it, the latest first."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.commands import common
from recsys.data.columns import find, take
from recsys.errors import escape

if TYPE_CHECKING:
    from recsys.model.tables import Tables

SUMMARY = "show what a user watched"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("user", help="a user id")
    common.add_model_folder(parser)
    common.add_list_length(parser)


def run(args: argparse.Namespace) -> None:
    """Load the model, look, print."""
    from recsys.model.ask import check_count
    from recsys.recommender import Recommender, fitted

    k, model = check_count(args.k), Recommender.load(common.model_folder(args))
    user_id, tables = common.convert_id(args.user, model.users), fitted(model).tables
    n_events, rows = _history(tables, tables.user_row(user_id), k)
    if args.json:
        common.print_json({"user_id": user_id, "n_events": n_events, "history": rows})
        return
    print(f"user {user_id}: {n_events:,} events, the latest first")
    for row in rows:
        print("  ".join(escape(value) for value in row.values() if value is not None))


def _history(tables: Tables, user_row: int, k: int) -> tuple[int, list[dict[str, Any]]]:
    """Return the number of a user's events, and the k latest of them."""
    sequences = tables.events.sequences
    start, end = (int(place) for place in sequences.offsets[user_row : user_row + 2])
    latest = np.arange(end - 1, max(start, end - k) - 1, -1)
    ids = take(sequences.item_ids, sequences.codes[latest]).tolist()
    item_rows = [find(tables.item_ids, item_id) for item_id in ids]
    shown = []
    for place, item_id, row in zip(latest.tolist(), ids, item_rows, strict=True):
        time = None
        if tables.events.times is not None:
            time = f"{np.datetime64(int(tables.events.times[place]), 's')}+00:00"
        title = None if tables.titles is None or row is None else tables.titles[row] or None
        shown.append({"timestamp": time, "item_id": item_id, "title": title})
    return end - start, shown
