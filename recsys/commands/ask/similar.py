"""Find items like an item, by id or exact title."""

from __future__ import annotations

import argparse

from recsys.commands import common

SUMMARY = "find items like an item"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("item", help="an item id or an exact title")
    common.add_model_folder(parser)
    common.add_list_length(parser)
    parser.add_argument("--min-events", type=int, metavar="N", help="only items with so many "
                        "events (default: 5, if k items have as many)")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Load the model, look, print."""
    from recsys.recommender import Recommender

    model = Recommender.load(common.model_folder(args))
    item_id = common.convert_id(args.item, model.items)
    found = model.similar_items(item_id, args.k, min_events=args.min_events)
    common.print_recommendations(args, {"item": item_id}, found)
