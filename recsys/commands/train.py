"""Fit on all ratings and save the model, so that `recommend(42)` works."""

from __future__ import annotations

import argparse

from recsys.commands import common
from recsys.progress import part, whole

SUMMARY = "train on all ratings and save the model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    common.add_data_arguments(parser)
    common.add_model_arguments(parser)
    common.add_model_folder(parser)


def run(args: argparse.Namespace) -> None:
    """Train and save."""
    from recsys.model.storage import refuse_foreign
    from recsys.recommender import Recommender

    model, folder = Recommender(**common.model_params(args)), common.model_folder(args)
    refuse_foreign(folder)
    with whole("train"):
        with part(0.1):
            name, ratings, items = common.load_data(args)
        model.fit(ratings, items).save(folder)
    about, n_users, n_items = model.about, len(model.users), len(model.items)
    if args.json:
        common.print_json({
            "model": str(folder), "data": name, "n_users": n_users, "n_items": n_items,
            "params": model.params, "seconds": about["seconds"], "ann": about["ann"],
        })  # fmt: skip
        return
    common.print_text(
        f"{folder}: Item2Vec of {n_items:,} items for {n_users:,} users, "
        f"trained on {name} in {about['seconds']['train']:.1f} s"
    )
    if about["ann"]:
        common.print_text(
            "index: {overlap:.1%} of the exact top {k} of {n_queries} users found with "
            "{n_trees} trees, search_k {search_k:,} and the {n_longest:,} longest "
            "vectors".format(**about["ann"])
        )
