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

# Each file in the folder, and in those below it, is a verb: `add_items.py` is `add-items`.
_FILES = pkgutil.walk_packages(commands.__path__, f"{commands.__name__}.")
_HOMES = {
    module.name.rpartition(".")[2].replace("_", "-"): module.name
    for module in _FILES if not module.ispkg and module.name != common.__name__
}  # fmt: skip
VERBS = sorted(_HOMES)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status (see `recsys.commands.common.run`)."""
    parser = argparse.ArgumentParser(
        prog="recsys", description="Item2Vec recommendations from a file of ratings or views."
    )
    parser.add_argument("--version", action="version", version=f"recsys {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    shared = common.common_arguments()
    for name in VERBS:
        module = import_module(_HOMES[name])
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
