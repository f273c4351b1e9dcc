"""Search the parameters of Word2Vec for a data set, within a time budget.

What `evaluate` holds out is never looked at, so that what is found can be measured on it.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from recsys.commands import common
from recsys.data.files import replace_whole
from recsys.errors import DataError
from recsys.progress import part, whole

BEGINNING = b"# recsys tune,"  # of a file that may be replaced
SUMMARY = "search the parameters of Word2Vec for a data set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    common.add_data_arguments(parser)
    group = parser.add_argument_group("search")
    group.add_argument("--minutes", type=float, default=10.0, metavar="M",
                       help="no trial begins later (default: 10)")  # fmt: skip
    group.add_argument("--output", type=Path, default=Path("params.toml"), metavar="FILE",
                       help="what --params takes (default: params.toml)")  # fmt: skip
    common.add_split_arguments(group, fraction=0.2)
    group.add_argument("--seed", type=int, default=0, metavar="X", help="seed of the search")


def run(args: argparse.Namespace) -> None:
    """Search, write every better result at once, print the best."""
    from recsys.evaluation.tune import check_options, tune

    _refuse_foreign(args.output)
    check_options(args.minutes, args.split, args.validation_fraction)
    with whole("tune"):
        with part(0.05):
            name, ratings, _ = common.load_data(args)
        found = tune(
            ratings, minutes=args.minutes, split=args.split, seed=args.seed,
            validation_fraction=args.validation_fraction,
            on_better=lambda better: _write_toml(args.output, better, name),
        )  # fmt: skip
    _write_toml(args.output, found, name)
    if args.json:
        common.print_json({**found, "output": str(args.output)})
    else:
        common.print_text(
            f"{args.output}: recall@20 {found['recall@20']:.4f} on nested splits, "
            f"defaults {found['default_recall@20']:.4f}, after {found['n_trials']} trials"
        )
    if found["interrupted"]:
        raise KeyboardInterrupt


def _refuse_foreign(path: Path) -> None:
    """Raise DataError unless a file can be written there without replacing somebody else's."""
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"'{folder}' is not a folder to write to")
    if os.path.lexists(path) and not (path.is_file() and path.read_bytes().startswith(BEGINNING)):
        raise DataError(f"refusing to overwrite '{path}': it was not written by recsys tune")


def _write_toml(path: Path, found: dict[str, Any], name: str) -> None:
    """Write the parameters as TOML, whole or not at all."""
    lines = [
        f"{BEGINNING.decode()} {found['n_trials']} trials on the training part of {name}:",
        f"# recall@20 {found['recall@20']:.4f} on its nested splits; "
        f"the defaults have {found['default_recall@20']:.4f}.",
        *(f"{key} = {json.dumps(value)}" for key, value in found["params"].items()),
    ]
    with replace_whole(path) as made:
        made.write_text("\n".join(lines) + "\n", encoding="utf-8")
