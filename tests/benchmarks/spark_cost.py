"""What each step on Spark costs: processor seconds, peak memory, shuffled bytes.

    python -m tests.benchmarks.spark_cost --ratings 2000000 20000000

fits on generated ratings on a cluster of two executors on this machine, trains one epoch, adds up
audience vectors and writes lists for all users there, and prints one JSON object a size. Needs the
extra `spark`, and Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from tests.benchmarks.generator import generate

PARAMS = {"vector_size": 64, "epochs": 1, "calibrate": False, "index": "exact"}


def look(root: int, used: dict[int, float]) -> tuple[dict[str, float], float]:
    """Return a process' and its descendants' private MB, the largest of each kind, and all their
    processor seconds; `used` keeps those of processes that have ended.
    """
    found: dict[str, float] = defaultdict(float)
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            children[int(stat.read_text().rpartition(")")[2].split()[1])].append(
                int(stat.parent.name)
            )
        except OSError:
            continue
    pids = [root]
    for pid in pids:
        pids += children[pid]
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
            times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            used[pid] = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
        kind = "driver, Python" if pid == root else "driver, Java"
        if "CoarseGrainedExecutor" in command:
            kind = "executor, Java"
        elif "pyspark" in command and "daemon" in command:
            kind = "executor, Python"
        elif pid != root and "SparkSubmit" not in command:
            continue
        private = sum(int(line.split()[1]) for line in status.splitlines()
                      if line.startswith("RssAnon"))  # fmt: skip
        found[kind] = max(found[kind], private / 1000)
    return found, sum(used.values())


def watch(
    peaks: dict[str, dict[str, float]],
    cpu: dict[str, float],
    step: list[str],
    done: threading.Event,
) -> None:
    """Note the peak memory and the processor seconds of each step until done."""
    used: dict[int, float] = {}
    before = look(os.getpid(), used)[1]
    while not done.wait(0.3):
        now = step[0]
        sizes, total = look(os.getpid(), used)
        cpu[now] += total - before
        before = total
        for kind, size in sizes.items():
            peaks[now][kind] = max(peaks[now].get(kind, 0), round(size))


def shuffled(folder: Path) -> int:
    """Bytes written to shuffles, from the log of events."""
    total = 0
    for path in folder.rglob("*"):
        for line in path.read_text().splitlines() if path.is_file() else ():
            if '"SparkListenerTaskEnd"' in line:
                metrics = json.loads(line).get("Task Metrics") or {}
                total += metrics.get("Shuffle Write Metrics", {}).get("Shuffle Bytes Written", 0)
    return total


def write(n_ratings: int, folder: Path) -> None:
    """Write generated ratings in any order, as Parquet."""
    ratings = generate(n_ratings)[0].sample(frac=1, random_state=0)
    ratings["timestamp"] = ratings["timestamp"].astype("int64")
    table = pa.Table.from_pandas(ratings, preserve_index=False)
    n = len(table) // (n_parts := max(8, n_ratings // 1_000_000))
    folder.mkdir()
    for part in range(n_parts):
        rows = table.slice(part * n, None if part == n_parts - 1 else n)
        pa_parquet.write_table(rows, folder / f"{part}.parquet")


def measure(n_ratings: int, master: str) -> None:
    """Measure one size in this process, and print what was found."""
    from pyspark.sql import SparkSession

    from recsys.spark import check, histories, prepare, recommend_many, training

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In another process, whose memory is not this one's.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(write, n_ratings, folder / "data").result()
        (folder / "log").mkdir()
        os.environ["PYSPARK_PYTHON"] = sys.executable
        builder = SparkSession.builder.master(master).config("spark.ui.enabled", "false")
        builder = builder.config("spark.sql.session.timeZone", "UTC")
        builder = builder.config("spark.ui.showConsoleProgress", "false")
        builder = builder.config("spark.eventLog.enabled", "true").config(
            "spark.log.level", "ERROR"
        )
        builder = builder.config("spark.eventLog.compress", "false")
        builder = builder.config("spark.eventLog.dir", (folder / "log").as_uri())
        session = builder.config("spark.driver.memory", "1g").getOrCreate()
        session.range(1).count()  # the executors are there
        seconds: dict[str, float] = {}
        peaks: dict[str, dict[str, float]] = defaultdict(dict)
        cpu: dict[str, float] = defaultdict(float)
        step, done = ["start"], threading.Event()
        watcher = threading.Thread(target=watch, args=(peaks, cpu, step, done))
        watcher.start()

        def timed(name, function, *args, **given):
            step[0], started = name, time.perf_counter()
            result = function(*args, **given)
            seconds[name] = round(time.perf_counter() - started, 1)
            return result

        events = timed("check", check, session.read.parquet(str(folder / "data")))
        ids = timed("items", prepare.vocabulary, events.frame)
        frame = prepare.ordered(prepare.coded(events.frame, ids), events.n_events).drop("item_id")
        timed("order", frame.write.parquet, (folder / "events").as_uri())
        n_bytes = {"order": shuffled(folder / "log")}
        size = sum(path.stat().st_size for path in (folder / "events").glob("*.parquet"))
        where = (folder / "events").as_uri(), ids, events.latest, folder
        held = timed("map", prepare.open_events, *where)
        params = training.Recommender(**PARAMS).params
        model = timed("train, read out", training.fit_model, held, None, params)
        timed("save", model.save, folder / "model")
        lists = recommend_many(folder / "model", 20)
        timed("recommend", lists.write.parquet, (folder / "lists").as_uri())
        users = timed("histories", histories.store, events, (folder / "users").as_uri())
        n_bytes["histories"] = shuffled(folder / "log") - sum(n_bytes.values())
        (folder / "sums").mkdir()
        tables = model.tables
        some = users.frame, tables.item_ids, tables.counts, tables.vectors, folder / "sums"
        timed("audience", histories.audience_of_all, *some)
        n_bytes["audience"] = shuffled(folder / "log") - sum(n_bytes.values())
        done.set()
        watcher.join()
        found = {"ratings": n_ratings, "users": len(held.sequences), "items": len(ids),
                 "seconds": seconds, "cpu seconds": {n: round(s, 1) for n, s in cpu.items()},
                 "shuffled bytes an event": {n: round(b / n_ratings, 1)
                                              for n, b in n_bytes.items()},
                 "stored bytes an event": round(size / n_ratings, 1), "peak MB": peaks}  # fmt: skip
        print(json.dumps(found), flush=True)
        session.stop()


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratings", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--master", default="local-cluster[2,1,1024]")
    args = parser.parse_args()
    if len(args.ratings) == 1:
        measure(args.ratings[0], args.master)
        return
    for n in args.ratings:
        command = [sys.executable, "-m", "tests.benchmarks.spark_cost", "--ratings", str(n)]
        subprocess.run([*command, "--master", args.master], check=True)


if __name__ == "__main__":
    main()
