"""Measure recall@K on a split by time, where no single machine can split the events.

The protocols, the ranking and the metrics are those of `recsys.evaluate`, applied to whole users
partition by partition; what comes back are sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recsys.data.events import DAY
from recsys.data.frames.names import TIMESTAMP
from recsys.data.splits import time_cases
from recsys.errors import DataError
from recsys.evaluation import metrics
from recsys.evaluation.measure import MODEL, among, contender_of_model, rank_all
from recsys.model import storage
from recsys.model.ask import check_count
from recsys.spark.batch import liked_of, open_model
from recsys.spark.histories import store
from recsys.spark.prepare import check, events_of, ordered, whole_users
from recsys.spark.training import fit, scratch

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

    from recsys.data.splits import Cases
    from recsys.model.ask import Model
    from recsys.spark.prepare import Checked

    Batches = Iterable[pa.RecordBatch]
    Entry = tuple[str, str, int | None, int, float, float]

SUMS = "protocol STRING, metric STRING, item INT, n BIGINT, total DOUBLE, squares DOUBLE"


def evaluate(
    data: DataFrame | Checked | str,
    folder: str | Path,
    *,
    items: pd.DataFrame | None = None,
    params: Mapping[str, Any] | None = None,
    train: str = "gensim",
    validation_fraction: float = 0.2,
    ks: Iterable[int] = (10, 20, 50),
    work: str | None = None,
) -> dict[str, Any]:
    """Train on the earlier part of the events and measure on the later one.

    Parameters
    ----------
    folder : path
        Where to save the model of the earlier part; there must be none. Executors need it at the
        same path.
    data, items, params, train, work
        As for `recsys.spark.fit`.
    validation_fraction, ks
        As for `recsys.evaluate.evaluate`.

    Returns
    -------
    dict
        JSON-able, the keys of `recsys.evaluate.evaluate` as far as they go: no opponents, and
        intervals by the normal distribution instead of the bootstrap.

    Raises
    ------
    DataError
        As `fit`; there is a model in the folder; or the events cannot be cut by time.
    """
    ks, folder = sorted({check_count(k) for k in ks}), Path(folder).absolute()
    if (folder / storage.CURRENT).exists():
        raise DataError(f"there is a model in '{folder}' already: name another folder")
    with scratch(folder, work) as (url, _):
        checked = store(check(data), f"{url}/events")  # since duplicates would move the cutoff
        cutoff = _cutoff(checked, validation_fraction)
        earlier = checked.where(f"{TIMESTAMP} < {cutoff}")
        fitted = fit(earlier, folder, items=items, params=params, train=train, work=work)
        opened = str(folder), storage.stamp(folder)
        model = open_model(*opened)[0]
        n_known = int(liked_of(model.tables.events, model.params["min_rating"]).sum())
        now = earlier.latest
        task = partial(_measure, opened=opened, cutoff=cutoff, now=now, ks=ks, n=n_known)
        sums = ordered(checked.frame, checked.n_events).mapInArrow(task, SUMS)
        protocols = _report(sums, len(model.tables.item_ids))
    return {
        "dataset": {"n_ratings": checked.n_events},
        "params": fitted["params"],
        "split": {
            "protocol": "time",
            "cutoff": f"{np.datetime64(cutoff, 's')}+00:00",
            "n_train": fitted["n_events"],
        },
        "protocols": protocols,
        "calibration": model.about["calibration"],
        "seconds": fitted["seconds"],
        "versions": storage.versions(),
    }


def _cutoff(checked: Checked, validation_fraction: float) -> int:
    """Find the second of `recsys.data.splits.cutoff_of`: count by day, then by second of one day.

    So no more than the days of the data come to this machine, and the seconds of one.
    """
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must lie in (0, 1), got {validation_fraction!r}")
    rank = math.floor((checked.n_events - 1) * (1 - validation_fraction))
    day, before = _at_rank(checked.frame.selectExpr(f"{TIMESTAMP} DIV {DAY} AS at"), rank)
    of_day = checked.frame.where(f"{TIMESTAMP} DIV {DAY} = {day}")
    return _at_rank(of_day.selectExpr(f"{TIMESTAMP} AS at"), rank - before)[0]


def _at_rank(frame: DataFrame, rank: int) -> tuple[int, int]:
    """Return the value of `at` that the event of a rank has, and how many have a smaller one."""
    counts = frame.groupBy("at").count().toArrow().sort_by("at")
    ends = np.cumsum(counts["count"].to_numpy())
    place = int(np.searchsorted(ends, rank, side="right"))
    return counts["at"][place].as_py(), int(ends[place - 1]) if place else 0


def _measure(
    batches: Batches, opened: Any, cutoff: int, now: int, ks: list[int], n: int
) -> Iterator[pa.RecordBatch]:
    """Sum the metrics of the users of an ordered partition."""
    model = open_model(*opened)[0]
    least = model.params["min_rating"]
    names = ("protocol", "metric", "item", "n", "total", "squares")
    schema = pa.schema(
        zip(names, (pa.string(), pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.float64()),
            strict=True)
    )  # fmt: skip
    for table in whole_users(batches):
        events = events_of(table)
        if not liked_of(events, least).any():
            continue
        for protocol, cases in time_cases(events, cutoff, min_rating=least, now=now).items():
            if len(cases):
                entries = _entries(model, protocol, cases, ks, n)
                yield pa.RecordBatch.from_pylist(
                    [dict(zip(names, entry, strict=True)) for entry in entries], schema
                )


def _entries(model: Model, protocol: str, cases: Cases, ks: list[int], n: int) -> Iterator[Entry]:
    """Give sums over users of each metric, and every item that is in a list of length k."""
    contender = contender_of_model(model, ks[-1])
    known = cases.recode(contender.item_ids)
    rows, listed, served = rank_all(contender, known, ks[-1])
    values: dict[str, Any] = {
        "n_targets": cases.n_targets,
        "n_targets_without_vector": cases.n_targets - known.targets.lengths,
        "n_users_unserved": ~served,
        **metrics.accuracy(listed & among(rows, known.targets), known.n_targets, ks),
    }
    for k in ks:
        top = rows[:, :k], listed[:, :k]
        values[f"novelty@{k}"] = metrics.novelty(*top, model.tables.counts / n)
        for item in np.unique(top[0][top[1]]).tolist():
            yield protocol, f"coverage@{k}", item, 0, 0.0, 0.0
    for metric, of_users in values.items():
        some = np.asarray(of_users, np.float64)
        some = some[~np.isnan(some)]
        yield protocol, metric, None, len(some), float(some.sum()), float((some**2).sum())


def _report(sums: DataFrame, n_items: int) -> dict[str, Any]:
    """Add up the sums of all partitions: the protocols of a report."""
    from pyspark.sql import functions as sf

    wanted = ("sum(n) AS n", "sum(total) AS total", "sum(squares) AS squares",
              "count(DISTINCT item) AS items")  # fmt: skip
    rows = sums.groupBy("protocol", "metric").agg(*map(sf.expr, wanted)).toArrow().to_pylist()
    report: dict[str, Any] = {}
    for row in sorted(rows, key=lambda row: (row["protocol"], row["metric"])):
        protocol = report.setdefault(row["protocol"], {"models": {MODEL: {}}})
        ours, name, n = protocol["models"][MODEL], row["metric"], row["n"]
        if name.startswith("coverage"):
            ours[name] = {"mean": row["items"] / n_items, "ci95": None}
        elif name.startswith("n_"):
            (ours if name == "n_users_unserved" else protocol)[name] = int(row["total"])
            protocol["n_users"] = n
        elif n:
            mean = row["total"] / n
            half = 1.96 * math.sqrt(max(0.0, row["squares"] / n - mean**2) / n)
            ours[name] = {"mean": mean, "ci95": [mean - half, mean + half]}
        else:
            ours[name] = {"mean": None, "ci95": None}
    return report
