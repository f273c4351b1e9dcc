"""Compare the models of an experiment by what users did with the lists that they were shown.

A list is hit if the user does anything with one of its top k items within the window. `recsys
serve` assigns users and logs lists; events come back by POST /v1/events.
"""

from __future__ import annotations

import argparse

from recsys.commands import common
from recsys.commands.service.serve import duration

SUMMARY = "compare models that are served, by what users did"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("store", metavar="STORE", help="sqlite:///PATH or postgresql+psycopg://...")
    parser.add_argument("--experiment", default="ab", metavar="NAME", help="(default: ab)")
    common.add_list_length(parser)
    parser.add_argument("--window", type=duration, default=duration("1d"), metavar="TIME",
                        help="how long a list may be hit, such as 1h (default: 1d)")  # fmt: skip
    parser.add_argument("--difference", type=float, metavar="D",
                        help="say how many users show a difference of hit rates as small as this "
                        "(default: a tenth of the first model's)")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Compare, print."""
    from recsys.serving.ab import as_text, compare
    from recsys.serving.store import Store

    with Store(args.store, create=False) as store:
        found = compare(
            store, args.experiment, k=args.k, window=args.window, difference=args.difference
        )
    if args.json:
        common.print_json(found)
    else:
        print("\n".join(as_text(found)))
