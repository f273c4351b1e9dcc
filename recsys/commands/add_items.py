"""Add items that nobody has watched to the saved model, with vectors from their metadata."""

from __future__ import annotations

import argparse

from recsys.commands import common

SUMMARY = "add new items to the saved model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("source", metavar="SOURCE",
                        help="a table of new items: item_id, title, genres, ...")  # fmt: skip
    parser.add_argument("--text-ids", action="store_true", help="take all ids as text")
    common.add_model_folder(parser)


def run(args: argparse.Namespace) -> None:
    """Load the items, add them to the model, save it."""
    from recsys.commands.update import change_saved
    from recsys.data.load import load_items
    from recsys.model.storage import stamp

    folder = common.model_folder(args)
    stamp(folder)  # before the items are read, an error if there is no model
    items = load_items(args.source, text_ids=args.text_ids)
    model = change_saved(folder, lambda model: model.add_items(items))
    if args.json:
        common.print_json(
            {"model": str(folder), "n_added": len(items), "n_items": len(model.items)}
        )
    else:
        print(f"{folder}: {len(items):,} items added, {len(model.items):,} in all")
