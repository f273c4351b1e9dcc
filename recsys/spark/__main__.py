"""`python -m recsys.spark fit|recommend|evaluate`; local by default, or given to `spark-submit`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.commands import common
from recsys.data.frames.names import ITEM, RATING, TIMESTAMP, USER
from recsys.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyspark.sql import SparkSession

    from recsys.spark.prepare import Checked


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status (see `recsys.commands.common.run`)."""
    parser = argparse.ArgumentParser(prog="python -m recsys.spark", description=__doc__)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for run, about in (
        (_fit, "fit a model on all events and save it"),
        (_recommend, "recommend to the users of a model, or of events, and write Parquet"),
        (_evaluate, "measure recall@K on a split by time"),
    ):
        name = run.__name__[1:]
        verb = verbs.add_parser(name, parents=[common.common_arguments()], help=about)
        verb.add_argument("--data", metavar="URL", required=name != "recommend",
                          help="text with a header, or Parquet")  # fmt: skip
        verb.add_argument("--model", type=Path, metavar="FOLDER", required=True)
        for column in common.COLUMNS:
            verb.add_argument(f"--{column}-col", metavar="NAME", help=f"the {column} column")
        verb.add_argument("--text-ids", action="store_true", help="take all ids as text")
        verb.add_argument("--drop-bad", action="store_true",
                          help="leave out rows that are refused")  # fmt: skip
        if name == "recommend":
            common.add_list_length(verb)
            verb.add_argument("--where", help="only these items: 'year >= 1990'")
            verb.add_argument("--out", metavar="URL", required=True, help="new folder of Parquet")
        else:
            common.add_model_arguments(verb)
            verb.add_argument("--items", metavar="SOURCE", help="a table of items, for titles")
            verb.add_argument("--train", choices=["gensim", "mllib"], default="gensim")
            verb.add_argument("--work", metavar="URL", help="folder for intermediate files")
        if name == "fit":
            verb.add_argument("--users", metavar="folder|parquet|URL", default="folder",
                              help="keep histories in the model, beside it, or there")  # fmt: skip
            verb.add_argument("--max-events", type=int, default=100_000_000, metavar="N",
                              help="train on about this many, unless --users folder")  # fmt: skip
        verb.set_defaults(run=_in_session(run))
    return common.run(parser, argv)


def _in_session(run: Any) -> Any:
    """Open a session of Spark around a command; its errors become one line."""

    def wrapped(args: argparse.Namespace) -> None:
        try:
            from pyspark.errors import PySparkException
            from pyspark.sql import SparkSession
        except ImportError as error:
            raise ImportError(f'{error}: pip install "recsys[spark]"') from None
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # not the first on the path
        try:
            builder = SparkSession.builder.appName("recsys")
            run(args, builder.config("spark.sql.session.timeZone", "UTC").getOrCreate())
        except PySparkException as error:
            raise DataError(str(error).partition("\n")[0]) from error

    return wrapped


def _checked(args: argparse.Namespace, session: SparkSession) -> Checked:
    from recsys.spark.prepare import check, read

    given = (USER, ITEM, RATING, TIMESTAMP)
    columns = {name: vars(args)[f"{short}_col"]
               for name, short in zip(given, common.COLUMNS, strict=True)}  # fmt: skip
    return check(read(args.data, session), columns=columns, text_ids=args.text_ids,
                 drop_bad=args.drop_bad)  # fmt: skip


def _training(args: argparse.Namespace) -> dict[str, Any]:
    from recsys.data.load import load_items

    items = None if args.items is None else load_items(args.items, text_ids=args.text_ids)
    params = common.model_params(args)
    return {"items": items, "params": params, "train": args.train, "work": args.work}


def _fit(args: argparse.Namespace, session: SparkSession) -> None:
    from recsys.spark.training import fit

    more = {"users": args.users, "max_events": args.max_events}
    report = fit(_checked(args, session), args.model, **_training(args), **more)
    if args.json:
        common.print_json(report)
    else:
        print("{model}: Item2Vec of {n_items:,} items for {n_users:,} users, trained on "
              "{n_trained_on:,} of {n_events:,} events".format(**report))  # fmt: skip


def _recommend(args: argparse.Namespace, session: SparkSession) -> None:
    from recsys.spark.batch import recommend_many

    events = None if args.data is None else _checked(args, session)
    recommend_many(args.model, args.k, events=events, where=args.where).write.parquet(args.out)
    lists = session.read.parquet(args.out).where("rank = 1").count()
    if args.json:
        common.print_json({"out": args.out, "n_users": lists})
    else:
        print(f"{args.out}: lists for {lists:,} users")


def _evaluate(args: argparse.Namespace, session: SparkSession) -> None:
    from recsys.spark.measure import evaluate

    report = evaluate(_checked(args, session), args.model, **_training(args))
    if args.json:
        common.print_json(report)
        return
    for name, protocol in report["protocols"].items():
        print(f"{name}: {protocol['n_users']:,} users, {protocol['n_targets']:,} items to be found")
        for metric, found in protocol["models"]["item2vec"].items():
            if isinstance(found, dict) and found["ci95"]:
                low, high = found["ci95"]
                print(f"  {metric:12} {found['mean']:.4f}  {low:.4f} to {high:.4f}")


if __name__ == "__main__":
    sys.exit(main())
