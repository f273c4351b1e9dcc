"""Measure recall@K honestly: a split by time, baselines beside the model, intervals over users.

Prints a table; with --json, one JSON object.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from recsys.commands import common
from recsys.progress import part, whole
from recsys.studies import find_studies, study_names

SUMMARY = "measure recall@K on a split by time, beside baselines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    common.add_data_arguments(parser)
    group = parser.add_argument_group("evaluation")
    common.add_split_arguments(group, fraction=None)
    group.add_argument("--cutoffs", type=float, nargs="+", metavar="SHARE",
                       help="several shares to train on, such as 0.7 0.8 0.9: the split by time "
                       "is repeated for each and the means are averaged")  # fmt: skip
    group.add_argument("--peers", action="store_true",
                       help='compare with the package "implicit" too (the extra "peers"), and '
                       "run every opponent with popularity too")  # fmt: skip
    group.add_argument("--study", nargs="+", default=[], metavar="NAME", choices=study_names(),
                       help=f"answer a further question: {', '.join(study_names())} "
                       "(recsys/studies/README.md)")  # fmt: skip
    group.add_argument("-k", "--ks", type=int, nargs="+", default=[10, 20, 50], metavar="K",
                       help="lengths of the lists (default: 10 20 50)")  # fmt: skip
    common.add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Load, evaluate, print."""
    from recsys.evaluate import check_options, evaluate
    from recsys.evaluation.report import as_text

    options: dict[str, Any] = {
        "params": common.model_params(args), "split": args.split, "cutoffs": args.cutoffs,
        "validation_fraction": args.validation_fraction, "studies": args.study, "ks": args.ks,
        "against": ("baselines", "peers") if args.peers else ("baselines",),
    }  # fmt: skip
    check_options(**options)  # before the data are read
    started = time.perf_counter()
    with whole("evaluate"):
        with part(0.05):
            name, ratings, items = common.load_data(args)
        loaded = time.perf_counter() - started
        report = evaluate(ratings, items, name=name, **options)
    report["seconds"] = {"load": loaded, **report["seconds"]}
    if args.json:
        common.print_json(report)
    else:
        lines = [line for study in find_studies(args.study) for line in study.as_text(report)]
        common.print_text(as_text(report, lines))
