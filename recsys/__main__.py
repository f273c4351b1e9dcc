"""`python -m recsys VERB`, also installed as `recsys VERB`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from recsys import __version__
from recsys.commands import (
    common,
    download,
    evaluate,
    export,
    recommend,
    similar,
    train,
    tune,
    update,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = (evaluate, train, update, tune, recommend, similar, export, download)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status (see `recsys.commands.common.run`)."""
    parser = argparse.ArgumentParser(
        prog="recsys", description="Item2Vec recommendations from a file of ratings or views."
    )
    parser.add_argument("--version", action="version", version=f"recsys {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    shared = common.common_arguments()
    for module in VERBS:
        verb = verbs.add_parser(
            module.__name__.rpartition(".")[2],
            parents=[shared],
            help=module.SUMMARY,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return common.run(parser, argv)


if __name__ == "__main__":
    sys.exit(main())
