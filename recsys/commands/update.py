"""Learn new ratings into the saved model, without training on all of the old ones again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from recsys.commands import common
from recsys.errors import ModelError

SUMMARY = "learn new ratings, save the model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    common.add_data_arguments(parser, required=True)
    common.add_model_folder(parser)


def run(args: argparse.Namespace) -> None:
    """Load the model, update it, save it."""
    from recsys.model import storage
    from recsys.recommender import Recommender

    folder = common.model_folder(args)
    before = storage.stamp(folder)
    model = Recommender.load(folder)
    name, ratings, items = common.load_data(args)
    drift = model.update(ratings, items).about["drift"]
    if storage.stamp(folder) != before:
        raise ModelError(f"the model in '{folder}' has been replaced meanwhile: update that one")
    model.save(folder)
    if args.json:
        common.print_json({"model": str(folder), "data": name, "drift": drift})
    else:
        common.print_text(_as_text(folder, drift))


def _as_text(folder: Path, drift: dict[str, Any]) -> str:
    if not drift["n_new_events"]:
        return f"{folder}: every event is known already, nothing has changed"
    text = (
        f"{folder}: {drift['n_new_events']:,} new events, {drift['n_new_users']:,} new users, "
        f"{drift['n_new_items']:,} new items, learned in {drift['seconds']:.1f} s"
    )
    if drift["similar"] is None:
        return text
    return (
        f"{text}\nstill among an item's 10 nearest: {drift['similar']:.1%} by cosine, "
        f"{drift['answers']:.1%} of those that answer it best"
    )
