"""`recsys train`: fit on all ratings and save the model, so that `recommend(42)` works."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from recsys.commands import common as cli

if TYPE_CHECKING:
    import argparse

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    cli.add_data_arguments(parser)
    cli.add_model_arguments(parser)
    cli.add_model_folder(parser)


def run(args: argparse.Namespace) -> None:
    """Train and save."""
    from recsys.recommender import Recommender

    model = Recommender(**cli.model_params(args))
    name, ratings, items = cli.load_data(args)
    folder = cli.model_folder(args)
    model.fit(ratings, items).save(folder)
    summary = {
        "model": str(folder),
        "data": name,
        "n_users": len(model.users),
        "n_items": len(model.items),
        "params": model.params,
        "seconds": model.seconds,
        "ann": model.ann,
    }
    if args.json:
        cli.print_json(summary)
    else:
        print(
            f"{folder}: Item2Vec of {len(model.items):,} items for {len(model.users):,} users, "
            f"trained on {name} in {model.seconds['train']:.1f} s"
        )
        if model.ann:
            print(
                "index: {overlap:.1%} of the exact top {k} of {n_queries} users found with "
                "{n_trees} trees, search_k {search_k:,} and the {n_longest:,} longest "
                "vectors".format(**model.ann)
            )
