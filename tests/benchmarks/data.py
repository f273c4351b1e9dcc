"""From a file to user vectors: loading, ordering, averaging."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys import load_ratings
from recsys.data.events import build_sequences, seconds_of
from recsys.data.frames.ratings import check_ratings
from recsys.data.sequences import Sequences
from recsys.vectors.users import history_weights, user_vectors
from tests.benchmarks.generator import generate, write
from tests.benchmarks.measure import Case, Row, Works, compare

DTYPES = {"userId": "int64", "movieId": "int64", "rating": "float32", "timestamp": "int64"}
TYPED, PLAIN = "read_csv with usecols, dtypes", "plain read_csv"
HALF_LIFE = 2.0


def generated(case: Case) -> Path:
    """Make `ratings.csv`, `movies.csv` and `checked.pkl` once; return their folder."""
    folder = Path(case.folder) / str(case.n_ratings)
    if not (folder / "checked.pkl").exists():
        ratings, items = generate(case.n_ratings, seed=1)
        write(folder, ratings, items, seed=1)
        check_ratings(ratings).to_pickle(folder / "part.pkl")
        (folder / "part.pkl").rename(folder / "checked.pkl")
    return folder


def checked(case: Case) -> pd.DataFrame:
    """Return the ratings as `load_ratings` gives them."""
    return pd.read_pickle(generated(case) / "checked.pkl")


def load(case: Case, name: str = "ratings.csv") -> Works:
    """Load a csv in MovieLens' order."""
    path = generated(case) / name
    return {
        "recsys": lambda: load_ratings(path, cache=False),
        TYPED: lambda: pd.read_csv(path, usecols=list(DTYPES), dtype=DTYPES),
        PLAIN: lambda: pd.read_csv(path),
    }


def load_shuffled(case: Case) -> Works:
    """Load a csv in random order."""
    path = generated(case) / "shuffled.csv"
    if not path.exists():
        lines = pd.read_csv(path.with_name("ratings.csv"), dtype="str")
        lines.sample(frac=1, random_state=0).to_csv(path.with_suffix(".part"), index=False)
        path.with_suffix(".part").rename(path)
    return load(case, path.name)


def reload(case: Case) -> Works:
    """Load a csv again, against the first time, which also writes what the second reads."""
    path, data = generated(case) / "ratings.csv", Path(os.environ["RECSYS_DATA"])

    def first() -> pd.DataFrame:
        shutil.rmtree(data / ".cache", ignore_errors=True)
        return load_ratings(path)

    first()
    return {"recsys": lambda: load_ratings(path), "first time": first}


def sequences(case: Case) -> Works:
    """Order all events by user and time, against sorting one key that is ready."""
    ratings = checked(case)
    users, seconds = pd.factorize(ratings["user_id"], sort=True)[0], seconds_of(ratings)
    key = users * (np.ptp(seconds) + 1) + seconds - seconds.min()
    return {"recsys": lambda: build_sequences(ratings),
            "stable argsort": lambda: np.argsort(key, kind="stable")}  # fmt: skip


def averaging(case: Case) -> Works:
    """Average the vectors of all users, against the sparse product with its matrix ready."""
    histories = build_sequences(checked(case))
    vectors = vectors_for(histories)
    weights = history_weights(histories.offsets, half_life=HALF_LIFE)
    shape = (len(histories), len(vectors))
    matrix = csr_array((weights, histories.codes, histories.offsets), shape=shape)
    return {"recsys": lambda: user_vectors(histories, vectors, half_life=HALF_LIFE),
            "sparse @ dense": lambda: matrix @ vectors}  # fmt: skip


def vectors_for(histories: Sequences) -> np.ndarray:
    """Return random vectors of as many dimensions as a model has, float32 (n_items, 256)."""
    return np.random.default_rng(1).standard_normal((len(histories.item_ids), 256), np.float32)


def _stage(name: str, prepare: Callable[[Case], Works], **targets) -> Callable[[Case], list[Row]]:
    return lambda case: compare(name, f"{case.n_ratings:,} ratings", prepare, case,
                                n_ratings=case.n_ratings, **targets)  # fmt: skip


LOADING = {"ratios": {TYPED: 1.6, PLAIN: None}, "memory_ratios": {PLAIN: 0.6}}
STAGES = {
    "load": _stage("load", load, **LOADING),
    "load-shuffled": _stage("load-shuffled", load_shuffled, **LOADING),
    "reload": _stage("reload", reload, ratios={"first time": 0.15}),
    "sequences": _stage("sequences", sequences, ratios={"stable argsort": 3.0}),
    "user-vectors": _stage("user-vectors", averaging, ratios={"sparse @ dense": 1.5}),
}
