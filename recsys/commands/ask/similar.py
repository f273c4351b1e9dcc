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


def run(args: argparse.Namespace) -> None:
    """Load the model, look, print."""
    from recsys.recommender import Recommender

    model = Recommender.load(common.model_folder(args))
    item_id = common.convert_id(args.item, model.items)
    common.print_recommendations(args, {"item": item_id}, model.similar_items(item_id, args.k))
