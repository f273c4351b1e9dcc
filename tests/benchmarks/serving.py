"""A saved model at work: one recommendation, start-up, opening, the command line's help."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from recsys import Recommender
from recsys.recommender import fitted
from recsys.search.approximate import usable_index
from tests.benchmarks.generator import generate
from tests.benchmarks.measure import Case, Row, Works, alternate, compare, environment, peer
from tests.benchmarks.search import als_of, matrix_of

CALLS = 1000
SCRIPT = """
import sys
from recsys import Recommender
print(Recommender.load(sys.argv[1], verify=False).recommend(int(sys.argv[2])))
"""


def model_folder(case: Case) -> Path:
    """Return a saved model of d=256 in which every item has a vector, made once.

    One epoch on ten generated ratings an item, and one more of each item so that none is missing.
    """
    folder = Path(case.folder) / f"model-{case.n_items}"
    if not (folder / "current").exists():
        ratings, items = generate(10 * case.n_items, n_items=case.n_items, seed=1)
        each = ratings.sample(case.n_items, random_state=1).assign(item_id=items["item_id"].array)
        model = Recommender(
            calibrate=False, epochs=1, negative=5, window=3, half_life=2, popularity_days=7,
            popularity_weight=0.25, stale_popularity_weight=8, audience_weight=2,
        )  # fmt: skip
        model.fit(pd.concat([ratings, each]), items).save(folder)
    return folder


def annoy_calls(model: Recommender, users: list[int]) -> list[list[tuple]]:
    """Return the arguments of the calls of Annoy that each user's recommendation makes."""
    calls: list[list[tuple]] = []
    index = fitted(model).index
    annoy = index._annoy

    def record(*args):
        calls[-1].append(args)
        return annoy.get_nns_by_vector(*args)

    index._annoy = SimpleNamespace(get_nns_by_vector=record)
    for user in users:
        calls.append([])
        model.recommend(user)
    index._annoy = annoy
    return calls


def calls_in_turn(
    works: dict[str, Callable[[int], object]], n_calls: int, repeats: int
) -> dict[str, np.ndarray]:
    """Time single calls in turn, float64 (repeats, n_calls) of each work.

    The works are at different users, so that none profits from what another has just read.
    """
    seconds = {name: np.empty((repeats, n_calls)) for name in works}
    for repeat, call in np.ndindex(repeats, n_calls):
        for place, (name, work) in enumerate(works.items()):
            user = (call + place * n_calls // 2) % n_calls
            started = time.thread_time()
            work(user)
            seconds[name][repeat, call] = time.thread_time() - started
    return seconds


def one_recommend(case: Case) -> list[Row]:
    """Recommend to one user after the other, against Annoy alone, and against `implicit`."""
    model = Recommender.load(model_folder(case), verify=False)
    rows = np.random.default_rng(1).integers(len(model.users), size=CALLS)
    users, size, found = model.users[rows].tolist(), f"{case.n_items:,} items", []

    def against(name: str, work: Callable, n_calls: int, targets: dict[int, float]) -> None:
        works = {"recsys": lambda user: model.recommend(users[user]), name: work}
        seconds = calls_in_turn(works, n_calls, case.repeats)
        for percentile, at_most in targets.items():
            taken = {n: np.percentile(seconds[n], percentile, axis=1) for n in works}
            what = f"{'median' if percentile == 50 else f'p{percentile}'} of a call / {name}"
            ratios = (taken["recsys"] / taken[name]).tolist()
            medians = {n: float(np.median(values)) for n, values in taken.items()}
            found.append(Row("recommend", size, what, "x", ratios, at_most, medians, {}))

    held = fitted(model)
    calls = annoy_calls(model, users) if held.approximate else [[]]
    if all(calls):  # a small catalogue is searched without Annoy
        nearest = held.approximate._annoy.get_nns_by_vector
        against("bare Annoy", lambda user: [nearest(*arguments) for arguments in calls[user]],
                CALLS, {50: 1.5, 99: 1.5})  # fmt: skip
    if peer("implicit"):
        tables = held.tables
        queries = held.queries(tables.histories.take_users(rows))
        seen = matrix_of(tables.watched.take_users(rows))
        als = als_of(queries, np.array(tables.readout))
        against("implicit", lambda user: als.recommend(user, seen[user]), CALLS // 5, {50: 0.5})
    return found


def process(*words: str):
    """Return a function that runs Python with these words, as a whole process."""
    command = [sys.executable, *words]
    return lambda: subprocess.run(command, check=True, capture_output=True, env=environment())


def script(case: Case) -> Works:
    """Run a script that loads a model and recommends once, against importing what it needs."""
    folder, path = model_folder(case), Path(case.folder) / "script.py"
    path.write_text(SCRIPT)
    user = Recommender.load(folder, verify=False).users[0]
    imports = "import numpy, annoy" if usable_index("annoy") == "annoy" else "import numpy"
    return {"recsys": process(str(path), str(folder), str(user)), "imports": process("-c", imports)}


def opening(case: Case) -> Works:
    """Open a model without looking at its checksums."""
    return {"recsys": partial(Recommender.load, model_folder(case), verify=False)}


def verification(case: Case) -> Works:
    """Open a model with its checksums, against hashing the same files."""
    folder = model_folder(case)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]

    def hash_all() -> None:
        for path in files:
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")

    return {"recsys": partial(Recommender.load, folder), "hashlib": hash_all}


def start_up(case: Case) -> list[Row]:
    """Measure what it takes until a model answers."""
    measure = partial(compare, "start-up", f"{case.n_items:,} items", case=case, memory=False)
    return [
        *measure(script, ratios={"imports": 1.3}, what="script", clock=time.perf_counter),
        *measure(opening, ratios={}, ours=("time to open", "ms", 1000, 50)),
        *measure(verification, ratios={"hashlib": 1.2}, what="verified opening"),
    ]


def show_help(case: Case) -> list[Row]:
    """Measure `python -m recsys --help`; it may take 3 times `python -c pass`, and 0.2 s."""
    works = {"recsys": process("-m", "recsys", "--help"), "pass": process("-c", "pass")}
    seconds = alternate(works, case.repeats, time.perf_counter)
    ratios = seconds["recsys"] / (3 * seconds["pass"] + 0.2)
    medians = {name: float(np.median(taken)) for name, taken in seconds.items()}
    return [Row("help", "", "seconds / (3 x pass + 0.2 s)", "x", ratios.tolist(), 1.0, medians, {})]


STAGES = {"recommend": one_recommend, "start-up": start_up, "help": show_help}
