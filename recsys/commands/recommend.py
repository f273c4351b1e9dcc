"""Recommend items to a user from the saved model."""

from __future__ import annotations

import argparse

from recsys.commands import common

SUMMARY = "recommend items to a user"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("user", help="a user id")
    common.add_model_folder(parser)
    common.add_list_length(parser)
    parser.add_argument("--where", metavar="EXPRESSION",
                        help="such as \"year >= 1990 and 'Comedy' in genres\"")  # fmt: skip
    parser.add_argument("--popularity", type=float, default=1.0, metavar="FACTOR",
                        help="multiplies popularity; 0 = pure taste (default: 1)")  # fmt: skip
    parser.add_argument("--diversity", type=float, default=0.0, metavar="SHARE",
                        help="0 to 1: prefer items unlike those above them")  # fmt: skip
    parser.add_argument("--reasons", action="store_true", help="say why")
    parser.add_argument("--fallback", choices=["popularity"], help="for users without a vector")


def run(args: argparse.Namespace) -> None:
    """Load the model, recommend, print."""
    from recsys.recommender import Recommender

    model = Recommender.load(common.model_folder(args))
    user_id = common.convert_id(args.user, model.users)
    found = model.recommend(
        user_id, args.k, where=args.where, popularity=args.popularity, diversity=args.diversity,
        reasons=args.reasons, fallback=args.fallback,
    )  # fmt: skip
    common.print_recommendations(args, {"user_id": user_id}, found)
