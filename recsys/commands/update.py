"""Learn new ratings into the saved model, without training on all of the old ones again.

With --events, the ratings are the events that `recsys serve` has stored; the old model then stays
if the new one's recall on the newest events is lower than chance explains (exit 1).
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.commands import common
from recsys.errors import ModelError, ReplacedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from recsys.recommender import Recommender

logger = logging.getLogger(__name__)

SUMMARY = "learn new ratings, save the model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    source = common.add_data_arguments(parser, required=True)
    source.add_argument("--events", metavar="STORE",
                        help="URL of the store of `recsys serve`")  # fmt: skip
    common.add_model_folder(parser)


def run(args: argparse.Namespace) -> None:
    """Load the model, update it, save it."""
    from recsys.model import storage

    folder = common.model_folder(args)
    if args.events is not None:
        _learn_events(args, folder)
        return
    storage.stamp(folder)  # before the data are read, an error if there is no model
    name, ratings, items = common.load_data(args)
    model = change_saved(folder, lambda model: model.update(ratings, items))
    drift = model.about["drift"]
    if args.json:
        common.print_json({"model": str(folder), "data": name, "drift": drift})
    else:
        common.print_text(_as_text(folder, drift))


def change_saved(folder: Path, change: Callable[[Recommender], Recommender]) -> Recommender:
    """Change a saved model, whatever other processes do to it at the same time.

    If another model has taken its place meanwhile, that one is changed.
    """
    from recsys.model import storage
    from recsys.recommender import Recommender, fitted

    while True:
        before = storage.stamp(folder)
        model = change(Recommender.load(folder))
        try:
            fitted(model).save(folder, replacing=before)
        except ReplacedError as error:
            logger.info("%s: changing that one", error)
        else:
            return model


def _learn_events(args: argparse.Namespace, folder: Path) -> None:
    from recsys.serving.store import Store
    from recsys.serving.update import learn_events

    with Store(args.events, create=False) as store:
        outcome = learn_events(folder, store)
    if outcome.name == "refused":
        raise ModelError(f"'{folder}': recall on the newest events fell: {outcome.detail}")
    drift = outcome.drift or {"n_new_events": 0}
    if args.json:
        judged = {"judged": outcome.judged}
        common.print_json({"model": str(folder), "data": "events", "drift": drift, **judged})
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
