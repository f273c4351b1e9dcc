"""Measure each stage beside the least that the machine needs for it, and print a table.

    python -m tests.benchmarks                          from the root of the repository
    python -m tests.benchmarks --ratings 1000000 --stage load sequences --json

Ratios are of times taken in turn (a, b, a, b): the median, and the quartiles. Times are of one
thread and of the processor's clock; whole processes and two threads are timed by the clock on the
wall. Peaks of memory are of fresh processes, above their inputs. See also
`python -m tests.benchmarks.training_cost`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib import metadata

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.model.storage import versions
from tests.benchmarks import data, search, service, serving, training
from tests.benchmarks.measure import LEFT_OUT, PEERS, Case, Row

BY_RATINGS = data.STAGES | training.STAGES
BY_ITEMS = search.STAGES | serving.STAGES | service.STAGES
PACKAGES = ("pandas", "pyarrow", "scipy", *PEERS)


def main() -> int:
    """Run what is asked for; a target that is missed is no failure."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = os.path.abspath(arguments.folder or temporary)
        os.environ["RECSYS_DATA"] = os.path.join(folder, "data")
        os.makedirs(os.environ["RECSYS_DATA"], exist_ok=True)  # without it nothing is kept there
        case = Case(folder, 0, arguments.users, arguments.items, arguments.repeats)
        with threadpool_limits(limits=1):
            rows = list(measured(arguments.stage, sorted({*arguments.ratings}), case))
    rows += growth(rows)
    about = machine()
    missed = sum(row.ok is False for row in rows)
    if arguments.json:
        found = {"machine": about, "rows": [as_json(row) for row in rows], "n_missed": missed}
        print(json.dumps(found, indent=1))
    else:
        print_table(rows, about)
        print(f"\n{missed} of {sum(row.ok is not None for row in rows)} targets missed")
    return 0


def _arguments() -> argparse.Namespace:
    layout = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("python -m tests.benchmarks", **layout)
    names = [*BY_RATINGS, *BY_ITEMS]

    def add(option: str, default: object, about: str, **more: object) -> None:
        parser.add_argument(option, default=default, help=about, **more)

    whole = {"type": count, "metavar": "N"}
    add("--ratings", [100_000, 1_000_000], "sizes of the data: 100000 1000000", nargs="+", **whole)
    add("--stage", names, f"of {', '.join(names)}: all", nargs="+", choices=names, metavar="NAME")
    add("--repeats", 5, "of every time: 5", **whole)
    add("--users", 10_000, "of exact search and metrics: 10000", **whole)
    add("--items", 87_000, "of exact search, metrics and the served model: 87000", **whole)
    add("--folder", None, "to keep generated data and models for the next run")
    add("--json", False, "print one JSON object", action="store_true")
    return parser.parse_args()


def count(text: str) -> int:
    """Read a whole number above 0."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def machine() -> dict[str, object]:
    """Say what this ran on, and which peers are left out."""
    packages = {name: metadata.version(name) for name in PACKAGES if name not in LEFT_OUT}
    found = {"cores": os.cpu_count(), "processor": platform.machine()}
    found["versions"] = {"python": platform.python_version(), **versions(), **packages}
    return found | {"left_out": sorted(LEFT_OUT)}


def measured(stages: list[str], sizes: list[int], case: Case) -> Iterator[Row]:
    """Run the stages, those that depend on the ratings at each size; show rows as they come."""
    runs = [(name, replace(case, n_ratings=n)) for n in sizes for name in BY_RATINGS]
    for name, case in [*runs, *((name, case) for name in BY_ITEMS)]:
        if name in stages:
            for row in (BY_RATINGS | BY_ITEMS)[name](case):
                print("  ".join(_cells(row)), file=sys.stderr, flush=True)
                yield row


def growth(rows: list[Row]) -> list[Row]:
    """Fit seconds ~ ratings ** exponent to every stage that ran at two sizes or more."""
    runs: dict[str, dict[int, list[float]]] = {}  # stage -> ratings -> seconds, ours first
    for row in rows:
        if row.n_ratings is not None:
            runs.setdefault(row.stage, {}).setdefault(row.n_ratings, [*row.seconds.values()])
    found = []
    for stage, by_size in runs.items():
        if len(by_size) > 1:
            ours, *limit = np.polyfit(np.log([*by_size]), np.log([*by_size.values()]), 1)[0]
            measured = "growth of seconds" + "".join(f" (the limit's: {e:.2f})" for e in limit)
            size = f"{min(by_size):,} to {max(by_size):,} ratings"
            found.append(Row(stage, size, measured, "exponent", [float(ours)], 1.1, {}, {}))
    return found


def as_json(row: Row) -> dict[str, object]:
    """Return a row with its median and quartiles."""
    low, median, high = row.quartiles
    return asdict(row) | {"median": median, "quartiles": [low, high], "ok": row.ok}


def print_table(rows: list[Row], about: dict[str, object]) -> None:
    """Print the head and one line a row."""
    packages = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    print(f"{about['cores']} cores; {packages}")
    if about["left_out"]:
        print(f"left out, since it cannot be imported: {', '.join(about['left_out'])}")
    head = ["stage", "size", "measured", "median", "quartiles", "at most", "ok", "seconds", "MB"]
    lines = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())


def _cells(row: Row) -> list[str]:
    low, median, high = (_number(value) for value in row.quartiles)
    return [
        *(row.stage, row.size, row.measured, f"{median} {row.unit}"),
        f"{low}-{high}" if len(row.values) > 1 else "",
        "" if row.at_most is None else _number(row.at_most),
        {True: "ok", False: "MISSED", None: ""}[row.ok],
        " / ".join(_number(seconds) for seconds in row.seconds.values()),
        " / ".join(f"{peak:,.0f}" for peak in row.peak_mb.values()),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
