"""Share what the commands need: arguments, loading data by them, exit codes, JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys import errors
from recsys.data.datasets import data_folder
from recsys.settings import SETTINGS, TEXTBOOK

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from recsys.recommendations import Recommendations

logger = logging.getLogger(__name__)

DEFAULT_DATA = "ml-100k"
COLUMNS = ("user", "item", "rating", "timestamp")
ITEM_COLUMNS = ("title", "genres", "year")
UNKNOWN = (errors.UnknownUserError, errors.UnknownItemError, errors.ColdUserError)


def add_data_arguments(parser: argparse.ArgumentParser, *, required: bool = False) -> Any:
    """Add --data and the options that say how to read it; return what takes its alternatives."""
    group = parser.add_argument_group("data")
    source = group.add_mutually_exclusive_group(required=required)
    default = f" (default: {DEFAULT_DATA}, or the synthetic sample where that cannot be had)"
    about = "a data set's name, a folder, a zip, or a file" + ("" if required else default)
    source.add_argument("--data", metavar="SOURCE", help=about)
    for column in COLUMNS:
        group.add_argument(f"--{column}-col", metavar="NAME",
                           help=f"name of the {column} column in a file")  # fmt: skip
    group.add_argument("--only", type=_column_and_value, action="append", default=[],
                       metavar="COLUMN=VALUE", help="take only rows with this value, such as "
                       "event=purchase; may be given several times")  # fmt: skip
    group.add_argument("--items", metavar="FILE", help="a table of the items, of titles and "
                       "whatever else is known of them (default: the one that comes with the "
                       "ratings, if any)")  # fmt: skip
    group.add_argument("--items-id-col", metavar="NAME",
                       help="name of the item column in --items (default: as "
                       "--item-col)")  # fmt: skip
    for column in ITEM_COLUMNS:
        group.add_argument(f"--{column}-col", metavar="NAME",
                           help=f"name of the {column} column in --items")  # fmt: skip
    group.add_argument("--text-ids", action="store_true", help="take all ids as text")
    group.add_argument("--no-cache", action="store_true",
                       help="read the file itself and keep no copy in the data folder")  # fmt: skip
    group.add_argument("--rating-scale", type=float, nargs=2, metavar=("LOW", "HIGH"),
                       help="refuse ratings outside (default: any number from 0 up)")  # fmt: skip
    return source


def _column_and_value(text: str) -> tuple[str, str]:
    column, sign, value = text.partition("=")
    if not (column and sign):
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=VALUE")
    return column, value


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for every setting of `Recommender`, and --textbook."""
    group = parser.add_argument_group(
        "model",
        "Names as in gensim. Settings marked (chosen) are chosen by calibration unless given.",
    )
    for name, setting in SETTINGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=setting.parse, metavar="X",
                           help=setting.help, default=argparse.SUPPRESS)  # fmt: skip
    group.add_argument("--params", type=Path, metavar="FILE",
                       help="a TOML file of settings, as tune writes it")  # fmt: skip
    group.add_argument("--textbook", action="store_true",
                       help="the tutorials' recipe: skip-gram, gensim's defaults, plain mean, "
                       "cosine")  # fmt: skip


