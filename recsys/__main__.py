"""`python -m recsys VERB`, also installed as `recsys VERB`; each file in `commands` is a verb."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from recsys import __version__, commands
from recsys.commands import common

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = [module.name for module in pkgutil.iter_modules(commands.__path__)]
VERBS.remove("common")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status (see `recsys.commands.common.run`)."""
    parser = argparse.ArgumentParser(
        prog="recsys", description="Item2Vec recommendations from a file of ratings or views."
    )
    parser.add_argument("--version", action="version", version=f"recsys {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    shared = common.common_arguments()
    for name in VERBS:
        module = import_module(f"recsys.commands.{name}")
        verb = verbs.add_parser(
            name,
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
