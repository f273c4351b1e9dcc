"""Recommend items to a user from the saved model, or to many users into a file.

recsys recommend 42
recsys recommend --output lists.parquet                    all users
recsys recommend --users ids.txt --output lists.csv        one id a line, or a table with user_id
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys import __version__
from recsys.commands import common
from recsys.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from recsys.recommender import Recommender

SUMMARY = "recommend items to a user, or to many"
COLUMNS = (
    ["user_id", "rank", "item_id", "score"],
    ["user_id", "rank", "item_id", "title", "score"],
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("user", nargs="?", help="a user id")
    parser.add_argument("--users", type=Path, metavar="FILE",
                        help="ids of many, one a line, or a csv or parquet file with a column "
                        "user_id (default with --output: all users)")  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE",
                        help="a csv or parquet file for the lists of many users")  # fmt: skip
    common.add_model_folder(parser)
    common.add_list_length(parser)
    parser.add_argument("--where", metavar="EXPRESSION",
                        help="such as \"year >= 1990 and 'Comedy' in genres\"")  # fmt: skip
    parser.add_argument("--popularity", type=float, default=1.0, metavar="FACTOR",
                        help="multiplies popularity; 0 = pure taste (default: 1)")  # fmt: skip
    parser.add_argument("--diversity", type=float, default=0.0, metavar="SHARE",
                        help="0 to 1: prefer items unlike those above them")  # fmt: skip
    parser.add_argument("--reasons", action="store_true", help="say why (one user)")
    parser.add_argument("--fallback", choices=["popularity"],
                        help="for a user without a vector (one user)")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Load the model, recommend, print or write."""
    from recsys.recommender import Recommender

    dials = {"where": args.where, "popularity": args.popularity, "diversity": args.diversity}
    if args.output is not None or args.users is not None or args.user is None:
        _check_many(args)
        _write(args, Recommender.load(common.model_folder(args)), dials)
        return
    model = Recommender.load(common.model_folder(args))
    user_id = common.convert_id(args.user, model.users)
    found = model.recommend(
        user_id, args.k, reasons=args.reasons, fallback=args.fallback, **dials
    )  # fmt: skip
    common.print_recommendations(args, {"user_id": user_id}, found)


def _check_many(args: argparse.Namespace) -> None:
    """Raise what is wrong with the options for many users, before any work."""
    if args.output is None:
        raise ValueError("name a USER, or an --output for the lists of many")
    if args.user is not None or args.reasons or args.fallback:
        raise ValueError("--output is for many users: without USER, --reasons and --fallback")
    if args.output.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"--output must end in .csv or .parquet, got '{args.output}'")
    if args.output.exists() and not _is_ours(args.output):
        raise DataError(f"refusing to overwrite '{args.output}': not an earlier output")


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix.lower() == ".csv":
        heads = [f"{','.join(columns)}\n".encode() for columns in COLUMNS]
        with path.open("rb") as file:
            return file.read(100).startswith(tuple(heads))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return b"recsys_version" in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def _write(args: argparse.Namespace, model: Recommender, dials: dict[str, Any]) -> None:
    from recsys.data.files import replace_whole

    users = None if args.users is None else _known_users(model, args.users)
    found = model.recommend_many(args.k, users=users, **dials)
    n_users = int(found["user_id"].nunique())
    with replace_whole(args.output) as made:
        if args.output.suffix.lower() == ".csv":
            found.to_csv(made, index=False)
        else:
            _write_parquet(found, made)
    done = {"output": str(args.output), "n_users": n_users, "n_rows": len(found)}
    if args.json:
        common.print_json(done)
    else:
        print(f"{args.output}: {n_users:,} users, {len(found):,} rows")


def _write_parquet(found: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(found, preserve_index=False)
    kept = {**(table.schema.metadata or {}), b"recsys_version": __version__.encode()}
    pq.write_table(table.replace_schema_metadata(kept), path)


def _known_users(model: Recommender, path: Path) -> list[Any]:
    """Read ids, and warn of those that the model does not know."""
    import warnings

    from recsys.data.columns import find
    from recsys.errors import DataWarning
    from recsys.recommender import fitted

    held = model.users
    wanted = [common.convert_id(one, held) if isinstance(one, str) else one for one in _ids(path)]
    column = fitted(model).tables.user_ids
    known = [one for one in dict.fromkeys(wanted) if find(column, one) is not None]
    unknown = [one for one in dict.fromkeys(wanted) if find(column, one) is None]
    if not known:
        raise DataError(f"the model knows none of the {len(wanted):,} users of '{path}'")
    if unknown:
        first = ", ".join(f"{one!r:.60}" for one in unknown[:3])
        text = f"left out {len(unknown):,} users that the model does not know, such as {first}"
        warnings.warn(text, DataWarning, stacklevel=2)
    return known


def _ids(path: Path) -> list[Any]:
    """Return the ids of a file: the column user_id of a table, or one id a line."""
    import pandas as pd

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path, columns=["user_id"])["user_id"].tolist()
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        if lines and "user_id" in lines[0].split(","):
            table = pd.read_csv(path, usecols=["user_id"], dtype=str, keep_default_na=False,
                                encoding="utf-8-sig")  # fmt: skip
            return table["user_id"].tolist()
    except (ValueError, KeyError) as error:
        problem = " ".join(str(error).split())
        raise DataError(f"'{path}' holds no user_id that can be read: {problem:.200}") from None
    return [line.strip() for line in lines if line.strip()]
