"""Measure what training buys: recall against seconds, beside implicit's ALS and BPR, and EASE.

    python -m tests.benchmarks.training_cost --ratings 1000000
    python -m tests.benchmarks.training_cost --nested --model epochs=5 epochs=5,negative=10 --peers

On generated ratings, or on `--data SOURCE`, the later 20% to be found (`calibration_split`: the
protocols of `recsys.evaluate`, at most 2,000 users each). All rows of item2vec have the same
read-out and differ in training alone; every row is compared with the first, user by user. Seconds
are processor time. The others get a half-life and popularity, chosen for each row inside the
training part (`recsys.evaluation.opponents`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys import Recommender, load_ratings
from recsys.data.events import Events
from recsys.data.frames.ratings import check_ratings
from recsys.data.splits import Split, calibration_split
from recsys.evaluation.baselines import Opponent, ease
from recsys.evaluation.measure import (
    Contender,
    contender_of_baseline,
    contender_of_model,
    recall_of,
)
from recsys.evaluation.metrics import means_with_ci95
from recsys.evaluation.opponents import Slice, choose, count_recent
from recsys.evaluation.peers import als, bpr
from tests.benchmarks.generator import generate

K = 20
# Chosen on the nested split of 1,000,000 generated ratings, after 5 epochs.
READOUT = {"half_life": 16.0, "popularity_days": 7.0, "popularity_weight": 1.0,
           "stale_popularity_weight": 1.0}  # fmt: skip
MODELS = (
    "", "epochs=1", "epochs=2", "epochs=5", "epochs=10", "negative=10", "alpha=0.1", "window=5",
    "vector_size=64", "vector_size=128", "epochs=20,negative=20,alpha=0.05",
)  # fmt: skip
OTHERS = {"als": als, "bpr": bpr, "ease": ease}
PEERS = ("als,factors=64,iterations=5", "als,factors=64", "als,factors=128", "bpr,factors=64",
         "ease")  # fmt: skip


def main() -> int:
    """Train every configuration once and print what it reaches."""
    arguments = _arguments()
    options = {"n_items": arguments.items, "seed": arguments.seed}
    ratings = (load_ratings(arguments.data) if arguments.data
               else generate(arguments.ratings, **options)[0])  # fmt: skip
    events = Events.of(check_ratings(ratings))
    if arguments.nested:
        events = calibration_split(events).train.compact()
    split = calibration_split(events)
    cases = split.protocols
    about = {
        "n_ratings": len(events),
        "n_train": len(split.train),
        "n_items": len(split.train.compact().sequences.item_ids),
        "workers": arguments.workers,
        "users": {protocol: len(case) for protocol, case in cases.items()},
    }
    if not arguments.json:
        print(json.dumps(about))
        titles = [f"{name:>7} minus the first  " for name in cases]
        print(f"{'':40} seconds training  {'  '.join(titles)}", flush=True)
    rows, first = [], None
    with threadpool_limits(limits=1, user_api="blas"):
        for row, contender in contenders(split, arguments):
            recalls = {name: recall_of(contender, case, K) for name, case in cases.items()}
            first = first or recalls
            for name, values in recalls.items():
                means, ci95 = means_with_ci95(np.column_stack([values, values - first[name]]))
                for column, what in enumerate((f"recall@{K}", "minus the first")):
                    found = {"mean": means[column], "ci95": ci95[column].tolist()}
                    row.setdefault(name, {})[what] = found
            rows.append(row)
            if not arguments.json:
                print(as_text(row, list(cases)), flush=True)
    if arguments.json:
        print(json.dumps(about | {"rows": rows}, indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    layout = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("python -m tests.benchmarks.training_cost", **layout)
    add = parser.add_argument
    add("--ratings", type=int, default=1_000_000, metavar="N", help="to generate: 1000000")
    add("--items", type=int, metavar="N", help="to generate: as MovieLens has")
    add("--seed", type=int, default=1, help="of the generator: 1")
    add("--data", metavar="SOURCE", help="real ratings instead of generated ones")
    add("--nested", action="store_true", help="leave the last 20%% out: for choosing")
    add("--workers", type=int, default=1, metavar="N", help="threads of gensim and of ALS: 1")
    add("--model", nargs="*", default=MODELS, metavar="NAME=VALUE,...", help=f"{' '.join(MODELS)}")
    add(
        "--peers",
        nargs="*",
        default=PEERS,
        metavar="NAME,NAME=VALUE,...",
        help=f"{' '.join(PEERS)}",
    )
    add("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def contenders(split: Split, arguments: argparse.Namespace) -> Iterator[tuple[dict, Contender]]:
    """Train one after the other; those of implicit where it is installed."""
    for text in arguments.model:
        settings = READOUT | _settings(text)
        if split.cutoff is None:
            settings["popularity_days"] = None
        model = Recommender(**settings, calibrate=False, index="exact", workers=arguments.workers)
        started = time.process_time()
        model.fit(split.train)
        seconds = time.process_time() - started
        taken = model.about["seconds"]
        share = taken["train"] / sum(taken.values())
        row = {
            "name": f"item2vec {text or 'as it is'}",
            "seconds": seconds,
            "training": seconds * share,
        }
        yield row, contender_of_model(model, K)
    train = split.train.compact()
    recent, where = count_recent(train, split.cutoff), Slice.of(train, None)
    for text in arguments.peers:
        name, _, options = text.partition(",")
        if name != "ease" and not find_spec("implicit"):
            continue
        settings, fit = _settings(options), OTHERS[name]
        if name == "als":
            fit = partial(als, workers=arguments.workers)
        choice = choose(Opponent(fit, [settings]), where, with_popularity=True)[-1]
        started = time.process_time()
        score = fit(train.sequences, **settings)
        seconds = time.process_time() - started
        row = {"name": text, "seconds": seconds, "training": seconds}
        baseline, item_ids = choice.baseline(score, recent), train.sequences.item_ids
        found = contender_of_baseline(baseline, item_ids, K, needs_history=True)
        yield row | {"chosen": choice.as_dict()}, found


def _settings(text: str) -> dict[str, Any]:
    pairs = (pair.split("=") for pair in text.split(",") if pair)
    return {name: json.loads(value) for name, value in pairs}


def as_text(row: dict[str, Any], protocols: list[str]) -> str:
    """Return one line of the table."""
    cells = [f"{row['name']:40} {row['seconds']:7.1f} {row['training']:8.1f}"]
    for name in protocols:
        recall, gain = row[name].values()
        cells.append("{:.3f} ({:.3f}-{:.3f})".format(recall["mean"], *recall["ci95"]))
        cells.append("{:+.3f} ({:+.3f}, {:+.3f})".format(gain["mean"], *gain["ci95"]))
    return "  ".join(cells)


if __name__ == "__main__":
    sys.exit(main())
