"""Choose how hard Annoy searches when an index is built, and measure an index."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.search.approximate import LONGEST, SEARCH_K, AnnoyIndex, by_length, usable_index
from recsys.search.exact import ExactIndex

if TYPE_CHECKING:
    from recsys.search import Index
    from recsys.search.exact import Answer, Csr, Vectors

OVERLAP, TOP = 0.98, 20  # The share of the exact top TOP that has to be found.
FINER = 1.1  # What is chosen is to be within this factor of what it takes.
# Twice as many of the longest vectors are scored if they hold this further share of the best;
# CHEAPER of them are scored in the time of one of Annoy's nodes (at 258 dimensions).
WORTHWHILE, CHEAPER = 0.02, 8


def build_index(
    kind: str, vectors: Vectors, queries: Vectors, exclude: Csr, *, seed: int
) -> tuple[AnnoyIndex | None, dict[str, Any]]:
    """Build an index that finds at least `OVERLAP` of what exact search finds, at little cost.

    The number of longest vectors doubles while that finds a further `WORTHWHILE` share of the
    best, more than other vectors would, but not beyond what holds enough by itself; then what is
    cheaper doubles, it or search_k; then search_k is lessened again to within `FINER` of what it
    takes. Enough is less two standard errors, as it has to be enough for other queries too.

    Parameters
    ----------
    kind : {"annoy", "exact"}
    vectors, seed
        As in `AnnoyIndex`.
    queries, exclude
        As in `ExactIndex.query`: typical ones.

    Returns
    -------
    index : AnnoyIndex, or None if the kind is "exact" or annoy is not installed
    chosen : dict
        n_trees, search_k, n_longest, overlap (mean share of the exact top k found), n_queries, k.
    """
    if usable_index(kind) != "annoy":
        return None, {}
    best = ExactIndex(vectors).query(queries, TOP, exclude=exclude)
    lists = [rows[scores > -np.inf] for rows, scores in zip(*best, strict=True)]
    places, n_items = np.argsort(by_length(vectors)), len(vectors)
    # `held` may fall a little where it should grow: then a few vectors more or less are scored.

    def held(n_longest: int) -> float:
        return _surely([(places[rows] < n_longest).mean() for rows in lists if len(rows)])

    n_longest, n_enough = LONGEST, bisect_left(range(n_items), OVERLAP, key=held)
    while n_longest < n_enough and (
        held(2 * n_longest) - held(n_longest) >= WORTHWHILE + n_longest / n_items
    ):
        n_longest = min(2 * n_longest, n_enough)
    if n_enough < FINER * n_longest:
        n_longest = max(n_longest, n_enough)
    index = AnnoyIndex(vectors, search_k=SEARCH_K, longest=n_longest, seed=seed)
    while _surely(shares := _found(index, queries, exclude, best)) < OVERLAP:
        more = min(n_longest, n_enough - n_longest)
        if 0 < more < CHEAPER * index.search_k:
            n_longest += more
            index = AnnoyIndex(vectors, search_k=index.search_k, longest=n_longest, seed=seed)
        elif index.search_k < index.n_trees * n_items:
            index.search_k *= 2
        else:
            break
    low, high = SEARCH_K, index.search_k
    while high > FINER * low:
        index.search_k = int((low * high) ** 0.5)
        fewer = _found(index, queries, exclude, best)
        if _surely(fewer) >= OVERLAP:
            high, shares = index.search_k, fewer
        else:
            low = index.search_k
    index.search_k = high
    return index, {
        "n_trees": index.n_trees, "search_k": high, "n_longest": len(index.longest),
        "overlap": round(float(np.mean(shares or [1.0])), 4), "n_queries": len(queries), "k": TOP,
    }  # fmt: skip


def _found(index: AnnoyIndex, queries: Vectors, exclude: Csr, best: Answer) -> list[float]:
    """Return the share of the best found, by score, of each query that has any."""
    found = index.query(queries, TOP, exclude=exclude)[1]
    lists = [scores[scores > -np.inf] for scores in best[1]]
    pairs = zip(lists, found, strict=True)
    return [float((values >= one[-1]).sum() / len(one)) for one, values in pairs if len(one)]


def _surely(shares: list[float]) -> float:
    """Return the mean less two of its standard errors: other queries find about as much."""
    return float(np.mean(shares) - 2 * np.std(shares) / len(shares) ** 0.5) if shares else 1.0


def measure_index(index: Index, queries: Vectors, k: int) -> dict[str, Any]:
    """Measure an index against exact search, asking queries (float32 (n, d)) one by one.

    Returns
    -------
    dict
        backend; recall_vs_exact, the mean share of the exact top k found; microseconds_per_query,
        the median (both None without queries); bytes, of the index without the vectors.
    """
    exact = ExactIndex(index.vectors)
    shares, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        rows, _ = index.query(query[None], k)
        seconds.append(time.perf_counter() - started)
        shares.append(np.isin(exact.query(query[None], k)[0], rows).mean())
    return {
        "backend": index.backend,
        "recall_vs_exact": float(np.mean(shares)) if shares else None,
        "microseconds_per_query": float(np.median(seconds) * 1e6) if seconds else None,
        "bytes": index.n_bytes,
    }
