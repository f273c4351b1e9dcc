"""`python -m recsys VERB`, also installed as `recsys VERB`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from recsys import __version__, evaluate
from recsys.commands import common as cli
from recsys.commands import export, train
from recsys.data.datasets import DATASETS, fetch
from recsys.evaluation import tune

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from recsys.recommendations import Recommendations


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status (see `recsys.commands.common.run`)."""
    parser = argparse.ArgumentParser(
        prog="recsys", description="Item2Vec recommendations from a file of ratings or views."
    )
    parser.add_argument("--version", action="version", version=f"recsys {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    common = cli.common_arguments()
    for name, module, text in (
        ("evaluate", evaluate, "measure recall@K on a split by time, beside baselines"),
        ("train", train, "train on all ratings and save the model"),
        ("tune", tune, "search the parameters of Word2Vec for a data set"),
        ("export", export, "write the vectors of the saved model for other programs"),
    ):
        verb = verbs.add_parser(
            name,
            parents=[common],
            help=text,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)

    verb = verbs.add_parser("update", parents=[common], help="learn new ratings, save the model")
    cli.add_data_arguments(verb, required=True)
    cli.add_model_folder(verb)
    verb.set_defaults(run=_update)

    verb = verbs.add_parser("recommend", parents=[common], help="recommend items to a user")
    verb.add_argument("user", help="a user id")
    cli.add_model_folder(verb)
    verb.add_argument("-k", type=int, default=10, help="how many (default: 10)")
    verb.add_argument("--where", metavar="EXPRESSION",
                      help="such as \"year >= 1990 and 'Comedy' in genres\"")  # fmt: skip
    verb.add_argument("--popularity", type=float, default=1.0, metavar="FACTOR",
                      help="times what popularity counts; 0 = pure taste (default: 1)")  # fmt: skip
    verb.add_argument("--diversity", type=float, default=0.0, metavar="SHARE",
                      help="0 to 1: prefer what differs from what is above it")  # fmt: skip
    verb.add_argument("--reasons", action="store_true", help="say why")
    verb.add_argument("--fallback", choices=["popularity"], help="for users without a vector")
    verb.set_defaults(run=_recommend)

    verb = verbs.add_parser("similar", parents=[common], help="find items like an item")
    verb.add_argument("item", help="an item id or an exact title")
    cli.add_model_folder(verb)
    verb.add_argument("-k", type=int, default=10, help="how many (default: 10)")
    verb.set_defaults(run=_similar)

    verb = verbs.add_parser("download", parents=[common], help="fetch a MovieLens data set")
    verb.add_argument("name", metavar="NAME", help=", ".join(DATASETS))
    verb.add_argument("--from-file", metavar="PATH", help="take a zip that you have already")
    verb.set_defaults(run=_download)
    return cli.run(parser, argv)


def _update(args: argparse.Namespace) -> None:
    from recsys.errors import ModelError
    from recsys.model import storage
    from recsys.recommender import Recommender

    folder = cli.model_folder(args)
    before = storage.stamp(folder)
    model = Recommender.load(folder)
    name, ratings, items = cli.load_data(args)
    drift = model.update(ratings, items).drift
    if storage.stamp(folder) != before:
        raise ModelError(f"the model in '{folder}' has been replaced meanwhile: update that one")
    model.save(folder)
    if args.json:
        cli.print_json({"model": str(folder), "data": name, "drift": drift})
    else:
        print(_updated(folder, drift))


def _updated(folder: Path, drift: dict[str, Any]) -> str:
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


def _recommend(args: argparse.Namespace) -> None:
    from recsys.recommender import Recommender

    model = Recommender.load(cli.model_folder(args))
    user_id = cli.convert_id(args.user, model.users)
    found = model.recommend(
        user_id, args.k, where=args.where, popularity=args.popularity, diversity=args.diversity,
        reasons=args.reasons, fallback=args.fallback,
    )  # fmt: skip
    _show(args, {"user_id": user_id}, found)


def _similar(args: argparse.Namespace) -> None:
    from recsys.recommender import Recommender

    model = Recommender.load(cli.model_folder(args))
    item_id = cli.convert_id(args.item, model.items)
    _show(args, {"item": item_id}, model.similar_items(item_id, args.k))


def _show(args: argparse.Namespace, asked: dict[str, object], answer: Recommendations) -> None:
    if args.json:
        cli.print_json({**asked, "recommendations": [row._asdict() for row in answer]})
    else:
        print(answer)


def _download(args: argparse.Namespace) -> None:
    path = fetch(args.name, from_file=args.from_file)
    if args.json:
        cli.print_json({"name": args.name, "path": str(path)})
    else:
        print(path)


if __name__ == "__main__":
    sys.exit(main())