def model_params(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given on the command line."""
    params: dict[str, Any] = dict(TEXTBOOK) if args.textbook else {}
    if args.params is not None:
        params |= _read_params(args.params)
    return params | {name: vars(args)[name] for name in SETTINGS if name in args}


def _read_params(path: Path) -> dict[str, Any]:
    import tomllib

    if path.exists() and not path.is_file():  # a pipe or device may never end
        raise errors.DataError(f"'{path}' is not a regular file")
    try:
        with path.open("rb") as file:
            params = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.DataError(f"'{path}' is not TOML: {error}") from None
    unknown = params.keys() - SETTINGS.keys()
    if unknown:
        message = f"'{path}' holds {sorted(unknown)}, which are not settings of the model"
        raise errors.DataError(message)
    return params


def load_data(args: argparse.Namespace) -> tuple[str, pd.DataFrame, pd.DataFrame | None]:
    """Load what --data and --items name: what to call it, ratings, and items (None if not known).

    Where ratings count as interest whatever they are, a line says so.
    """
    from recsys.data.files import find_file
    from recsys.data.load import load_ratings

    if args.items:
        find_file(args.items, "items")  # if that cannot be, it is said at once
    source, name = args.data or DEFAULT_DATA, args.data or DEFAULT_DATA
    columns = {f"{column}_col": vars(args)[f"{column}_col"] for column in COLUMNS}
    only: dict[str, list[str]] = {}
    for column, value in args.only:
        only.setdefault(column, []).append(value)
    try:
        ratings = load_ratings(source, **columns, text_ids=args.text_ids, only=only,
                               rating_scale=args.rating_scale, cache=not args.no_cache)  # fmt: skip
    except errors.DownloadError as error:
        if args.data:
            raise
        source, name = "sample", "sample (synthetic)"
        logger.warning("%s; using the bundled sample instead, which is synthetic", error)
        ratings = load_ratings(source)
    if "rating" in ratings and "params" in args and model_params(args).get("min_rating") is None:
        low, high = ratings["rating"].min(), ratings["rating"].max()
        if low < high:
            logger.info("ratings are from %g to %g, and each counts as interest, the lowest too; "
                        "--min-rating X counts those from X up", low, high)  # fmt: skip
    return name, ratings, _load_items(args, source, ratings)


def _load_items(
    args: argparse.Namespace, source: str, ratings: pd.DataFrame
) -> pd.DataFrame | None:
    from recsys.data.files import is_table
    from recsys.data.load import load_items

    if not args.items and is_table(source):
        return None
    columns = {f"{column}_col": vars(args)[f"{column}_col"] for column in ITEM_COLUMNS}
    columns["item_col"] = args.items_id_col or (args.item_col if args.items else None)
    text_ids = args.text_ids or ratings["item_id"].dtype.kind not in "iu"
    try:
        items = load_items(args.items or source, **columns, text_ids=text_ids)
    except errors.DataError as error:
        if args.items:
            raise
        logger.warning("no titles: %s", error)
        return None
    rated = ratings["item_id"].unique()
    n_known = int(items["item_id"].isin(rated).sum())
    if args.items and not n_known:
        raise errors.DataError(
            f"'{args.items}' has none of the {len(rated):,} items that are rated: its ids are such "
            f"as '{items['item_id'].iloc[0]}', theirs such as '{rated[0]}'; --items-id-col names "
            "another column"
        )
    logger.info("%s of %s items that are rated are described", f"{n_known:,}", f"{len(rated):,}")
    return items


def add_model_folder(parser: argparse.ArgumentParser) -> None:
    """Add --model."""
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="(default: data/model)")


def model_folder(args: argparse.Namespace) -> Path:
    """Return the folder that --model names, or the usual one."""
    return args.model or data_folder() / "model"


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add --store."""
    parser.add_argument("--store", metavar="URL",
                        help="sqlite:///PATH or postgresql+psycopg://... (default: $RECSYS_STORE, "
                        "else events.db in the data folder)")  # fmt: skip


def store_url(args: argparse.Namespace) -> str:
    """Return the store that --store names, or the usual one."""
    given: str | None = args.store or os.environ.get("RECSYS_STORE")
    if given is None:
        data_folder().mkdir(parents=True, exist_ok=True)
    return given or f"sqlite:///{data_folder().absolute()}/events.db"


def convert_id(text: str, ids: Any) -> Any:
    """Turn an id typed on the command line into the type of the model's ids.

    Examples
    --------
    >>> import numpy as np
    >>> [convert_id(text, np.array([10])) for text in ("10", "1_0", "+10", "010", "-7")]
    [10, '1_0', '+10', '010', -7]
    """
    is_number = re.fullmatch("0|-?[1-9][0-9]*", text) and len(text) <= 20
    return int(text) if is_number and ids.dtype != object else text


def add_split_arguments(group: Any, *, fraction: float | None) -> None:
    """Add --split and --validation-fraction to a group of arguments."""
    group.add_argument("--split", choices=["time", "last-out"], default="time",
                       help="hold out by one cutoff for all users, or each user's last event "
                       "(leaks others' future)")  # fmt: skip
    group.add_argument("--validation-fraction", type=float, default=fraction, metavar="SHARE",
                       help="share of the ratings after the cutoff (default: 0.2)")  # fmt: skip


def add_list_length(parser: argparse.ArgumentParser) -> None:
    """Add -k."""
    parser.add_argument("-k", type=int, default=10, help="how many (default: 10)")


def print_recommendations(
    args: argparse.Namespace, asked: dict[str, object], found: Recommendations
) -> None:
    """Print a list, with --json under what was asked."""
    if args.json:
        print_json({**asked, "recommendations": found.to_dicts()})
    else:
        print(found)


def print_text(text: str) -> None:
    """Print lines on stdout, with what a terminal would obey escaped."""
    print("\n".join(map(errors.escape, text.split("\n"))))


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; NaN is not JSON and raises."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    shown = (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    print(text if text.isascii() else "".join(shown))


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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("recsys").setLevel(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("always", errors.DataWarning)
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        return _run(args)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return errors.escape(super().format(record))


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Show a warning about the data without the line of code that gave it."""
    ours = issubclass(category, errors.DataWarning)
    text = str(message) if ours else warnings.formatwarning(message, category, *place[:2]).strip()
    logger.warning("warning: %s", text)


def _run(args: argparse.Namespace) -> int:
    try:
        args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, *UNKNOWN, ImportError, OSError) as error:
        if args.debug:
            raise
        print(f"recsys: {errors.escape(error)}", file=sys.stderr)
        return 1
    return 0
