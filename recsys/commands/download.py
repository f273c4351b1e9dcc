"""Fetch a MovieLens data set into the data folder, checked."""

from __future__ import annotations

import argparse

from recsys.commands import common
from recsys.data.datasets import DATASETS, fetch

SUMMARY = "fetch a MovieLens data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("name", metavar="NAME", help=", ".join(DATASETS))
    parser.add_argument("--from-file", metavar="PATH", help="use a zip that you already have")


def run(args: argparse.Namespace) -> None:
    """Fetch, and print where it is."""
    path = fetch(args.name, from_file=args.from_file)
    if args.json:
        common.print_json({"name": args.name, "path": str(path)})
    else:
        common.print_text(str(path))
