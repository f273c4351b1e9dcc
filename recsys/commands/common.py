"""Share what all commands need: arguments, loading data by them, exit codes, JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.data.datasets import data_folder
from recsys.errors import (
    ColdUserError,
    DataError,
    DownloadError,
    UnknownItemError,
    UnknownUserError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

logger = logging.getLogger(__name__)

DEFAULT_DATA = "ml-100k"


def number_or_none(text: str) -> float | None:
    """Read a number, or the word none."""
    return None if text.lower() == "none" else float(text)


# Keywords of Recommender as options: name, type, help. The defaults stay where they are, there.
MODEL_OPTIONS: list[tuple[str, Callable[[str], Any], str]] = [
    ("sg", int, "1 = skip-gram, 0 = CBOW"),
    ("hs", int, "1 = hierarchical softmax instead of negative sampling"),
    ("negative", int, "noise items per training pair"),
    ("vector_size", int, "dimension of the vectors"),
    ("window", int, "neighbours on each side that count as context"),
    ("epochs", int, "passes over the sequences (chosen)"),
    ("alpha", float, "learning rate at the start"),
    ("sample", float, "skip items with a larger share of the events at random"),
    ("ns_exponent", float, "noise items are drawn by count ** this"),
    ("min_count", int, "items with fewer events get no vector"),
    ("shrink_windows", int, "1 = draw each window from 1..window"),
    ("seed", int, "seed of the training"),
    ("workers", int, "training threads; above 1 results vary"),
    ("sequences", str, "histories, or walks: random walks over which items are neighbours there"),
    ("p", float, "walks: the larger, the less they turn back"),
    ("q", float, "walks: the larger, the more they stay near"),
    ("calibrate", int, "0 = choose nothing: at most 20 epochs, the plain mean, no popularity"),
    ("scoring", str, "input-output or cosine"),
    ("ridge", float, "weight of the ridge regression beside the output vectors"),
    ("discount", float, "a watched item weighs count ** -this in the average"),
    ("half_life", number_or_none, "items after which a watched item's weight halves (chosen)"),
    ("popularity_weight", float, "how much popularity counts for users here now (chosen)"),
    ("stale_popularity_weight", float, "and for users not seen for long (chosen)"),
    ("popularity_days", number_or_none, "popularity of so many last days (chosen)"),
    ("min_rating", number_or_none, "ratings below are no interactions, or none"),
    ("index", str, "annoy or exact"),
]


def add_data_arguments(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add --data and the options that say how to read it."""
    group = parser.add_argument_group("data")
    default = f" (default: {DEFAULT_DATA}, or the synthetic sample where that cannot be had)"
    group.add_argument(
        "--data",
        metavar="SOURCE",
        required=required,
        help="a data set's name, a folder, a zip, or a file" + ("" if required else default),
    )
    for column in ("user", "item", "rating", "timestamp"):
        group.add_argument(
            f"--{column}-col", metavar="NAME", help=f"name of the {column} column in a file"
        )
    group.add_argument("--text-ids", action="store_true", help="take all ids as text")
    group.add_argument("--no-cache", action="store_true",
                       help="read the file itself and keep no copy in the data folder")  # fmt: skip
    group.add_argument("--rating-scale", type=float, nargs=2, metavar=("LOW", "HIGH"),
                       help="refuse ratings outside (default: any number from 0 up)")  # fmt: skip


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for every keyword of `Recommender`, and --textbook."""
    group = parser.add_argument_group(
        "model",
        "Names as in gensim. What is marked (chosen) is chosen by calibration unless given.",
    )
    for name, kind, text in MODEL_OPTIONS:
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=text,
                           default=argparse.SUPPRESS)  # fmt: skip
    group.add_argument(
        "--params", type=Path, metavar="FILE", help="a TOML file of settings, as tune writes it"
    )
    group.add_argument(
        "--textbook",
        action="store_true",
        help="the tutorials' recipe: skip-gram, gensim's defaults, plain mean, cosine",
    )


def model_params(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of `Recommender` that were given on the command line."""
    from recsys.settings import TEXTBOOK

    params: dict[str, Any] = dict(TEXTBOOK) if args.textbook else {}
    if args.params is not None:
        params |= _read_params(args.params)
    return params | {name: vars(args)[name] for name, *_ in MODEL_OPTIONS if name in args}


def _read_params(path: Path) -> dict[str, Any]:
    """Read keywords of `Recommender` from a TOML file."""
    import tomllib

    try:
        with path.open("rb") as file:
            params = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' is not TOML: {error}") from None
    unknown = params.keys() - {name for name, *_ in MODEL_OPTIONS}
    if unknown:
        raise DataError(f"'{path}' holds {sorted(unknown)}, which are no settings of the model")
    return params


def load_data(args: argparse.Namespace) -> tuple[str, pd.DataFrame, pd.DataFrame | None]:
    """Load what --data names.

    Returns
    -------
    name : str
        What to call the data in the output.
    ratings : DataFrame
    items : DataFrame or None
        None where the source has no table of items.
    """
    from recsys.data.load import load_items, load_ratings

    source, name = args.data or DEFAULT_DATA, args.data or DEFAULT_DATA
    columns = {f"{c}_col": vars(args)[f"{c}_col"] for c in ("user", "item", "rating", "timestamp")}
    try:
        ratings = load_ratings(
            source,
            **columns,
            text_ids=args.text_ids,
            rating_scale=args.rating_scale,
            cache=not args.no_cache,
        )
    except DownloadError as error:
        if args.data:
            raise
        source, name = "sample", "sample (synthetic)"
        logger.warning("%s\nUsing the bundled sample instead, which is synthetic.", error)
        ratings = load_ratings(source)
    try:
        return name, ratings, load_items(source, text_ids=args.text_ids)
    except DataError as error:
        logger.info("no titles: %s", error)
        return name, ratings, None


def add_model_folder(parser: argparse.ArgumentParser) -> None:
    """Add --model."""
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="(default: data/model)")


def model_folder(args: argparse.Namespace) -> Path:
    """Return the folder that --model names, or the usual one."""
    return args.model or data_folder() / "model"


def convert_id(text: str, ids: Any) -> Any:
    """Turn an id typed on the command line into the type of the model's ids."""
    if ids.dtype == object:
        return text
    try:
        return int(text)
    except ValueError:
        return text


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; NaN would be no JSON and is an error."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def common_arguments() -> argparse.ArgumentParser:
    """Make the parent parser of what every command takes."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def run(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Parse, do what the parsed `args.run` does, and return the exit status.

    0 = done, 1 = an expected failure (one line on stderr), 2 = usage, 130 = Ctrl-C.
    """
    args = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("recsys").setLevel(logging.INFO)
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (
        ValueError,
        UnknownUserError,
        UnknownItemError,
        ColdUserError,
        ImportError,
        OSError,
    ) as error:
        if args.debug:
            raise
        print(f"recsys: {error}", file=sys.stderr)
        return 1
    return 0
