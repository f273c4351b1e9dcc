"""Exact search for many users, and the metrics of what was found."""

from __future__ import annotations

import importlib
import time
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
from scipy.sparse import csr_matrix

from recsys.data.sequences import Sequences, offsets_from
from recsys.evaluation.measure import among
from recsys.evaluation.metrics import accuracy
from recsys.search.exact import ExactIndex
from recsys.search.threads import one_blas_thread
from tests.benchmarks.measure import Case, Row, Works, compare, peer

D, K, KS, BLOCK = 64, 50, (10, 20, 50), 256


def vectors(n: int, n_clusters: int = 50) -> np.ndarray:
    """Make vectors in clusters, the first ones longest, float32 (n, D)."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((n_clusters, D))
    around = centres[rng.integers(n_clusters, size=n)] + rng.standard_normal((n, D))
    return (around * np.linspace(1.5, 0.5, n)[:, None]).astype(np.float32)


def interactions(case: Case, mean: int, seed: int) -> Sequences:
    """Draw about `mean` different items for each user, the first ones most often."""
    rng = np.random.default_rng(seed)
    lengths = 1 + rng.geometric(1 / mean, case.n_users)
    users = np.repeat(np.arange(case.n_users), lengths)
    items = (case.n_items * rng.random(len(users)) ** 3).astype(np.int64)
    pairs = np.unique(users * case.n_items + items)
    offsets = offsets_from(np.bincount(pairs // case.n_items, minlength=case.n_users))
    codes = (pairs % case.n_items).astype(np.int32)
    return Sequences(np.arange(case.n_users), np.arange(case.n_items), codes, offsets)


def matrix_of(sequences: Sequences) -> csr_matrix:
    """Return the interactions as `implicit` takes them."""
    ones = np.ones(len(sequences.codes), np.float32)
    shape = (len(sequences), len(sequences.item_ids))
    return csr_matrix((ones, sequences.codes, sequences.offsets), shape=shape)


def als_of(users: np.ndarray, items: np.ndarray):
    """Return a model of `implicit` with these factors."""
    als = importlib.import_module("implicit.cpu.als")
    with one_blas_thread():  # or it warns
        model = als.AlternatingLeastSquares(factors=items.shape[1], num_threads=1)
    model.user_factors, model.item_factors = users, items
    return model


def asked(case: Case) -> tuple[np.ndarray, np.ndarray, Sequences, partial]:
    """Make items, queries, watched items, and our search for the 50 best unwatched of all users."""
    items, queries = vectors(case.n_items), vectors(case.n_users)[::-1].copy()
    watched = interactions(case, 100, seed=2)
    search = partial(ExactIndex(items).query, queries, K, exclude=(watched.offsets, watched.codes))
    return items, queries, watched, search


def exact(case: Case) -> Works:
    """Search, against the products of the matrices alone."""
    items, queries, watched, search = asked(case)
    scores = np.empty((BLOCK, case.n_items), np.float32)

    def product() -> None:
        for start in range(0, case.n_users, BLOCK):
            block = queries[start : start + BLOCK]
            np.matmul(block, items.T, out=scores[: len(block)])

    works = {"recsys": search, "product alone": product}
    if peer("implicit"):
        model, seen, users = als_of(queries, items), matrix_of(watched), np.arange(case.n_users)
        works["implicit"] = lambda: model.recommend(users, seen, N=K)
    return works


def two_threads(case: Case) -> Works:
    """Search with two threads, against one."""
    search = asked(case)[-1]
    return {"two threads": partial(search, threads=2), "one thread": partial(search, threads=1)}


def exact_search(case: Case) -> list[Row]:
    """Measure exact search, and what a second thread brings."""
    measure = partial(compare, "exact-search", f"{case.n_users:,} x {case.n_items:,}", case=case)
    return [
        *measure(exact, ratios={"product alone": 1.6, "implicit": 0.7}, peak_mb=300),
        *measure(two_threads, ratios={"one thread": None}, memory=False, clock=time.perf_counter,
                 what="seconds with two threads"),
    ]  # fmt: skip


def judging(case: Case) -> Works:
    """Judge the lists of all users, given in the form that each library reads fastest.

    ranx is compiled beforehand; `implicit` does less, K=10 and four metrics.
    """
    rng, targets = np.random.default_rng(3), interactions(case, 20, seed=4)
    first = (case.n_items * rng.random(case.n_users) ** 3).astype(np.int64)
    ranked = (first[:, None] + np.arange(K)) % case.n_items
    works = {"recsys": lambda: accuracy(among(ranked, targets), targets.lengths, KS)}
    if ranx := peer("ranx"):
        typed = importlib.import_module("numba.typed").List
        wanted = typed(np.column_stack([codes, np.ones(len(codes))])
                       for codes in map(targets.items_of, range(len(targets))))  # fmt: skip
        run = typed(np.column_stack([items, np.arange(K, 0.0, -1)]) for items in ranked)
        names = ["mrr", *(f"{name}@{k}" for k in KS for name in ("recall", "hit_rate", "ndcg"))]
        works["ranx"] = partial(ranx.evaluate, wanted, run, names, threads=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numba, about ranx' own types
            works["ranx"]()
    if peer("implicit"):
        judge = importlib.import_module("implicit.evaluation").ranking_metrics_at_k
        matrix, lists = matrix_of(targets), ranked.astype(np.int32)
        model = SimpleNamespace(recommend=lambda users, *_, **options: (lists[users, :10], None))
        options = {"K": 10, "show_progress": False, "num_threads": 1}
        works["implicit, K=10"] = partial(judge, model, matrix, matrix, **options)
    return works


def metrics(case: Case) -> list[Row]:
    """Measure recall, hit rate and ndcg at 10, 20 and 50, and mrr."""
    return compare(
        "metrics", f"{case.n_users:,} x {K}", judging, case,
        ratios={"ranx": None, "implicit, K=10": None},
        ours=("seconds for 100,000 users", "s", 100_000 / case.n_users, 0.5),
    )  # fmt: skip


STAGES = {"exact-search": exact_search, "metrics": metrics}
